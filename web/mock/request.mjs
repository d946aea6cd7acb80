// Checks a POST /v1/jobs body as the server does: an error names its field, unknown keys the nearest one.
import { kGuidanceOptions, kLimits, kModels, kSamplerOptions, kSamplers } from './options.mjs';

export class Refusal extends Error {
  constructor(status, code, message, field = null) {
    super(message);
    Object.assign(this, { status, code, field });
  }
}
const invalid = (field, message) =>
  new Refusal(422, 'invalid_request', `[${field}] ${message}`, field);

const kKeys = [
  'model',
  'num_images',
  'seed',
  'first_image',
  'sampler',
  'class',
  'guidance',
  'format',
  'previews',
  'trace',
  'deadline_ms',
  'priority',
];

function checkKeys(object, known, prefix) {
  for (const key of Object.keys(object)) {
    if (known.includes(key)) continue;
    const nearest = known.find((k) => k[0] === key[0]) ?? known[0];
    throw invalid(prefix + key, `unknown key: did you mean '${nearest}'?`);
  }
}

function checkOption(schema, value, field) {
  if (schema.type === 'enum' && !schema.values.includes(value))
    throw invalid(field, `expected one of ${schema.values.join(', ')}, got '${value}'`);
  if (schema.type === 'boolean' && typeof value !== 'boolean')
    throw invalid(field, `expected true or false, got ${JSON.stringify(value)}`);
  if (schema.type !== 'integer' && schema.type !== 'number') return;
  if (typeof value !== 'number')
    throw invalid(field, `expected a number, got ${JSON.stringify(value)}`);
  if (value < (schema.min ?? -Infinity))
    throw invalid(field, `expected a number at least ${schema.min}, got ${value}`);
  if (value > (schema.max ?? Infinity))
    throw invalid(field, `expected a number at most ${schema.max}, got ${value}`);
}

function checkOptions(object, schemas, prefix) {
  checkKeys(
    object,
    schemas.map((s) => s.name),
    prefix,
  );
  for (const [key, value] of Object.entries(object))
    checkOption(
      schemas.find((s) => s.name === key),
      value,
      prefix + key,
    );
}

function resolveSampler(sampler, model) {
  checkOptions(sampler, kSamplerOptions, 'sampler.');
  const kind = sampler.kind ?? model.sampler.kind;
  const own = model.sampler.kind === kind ? model.sampler : {};
  const standard = Object.fromEntries(kSamplerOptions.map((o) => [o.name, o.default]));
  const options = { ...standard, ...own, ...sampler, kind };
  const limit = Math.min(kLimits.max_steps, model.T);
  if (options.steps > limit)
    throw invalid(
      'sampler.steps',
      `too many steps: expected at most ${limit}, got ${options.steps}`,
    );
  if (options.steps === 0)
    options.steps = kSamplers.find((s) => s.kind === kind).default_steps ?? model.T;
  return options;
}

/** The resolved request: defaults and the seed filled in. */
export function resolve(body) {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw invalid('body', 'expected a JSON object');
  checkKeys(body, kKeys, '');
  const model = kModels.find((m) => m.id === body.model);
  if (!model)
    throw new Refusal(404, 'unknown_model', `[model] no model '${body.model}' here`, 'model');
  if (model.enlarges)
    throw invalid(
      'model',
      `expected one that draws from noise alone, got '${model.id}', which enlarges images ${model.enlarges} times: POST /v1/edits/superres asks it`,
    );
  const num_images = body.num_images ?? 1;
  if (!Number.isInteger(num_images) || num_images < 1 || num_images > kLimits.max_images) {
    throw invalid('num_images', `expected 1 to ${kLimits.max_images} images, got ${num_images}`);
  }
  const first_image = body.first_image ?? 0;
  if (body.class !== undefined && !model.classes?.includes(body.class)) {
    throw invalid(
      'class',
      `expected ${model.classes ? 'one of ' + model.classes.join(', ') : 'none: the model has no classes'}, got '${body.class}'`,
    );
  }
  checkOptions(body.guidance ?? {}, kGuidanceOptions, 'guidance.');
  if ((body.trace ?? 0) > kLimits.max_trace_frames)
    throw invalid(
      'trace',
      `expected at most ${kLimits.max_trace_frames} frames, got ${body.trace}`,
    );
  const labels =
    model.classes &&
    Array.from(
      { length: num_images },
      (_, i) => body.class ?? model.classes[(i + first_image) % model.classes.length],
    );
  return {
    model: model.id,
    num_images,
    seed: body.seed ?? Math.floor(Math.random() * 2 ** 32),
    first_image,
    sampler: resolveSampler(body.sampler ?? {}, model),
    ...(labels ? { class: labels } : {}),
    guidance: { scale: 1, rescale: 0, interval: [], ...body.guidance },
    format: body.format ?? 'png',
    previews: body.previews ?? false,
    trace: body.trace ?? 0,
  };
}
