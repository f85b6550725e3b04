// Gray pictures as arrays: decoding, masks at a threshold, Dice, and drawing with overlays.

import { bytesOf } from "./api";

export interface Gray {
  width: number;
  height: number;
  values: Uint8Array;
}

export interface Layer {
  values: Uint8Array; // 0 ... 255, one per pixel
  color: [number, number, number];
  opacity: number;
  graded?: boolean; // opacity follows the value
}

// Colors of classes, told apart by people with color blindness (Okabe and Ito 2008).
export const COLORS: [number, number, number][] = [
  [230, 159, 0],
  [86, 180, 233],
  [0, 158, 115],
  [240, 228, 66],
  [213, 94, 0],
  [204, 121, 167],
];

export const ERRORS: Record<string, [number, number, number]> = {
  agreed: [0, 158, 115],
  "predicted only": [213, 94, 0],
  "truth only": [86, 180, 233],
};

export function css([r, g, b]: [number, number, number]): string {
  return `rgb(${r} ${g} ${b})`;
}

export async function decode(source: Blob): Promise<Gray> {
  const bitmap = await createImageBitmap(source, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  const data = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const values = new Uint8Array(bitmap.width * bitmap.height);
  for (let i = 0; i < values.length; i++) values[i] = data[4 * i];
  return { width: bitmap.width, height: bitmap.height, values };
}

export function decodePng(base64: string): Promise<Gray> {
  return decode(new Blob([bytesOf(base64)], { type: "image/png" }));
}

// The level of 0 ... 255 that a threshold is, rounded as the service rounds it: halves to the even number.
export function levelOf(threshold: number): number {
  const scaled = threshold * 255;
  const below = Math.floor(scaled);
  const level = scaled - below === 0.5 ? below + (below % 2) : Math.round(scaled);
  return Math.max(1, Math.min(255, level));
}

export function atLeast(values: Uint8Array, level: number): Uint8Array {
  const mask = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) mask[i] = values[i] >= level ? 255 : 0;
  return mask;
}

export function where(values: Uint8Array, label: number): Uint8Array {
  const mask = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) mask[i] = values[i] === label ? 255 : 0;
  return mask;
}

export function count(mask: Uint8Array): number {
  let total = 0;
  for (const value of mask) if (value) total++;
  return total;
}

// Dice of two masks; 1 where both are empty.
export function dice(one: Uint8Array, other: Uint8Array): number {
  let both = 0;
  let sum = 0;
  for (let i = 0; i < one.length; i++) {
    if (one[i]) sum++;
    if (other[i]) sum++;
    if (one[i] && other[i]) both++;
  }
  return sum === 0 ? 1 : (2 * both) / sum;
}

// The number of the kind of every voxel: 0 of what neither shows, else that of ERRORS, from 1.
export function errorsOf(predicted: Uint8Array, truth: Uint8Array): Uint8Array {
  const kinds = new Uint8Array(truth.length);
  for (let i = 0; i < truth.length; i++) kinds[i] = predicted[i] ? (truth[i] ? 1 : 2) : truth[i] ? 3 : 0;
  return kinds;
}

export function errorLayers(predicted: Uint8Array, truth: Uint8Array, opacity: number): Layer[] {
  const kinds = errorsOf(predicted, truth);
  return Object.values(ERRORS).map((color, k) => ({ values: where(kinds, k + 1), color, opacity }));
}

// Where any of the masks shows something.
export function unionOf(masks: Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size);
  for (const mask of masks) for (let i = 0; i < size; i++) if (mask[i]) all[i] = 255;
  return all;
}

// A box, or a point where it has no size, in pixels.
export interface Mark {
  x: number;
  y: number;
  w?: number;
  h?: number;
  color: [number, number, number];
}

export function draw(canvas: HTMLCanvasElement, image: Gray, layers: Layer[], marks: Mark[] = []): void {
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d")!;
  const data = context.createImageData(image.width, image.height);
  for (let i = 0; i < image.values.length; i++) {
    const base = image.values[i];
    let [r, g, b] = [base, base, base];
    for (const layer of layers) {
      const value = layer.values[i];
      if (!value) continue;
      const share = layer.graded ? (layer.opacity * value) / 255 : layer.opacity;
      r += (layer.color[0] - r) * share;
      g += (layer.color[1] - g) * share;
      b += (layer.color[2] - b) * share;
    }
    data.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(data, 0, 0);
  context.lineWidth = Math.max(1, image.width / 256);
  for (const { x, y, w, h, color } of marks) {
    context.strokeStyle = css(color);
    context.beginPath();
    if (w !== undefined && h !== undefined) context.rect(x, y, w, h);
    else context.arc(x + 0.5, y + 0.5, Math.max(3, image.width / 64), 0, 2 * Math.PI);
    context.stroke();
  }
}
