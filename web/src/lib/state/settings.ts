/** What a person chose, and the request that it makes. */
import type {
  Capabilities,
  JobRequest,
  ModelInfo,
  OptionSchema,
  OptionValue,
  Seed,
} from '../api/types.ts';

export interface Settings {
  model: string;
  /** Empty: the server's choice, each class in turn. */
  className: string;
  sampler: string;
  /** Options that differ from their defaults. steps is one of them. */
  options: Record<string, OptionValue>;
  numImages: number;
  seed: Seed;
  /** Number of the seed's first image: image i of a seed is the same in any batch. */
  firstImage: number;
  guidanceScale: number;
  guidanceRescale: number;
  guidanceInterval: number[];
  /** Recorded moments of the way from noise to image; 0: none. */
  traceFrames: number;
}

export const kMaxSeed = 2n ** 64n - 1n;
/** The options that stand in the open; the others are under "more". */
export const kCommonOptions = ['steps', 'eta', 'ancestral_eta', 'levels'];
const kFirstOrder = new Set(['ddim', 'euler', 'euler_a']);

export function initialSettings(seed: Seed): Settings {
  return {
    model: '',
    className: '',
    sampler: 'ddim',
    options: {},
    numImages: 4,
    seed,
    firstImage: 0,
    guidanceScale: 1,
    guidanceRescale: 0,
    guidanceInterval: [],
    traceFrames: 12,
  };
}

/** A seed of 32 bits: easy to read, to type and to say. */
export function randomSeed(random: () => number = secureRandom): Seed {
  return String(random());
}

function secureRandom(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}

/** The seed's digits without leading zeros, or null if they are none or too large. */
export function parseSeed(text: string): Seed | null {
  const digits = text.trim();
  if (!/^\d{1,20}$/.test(digits)) return null;
  const value = BigInt(digits);
  return value > kMaxSeed ? null : value.toString();
}

/** Jobs take no image, so the studio offers no model that wants one. */
export function drawsFromNoise(model: ModelInfo): boolean {
  return model.superResolution === 0;
}

export function findModel(models: ModelInfo[], id: string): ModelInfo | null {
  return models.find((model) => model.id === id) ?? null;
}

/** The default of an option, given the model's own sampler [docs/config.md, sampler]. */
export function effectiveDefault(
  schema: OptionSchema,
  sampler: string,
  model: ModelInfo | null,
): OptionValue {
  const own = model?.defaultSampler ?? {};
  const shared =
    schema.name === 'clip' || schema.name === 'spacing' || schema.name === 'steps_offset';
  const value = own['kind'] === sampler || shared ? own[schema.name] : undefined;
  return value ?? schema.default;
}

/** Network calls an image takes, roughly: what the page shows where steps is left to the sampler. */
export function defaultSteps(caps: Capabilities, sampler: string, model: ModelInfo | null): number {
  const own = model?.defaultSampler;
  const steps = own?.['kind'] === sampler ? own['steps'] : 0;
  if (typeof steps === 'number' && steps > 0) return steps;
  const told = caps.samplers.find((s) => s.kind === sampler)?.defaultSteps;
  if (told) return told;
  if (sampler === 'ddpm') return model?.numTimesteps ?? 1000;
  return kFirstOrder.has(sampler) ? 50 : 20;
}

/** The schemas that `sampler` reads, without its kind. */
export function samplerSchemas(caps: Capabilities, sampler: string): OptionSchema[] {
  const names = caps.samplers.find((s) => s.kind === sampler)?.options;
  return caps.samplerOptions.filter(
    ({ name }) => name !== 'kind' && (name === 'steps' || !names || names.includes(name)),
  );
}

