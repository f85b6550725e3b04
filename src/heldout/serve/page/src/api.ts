// The service's endpoints, typed.

export interface Member {
  name: string;
  weight: number | null;
  networks: number;
  tta: string;
}

export interface ModelInfo {
  name: string;
  served_as: string[]; // names that it is asked for by; an alias stays where another decision takes over
  warnings: string[]; // how it is served otherwise than it was sealed
  sealed: boolean;
  seal: string;
  sealed_at: string | null;
  kind: "classification" | "segmentation" | "regression";
  dimensions: number;
  two_heads: boolean;
  objects: "boxes" | "points" | null; // what it detects
  classes: string[];
  exclusive: boolean;
  dataset: string;
  metric: string;
  score: number | null;
  interval: [number, number] | null;
  thresholds: Record<string, number>;
  calibration: string;
  members: Member[];
  input: { formats: string[]; channels: number; image_size: number[] | null; spacing_mm: number[] | null };
  reliability: Reliability[];
  card: Record<string, unknown> | null;
  leaderboard?: boolean; // whether there is one, of the information
}

export function keyOf(model: ModelInfo): string {
  return model.served_as[0] ?? model.name;
}

export interface Reliability {
  label: string;
  stated: number[];
  observed: number[];
  cases: number[];
}

export interface Drift {
  inputs: number;
  unusual: number;
  measures: Record<string, [number | null, number, number, number]>;
}

export interface Answer {
  decision: string;
  seal: string;
  sealed: boolean;
  version: string;
  request_id: string;
  took_ms: number;
  warnings: string[];
  in_distribution: boolean | null;
  abstain: boolean | null;
  abstain_reason: string | null;
  prediction: string;
  confidence: number;
  calibrated_confidence: number;
  probabilities: Record<string, number>;
  grade?: number;
  values?: Record<string, number>;
  shape?: number[];
  spacing_mm?: number[] | null;
  threshold?: number | null; // of the masks instead of the sealed ones
  areas?: Record<string, number>;
  volumes_ml?: Record<string, number> | null;
  detections?: Found[];
  files?: Record<string, string>;
  heatmap?: string;
  explained?: string;
  preview?: string;
  thumbnail?: string;
  entropy?: number;
  epistemic_uncertainty?: number;
  aleatoric_uncertainty?: number;
  mean_dice?: number;
  answers?: number;
}

// An object: coordinates of its corner or point, in voxels, and the size of a box.
export interface Found {
  class: string;
  score: number;
  x: number;
  y: number;
  z?: number;
  w?: number;
  h?: number;
  d?: number;
}

export interface Stack extends Omit<Answer, "areas"> {
  slices: number;
  areas?: Record<string, number[]>;
  slice_probabilities?: Record<string, number[]> | null;
}

export interface BatchResult {
  count: number;
  failed: number;
  results: (Answer & { error?: string })[];
}

export interface Correction {
  case: string;
  version: number;
}

export class Refusal extends Error {
  constructor(
    public status: number,
    detail: string,
  ) {
    super(detail);
  }
}

const KEY = "heldout-token";

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value: string) => sessionStorage.setItem(KEY, value),
};

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token.get()) headers.set("authorization", `Bearer ${token.get()}`);
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // not JSON: the status says it
  }
  throw new Refusal(response.status, detail);
}

export async function models(): Promise<ModelInfo[]> {
  return (await call("/v1/models")).json();
}

export async function information(name: string): Promise<ModelInfo> {
  return (await call(`/model/info?model=${encodeURIComponent(name)}`)).json();
}

export async function drift(name: string): Promise<Drift> {
  return (await call(`/v1/drift?model=${encodeURIComponent(name)}`)).json();
}

// The leaderboard as a file: a link cannot send a token.
export async function leaderboard(): Promise<Blob> {
  return (await call("/leaderboard")).blob();
}

export async function post<T>(path: string, files: File[], options: Record<string, string | number | boolean>): Promise<T> {
  const form = new FormData();
  for (const file of files) form.append(files.length === 1 ? "file" : "files", file, "upload");
  for (const [name, value] of Object.entries(options)) form.append(name, String(value));
  return (await call(path, { method: "POST", body: form })).json();
}

export type Verdict = "accepted" | "corrected" | "rejected";

export function reviewOf(file: File, model: ModelInfo, answer: { seal: string }, verdict: Verdict, comment: string): FormData {
  const form = new FormData();
  form.append("file", file, "upload");
  form.append("model", keyOf(model));
  form.append("seal", answer.seal);
  form.append("verdict", verdict);
  form.append("comment", comment);
  return form;
}

export async function saveCorrection(form: FormData): Promise<Correction> {
  return (await call("/v1/corrections", { method: "POST", body: form })).json();
}

export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function isDicom(file: File): boolean {
  return /\.(zip|dcm)$/i.test(file.name);
}

// A volume as the viewer reads it: a DICOM series comes back as NIfTI.
export function onScreen(file: File, preview: string | undefined): File {
  return preview ? new File([bytesOf(preview)], "series.nii.gz") : file;
}

export function isVolume(file: File): boolean {
  return /\.(nii|nii\.gz|zip|dcm)$/i.test(file.name);
}
