/** What the server's /v1 routes speak (docs/http_api.md). */

/** Decimal digits: a seed has up to 64 bits, more than a number holds. */
export type Seed = string;

export type OptionValue = number | boolean | string | number[];

export interface ModelInfo {
  id: string;
  imageShape: [channels: number, height: number, width: number] | null;
  classes: string[] | null;
  /** How many times it enlarges the image that it wants; 0: it draws from noise alone. */
  superResolution: number;
  numTimesteps: number;
  prediction: string;
  defaultSampler: Record<string, OptionValue>;
  hash: string;
}

/** One field of an option struct, as `visit_fields` lists it. */
export interface OptionSchema {
  name: string;
  type: 'integer' | 'number' | 'boolean' | 'enum' | 'list';
  default: OptionValue;
  min: number | null;
  max: number | null;
  values: string[];
  help: string;
}

export interface SamplerInfo {
  kind: string;
  /** Noise levels where steps is 0; null: all T, or unknown. */
  defaultSteps: number | null;
  /** Names of the options that this sampler reads; null: unknown, so all. */
  options: string[] | null;
}

export interface Capabilities {
  version: string;
  samplers: SamplerInfo[];
  samplerOptions: OptionSchema[];
  guidanceOptions: OptionSchema[];
  formats: string[];
  maxImages: number;
  maxTraceFrames: number;
}

export type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled';

export interface ApiErrorBody {
  code: string;
  message: string;
  field: string | null;
}

export interface JobImage {
  url: string;
  seed: Seed;
  index: number;
  width: number;
  height: number;
  mediaType: string;
}

export interface JobProgress {
  step: number;
  steps: number;
  imagesDone: number;
  images: number;
}

export interface GuidanceRequest {
  scale?: number;
  rescale?: number;
  interval?: number[];
}

export interface JobRequest {
  model: string;
  num_images: number;
  seed?: Seed;
  first_image?: number;
  sampler: { kind: string } & Record<string, OptionValue>;
  /** One class for all images, or one for each. */
  class?: string | string[];
  guidance?: GuidanceRequest;
  format?: string;
  previews?: boolean;
  trace?: number;
}

export interface Job {
  id: string;
  state: JobState;
  model: string;
  position: number | null;
  progress: JobProgress;
  request: JobRequest | null;
  images: JobImage[];
  /** The timesteps of the recorded frames, first (noise) to last; empty: no trace. */
  trace: number[];
  error: ApiErrorBody | null;
  createdAt: string | null;
  startedAt: string | null;
  finishedAt: string | null;
}

export type TraceKind = 'x_t' | 'noise' | 'pred_x_start';