/** The settings as they stand for this server: a model that it has, a class that the model has. */
export function fitToServer(settings: Settings, models: ModelInfo[], caps: Capabilities): Settings {
  const model = findModel(models, settings.model) ?? models[0] ?? null;
  const fresh = settings.model === '';
  const kind = fresh ? String(model?.defaultSampler['kind'] ?? 'ddim') : settings.sampler;
  const known = caps.samplers.some((s) => s.kind === kind);
  return {
    ...settings,
    model: model?.id ?? '',
    className: model?.classes?.includes(settings.className) ? settings.className : '',
    sampler: known ? kind : (caps.samplers[0]?.kind ?? 'ddim'),
    numImages: Math.max(1, Math.min(settings.numImages, caps.maxImages)),
    traceFrames: Math.min(settings.traceFrames, caps.maxTraceFrames),
  };
}

export function toRequest(settings: Settings, models: ModelInfo[], caps: Capabilities): JobRequest {
  const model = findModel(models, settings.model);
  const request: JobRequest = {
    model: settings.model,
    num_images: settings.numImages,
    seed: settings.seed,
    sampler: { kind: settings.sampler },
  };
  for (const schema of samplerSchemas(caps, settings.sampler)) {
    const value = settings.options[schema.name];
    const standard = effectiveDefault(schema, settings.sampler, model);
    if (value !== undefined && !sameValue(value, standard)) request.sampler[schema.name] = value;
  }
  if (settings.firstImage > 0) request.first_image = settings.firstImage;
  if (model?.classes) addClassAndGuidance(request, settings);
  return request;
}

function addClassAndGuidance(request: JobRequest, settings: Settings): void {
  if (settings.className !== '') request.class = settings.className;
  const { guidanceScale: scale, guidanceRescale: rescale, guidanceInterval: interval } = settings;
  if (scale === 1) return;
  request.guidance = { scale };
  if (rescale > 0) request.guidance.rescale = rescale;
  if (interval.length > 0) request.guidance.interval = interval;
}

/** The job body of the studio: the request, with previews and the path. */
export function toJobRequest(
  settings: Settings,
  models: ModelInfo[],
  caps: Capabilities,
): JobRequest {
  const request: JobRequest = {
    ...toRequest(settings, models, caps),
    format: 'png',
    previews: true,
  };
  if (settings.traceFrames > 0) request.trace = settings.traceFrames;
  return request;
}

/** The settings that made a request; what it does not say stays as in `base`. */
export function fromRequest(request: JobRequest, base: Settings): Settings {
  const { kind, ...options } = request.sampler;
  return {
    ...base,
    model: request.model,
    className: commonClass(request.class),
    sampler: kind,
    options,
    numImages: request.num_images,
    seed: request.seed ?? base.seed,
    firstImage: request.first_image ?? 0,
    guidanceScale: request.guidance?.scale ?? 1,
    guidanceRescale: request.guidance?.rescale ?? 0,
    guidanceInterval: request.guidance?.interval ?? [],
  };
}

/** The class of all images, or none where they differ. */
export function commonClass(label: JobRequest['class']): string {
  if (!Array.isArray(label)) return label ?? '';
  return label.every((name) => name === label[0]) ? (label[0] ?? '') : '';
}

/** The request for one image of another request, alone. */
export function singleImage(request: JobRequest, index: number): JobRequest {
  const first = (request.first_image ?? 0) + index;
  const single: JobRequest = { ...request, num_images: 1 };
  if (first > 0) single.first_image = first;
  const label = Array.isArray(request.class) ? request.class[index] : undefined;
  if (label !== undefined) single.class = label;
  return single;
}

export function sameValue(a: OptionValue, b: OptionValue): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Reads stored settings; anything odd in them gives the default. */
export function decodeSettings(json: unknown, base: Settings): Settings {
  if (typeof json !== 'object' || json === null) return base;
  const stored = json as Record<string, unknown>;
  const settings = { ...base };
  for (const key of Object.keys(base) as (keyof Settings)[]) {
    const value = stored[key];
    const fits =
      typeof value === typeof base[key] && Array.isArray(value) === Array.isArray(base[key]);
    if (fits && value !== null) Object.assign(settings, { [key]: value });
  }
  return { ...settings, seed: parseSeed(settings.seed) ?? base.seed };
}
