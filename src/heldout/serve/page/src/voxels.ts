// Volumes as arrays: the masks and maps of an answer, and a true mask that a reviewer drops.

import { NVImage } from "@niivue/niivue";
import { gunzipSync } from "fflate";

import { bytesOf } from "./api";

const [DIMS_AT, OFFSET_AT, SFORM_AT] = [40, 108, 280]; // of the header of NIfTI-1
const SAME_PLACE = 1e-2; // mm

export interface Voxels {
  bytes: Uint8Array; // the whole file
  values: Uint8Array; // of its voxels, in their order
}

// A NIfTI file of one byte per voxel, as the service writes it.
export function voxelsOf(base64: string): Voxels {
  const bytes = gunzipSync(bytesOf(base64));
  const start = new DataView(bytes.buffer, bytes.byteOffset).getFloat32(OFFSET_AT, true);
  return { bytes, values: bytes.subarray(start) };
}

// A file of other values on the same grid.
export function onGridOf(like: Voxels, values: Uint8Array): Blob {
  const bytes = like.bytes.slice();
  bytes.set(values, bytes.length - like.values.length);
  return new Blob([bytes]);
}

// Where a dropped volume is not 0, as 255; it must lie on the same grid.
export async function truthOn(like: Voxels, file: File): Promise<Uint8Array> {
  const image = await NVImage.loadFromFile({ file, name: file.name });
  const view = new DataView(like.bytes.buffer, like.bytes.byteOffset);
  const size = [1, 2, 3].map((k) => view.getInt16(DIMS_AT + 2 * k, true));
  const own = [1, 2, 3].map((k) => image.hdr!.dims[k]);
  if (String(own) !== String(size)) throw new Error(`The mask has ${own.join(" × ")} voxels, the volume ${size.join(" × ")}.`);
  const affine = Array.from({ length: 12 }, (_, k) => view.getFloat32(SFORM_AT + 4 * k, true));
  if (image.hdr!.affine.flat().some((value, k) => k < 12 && Math.abs(value - affine[k]) > SAME_PLACE))
    throw new Error("The mask lies elsewhere than the volume: its affine is another.");
  return Uint8Array.from(image.img as ArrayLike<number>, (value) => (value ? 255 : 0));
}
