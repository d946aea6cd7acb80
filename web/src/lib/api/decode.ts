/** From the server's JSON to the page's types. Unknown keys pass; missing ones get a neutral value. */
import { asArray, asNumber, asObject, asOptionValue, asString, type JsonObject } from './json.ts';
import type * as api from './types.ts';

export function decodeModels(json: unknown): api.ModelInfo[] {
  return asArray(asObject(json)['data']).map(decodeModel);
}

function decodeModel(json: unknown): api.ModelInfo {
  const model = asObject(json);
  const own = asObject(model['ddpm']);
  const shape = asArray(own['image_shape']).map((side) => asNumber(side, 0));
  const classes = own['classes'];
  return {
    id: asString(model['id']),
    imageShape: shape.length === 3 ? [shape[0] ?? 0, shape[1] ?? 0, shape[2] ?? 0] : null,
    classes: Array.isArray(classes) && classes.length > 0 ? classes.map((c) => asString(c)) : null,
    superResolution: asNumber(own['super_resolution'], 0),
    numTimesteps: asNumber(own['num_timesteps'], 1000),
    prediction: asString(own['prediction']),
    defaultSampler: decodeOptions(own['default_sampler']),
    hash: asString(own['hash']),
  };
}

function decodeOptions(json: unknown): Record<string, api.OptionValue> {
  const entries = Object.entries(asObject(json));
  return Object.fromEntries(entries.map(([name, value]) => [name, asOptionValue(value)]));
}

export function decodeCapabilities(json: unknown): api.Capabilities {
  const body = asObject(json);
  const limits = asObject(body['limits']);
  return {
    version: asString(body['version']),
    samplers: asArray(body['samplers']).map(decodeSampler),
    samplerOptions: asArray(body['sampler_options']).map(decodeSchema),
    guidanceOptions: asArray(body['guidance_options']).map(decodeSchema),
    formats: asArray(body['formats']).map((f) => asString(f)),
    maxImages: asNumber(limits['max_images'], 16),
    maxTraceFrames: asNumber(limits['max_trace_frames'], 20),
  };
}

function decodeSampler(json: unknown): api.SamplerInfo {
  if (typeof json === 'string') return { kind: json, defaultSteps: null, options: null };
  const sampler = asObject(json);
  const options = sampler['options'];
  return {
    kind: asString(sampler['kind'] ?? sampler['name']),
    defaultSteps: asNumber(sampler['default_steps'], null),
    options: Array.isArray(options)
      ? options.map((o) => (typeof o === 'string' ? o : asString(asObject(o)['name'])))
      : null,
  };
}

const kTypes = new Set(['integer', 'number', 'boolean', 'enum', 'list']);

function decodeSchema(json: unknown): api.OptionSchema {
  const field = asObject(json);
  const values = asArray(field['values']).map((v) => asString(v));
  const type = asString(field['type']);
  return {
    name: asString(field['name']),
    type: (kTypes.has(type) ? type : values.length ? 'enum' : 'number') as api.OptionSchema['type'],
    default: asOptionValue(field['default']),
    min: asNumber(field['min'], null),
    max: asNumber(field['max'], null),
    values,
    help: asString(field['help']),
  };
}

export function decodeJob(json: unknown): api.Job {
  const job = asObject(json);
  const request = job['request'];
  return {
    id: asString(job['id']),
    state: decodeState(job['state']),
    model: asString(job['model']),
    position: asNumber(job['position'], null),
    progress: decodeProgress(job['progress']),
    request: request === undefined || request === null ? null : decodeRequest(asObject(request)),
    images: asArray(job['images']).map(decodeImage),
    trace: decodeTrace(job),
    error: decodeError(job['error']),
    createdAt: decodeTime(job['created_at']),
    startedAt: decodeTime(job['started_at']),
    finishedAt: decodeTime(job['finished_at']),
  };
}

const kStates = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const;

export function decodeState(value: unknown): api.JobState {
  return kStates.find((state) => state === value) ?? 'queued';
}

/** Times are ISO 8601, or seconds since 1970. */
function decodeTime(value: unknown): string | null {
  if (typeof value === 'number') return new Date(value * 1000).toISOString();
  return typeof value === 'string' && value !== '' ? value : null;
}

export function decodeProgress(json: unknown): api.JobProgress {
  const progress = asObject(json);
  return {
    step: asNumber(progress['step'], 0),
    steps: asNumber(progress['steps'], 0),
    imagesDone: asNumber(progress['images_done'], 0),
    images: asNumber(progress['images'], 0),
  };
}

export function decodeImage(json: unknown): api.JobImage {
  const image = asObject(json);
  return {
    url: asString(image['url']),
    seed: asString(image['seed'], '0'),
    index: asNumber(image['index'], 0),
    width: asNumber(image['width'], 0),
    height: asNumber(image['height'], 0),
    mediaType: asString(image['media_type'], 'image/png'),
  };
}

/** `trace` is {"t": [...]}; a server that says only how many frames there are is understood. */
function decodeTrace(job: JsonObject): number[] {
  const trace = asObject(job['trace']);
  const t = asArray(trace['t']).map((value) => asNumber(value, 0));
  if (t.length > 0) return t;
  const frames = asNumber(trace['frames'], null) ?? asNumber(job['trace'], 0);
  return Array.from({ length: frames }, (_, i) => frames - 1 - i);
}

export function decodeError(json: unknown): api.ApiErrorBody | null {
  if (json === null || json === undefined) return null;
  const error = asObject(json);
  const field = error['field'];
  return {
    code: asString(error['code'], 'internal'),
    message: withoutPlace(asString(error['message'])),
    field: typeof field === 'string' && field !== '' ? field : null,
  };
}

/** "[place] rule: ..." as a sentence for the page, which shows the field instead of the place. */
function withoutPlace(message: string): string {
  const rule = message.replace(/^\[[^\]]*\] /, '');
  return rule === message ? message : rule.charAt(0).toUpperCase() + rule.slice(1);
}

function decodeRequest(json: JsonObject): api.JobRequest {
  const sampler = decodeOptions(json['sampler']);
  const guidance = asObject(json['guidance']);
  const request: api.JobRequest = {
    model: asString(json['model']),
    num_images: asNumber(json['num_images'], 1),
    seed: asString(json['seed'], '0'),
    sampler: { ...sampler, kind: asString(sampler['kind'], 'ddim') },
  };
  const first = Number(asString(json['first_image'], '0'));
  if (first > 0) request.first_image = first;
  const label = json['class'];
  if (typeof label === 'string') request.class = label;
  if (Array.isArray(label) && label.length > 0) request.class = label.map((name) => asString(name));
  if (Object.keys(guidance).length > 0) request.guidance = decodeGuidance(guidance);
  const trace = asNumber(json['trace'], 0);
  if (trace > 0) request.trace = trace;
  return request;
}

function decodeGuidance(json: JsonObject): api.GuidanceRequest {
  return {
    scale: asNumber(json['scale'], 1),
    rescale: asNumber(json['rescale'], 0),
    interval: asArray(json['interval']).map((sigma) => asNumber(sigma, 0)),
  };
}
