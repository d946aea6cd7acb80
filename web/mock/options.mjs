// GET /v1/models and GET /v1/capabilities: names, types, ranges and help of src/ddpm/config/sample_config.h.
import { kGarments, kShapeNames } from './pictures.mjs';

const hash = (digit) => digit.repeat(12) + '0'.repeat(52);
export const kModels = [
  {
    id: 'shapes',
    shape: [3, 32, 32],
    classes: kShapeNames,
    hash: hash('a'),
    T: 1000,
    sampler: { kind: 'ddim', steps: 0, clip: 'clip', spacing: 'trailing' },
  },
  {
    id: 'fashion_mnist',
    shape: [1, 28, 28],
    classes: kGarments,
    hash: hash('b'),
    T: 1000,
    sampler: { kind: 'dpmpp_2m', steps: 20, clip: 'clip', spacing: 'trailing' },
  },
  {
    id: 'landscapes_64',
    shape: [3, 64, 64],
    classes: null,
    hash: hash('c'),
    T: 300,
    sampler: { kind: 'ddpm', steps: 0, clip: 'clip', spacing: 'trailing' },
  },
  {
    id: 'garments_4x',
    shape: [1, 28, 28],
    classes: null,
    enlarges: 4,
    hash: hash('d'),
    T: 1000,
    sampler: { kind: 'ddim', steps: 0, clip: 'clip', spacing: 'trailing' },
  },
];

export function modelJson({ id, shape, classes, enlarges = 0, hash: modelHash, T, sampler }) {
  return {
    id,
    object: 'model',
    created: 1735689600,
    owned_by: 'ddpm',
    ddpm: {
      image_shape: shape,
      classes,
      super_resolution: enlarges,
      num_timesteps: T,
      prediction: 'epsilon',
      default_sampler: sampler,
      hash: modelHash,
    },
  };
}

const all = [
  'steps',
  'spacing',
  'drop_last',
  'steps_offset',
  'clip',
  'clip_range',
  'dynamic_ratio',
  'dynamic_max',
];
const sigmas = ['levels', 'rho', 'sigma_min', 'sigma_max', 'final_sigma'];
const churn = ['s_churn', 's_tmin', 's_tmax', 's_noise'];
const solver = [...sigmas, 'lower_order_final', 'solver_type'];
const sampler = (kind, default_steps, ...options) => ({
  kind,
  default_steps,
  options: [...all, ...options],
});
export const kSamplers = [
  sampler('ddpm', null, 'variance'),
  sampler('ddim', 50, 'eta'),
  sampler('euler', 50, ...sigmas, ...churn),
  sampler('euler_a', 50, ...sigmas, 'ancestral_eta'),
  sampler('heun', 20, ...sigmas, ...churn),
  sampler('dpmpp_2s', 20, ...solver),
  sampler('dpmpp_3s', 21, ...sigmas, 'lower_order_final'),
  sampler('dpmpp_2m', 20, ...solver),
  sampler('dpmpp_3m', 20, ...solver),
  sampler('dpmpp_2m_sde', 25, ...solver, 'ancestral_eta'),
  sampler('dpmpp_3m_sde', 25, ...solver, 'ancestral_eta'),
  sampler('dpm_2s', 20, ...solver),
  sampler('dpm_3s', 21, ...sigmas, 'lower_order_final'),
  sampler('unipc', 20, ...sigmas, 'order', 'lower_order_final', 'unipc'),
  sampler('deis', 20, ...sigmas, 'order', 'lower_order_final'),
  sampler('lms', 30, ...sigmas, 'order'),
  sampler('pndm', 30),
  sampler('plms', 30),
];

const word = (name, values, standard, help) => ({
  name,
  type: 'enum',
  default: standard,
  values,
  help,
});
const integer = (name, standard, min, max, help) => ({
  name,
  type: 'integer',
  default: standard,
  min,
  max,
  help,
});
const number = (name, standard, min, max, help) => ({
  name,
  type: 'number',
  default: standard,
  min,
  max,
  help,
});
const flag = (name, standard, help) => ({ name, type: 'boolean', default: standard, help });
export const kSamplerOptions = [
  word(
    'kind',
    kSamplers.map((s) => s.kind),
    'ddim',
    'ddpm: ancestral sampling; ddim: fewer steps, without noise at eta = 0; dpmpp_2m, unipc, heun and others: fewer still; *_a and *_sde: with noise in every step',
  ),
  integer(
    'steps',
    0,
    0,
    null,
    "noise levels from noise to image; 0: the sampler's default (ddpm: all T; first-order ones: 50; others: 20 to 30). heun calls the network about twice a level",
  ),
  word(
    'spacing',
    ['leading', 'linspace', 'trailing'],
    'trailing',
    'levels = timesteps: which of them a list of fewer than T visits',
  ),
  flag(
    'drop_last',
    false,
    "leading, linspace: a list of one timestep more without its last, as diffusers' DPM-Solver, UniPC and DEIS take",
  ),
  integer('steps_offset', 0, 0, 1000000, 'leading: added to every timestep'),
  word(
    'levels',
    ['timesteps', 'karras', 'exponential', 'uniform_lambda'],
    'timesteps',
    'timesteps, or sigmas of the EDM view with fractional timesteps: karras (by rho), exponential or uniform_lambda (the same list by its two names)',
  ),
  number(
    'rho',
    7,
    1,
    null,
    'levels = karras: 1 takes equal steps of sigma, more makes them shorter at the image',
  ),
  number('sigma_min', 0, 0, null, "lowest sigma of levels other than timesteps; 0: the schedule's"),
  number(
    'sigma_max',
    0,
    0,
    null,
    "highest sigma of levels other than timesteps; 0: the schedule's",
  ),
  word(
    'final_sigma',
    ['zero', 'sigma_min'],
    'zero',
    'where the list ends: zero, the image; sigma_min, the noise of the first timestep',
  ),
  number('eta', 0, 0, 1, 'ddim: noise of a step, 0 none, 1 as much as ddpm'),
  number(
    'ancestral_eta',
    1,
    0,
    1,
    'euler_a, dpmpp_2m_sde, dpmpp_3m_sde: noise of a step, 0 none, 1 that of the reverse process',
  ),
  integer('order', 0, 0, 4, 'unipc, deis: 1 to 3; lms: 1 to 4; 0: the highest'),
  flag(
    'lower_order_final',
    true,
    'dpm*, unipc, deis: first order in the last step and second in the one before; false: in a step to the image alone',
  ),
  word(
    'solver_type',
    ['midpoint', 'heun'],
    'midpoint',
    'dpmpp_2s, dpm_2s, dpmpp_*m*: a slope known from two values counts by its midpoint form, or exactly (heun)',
  ),
  word('unipc', ['bh1', 'bh2'], 'bh2', 'unipc: B(h) = h (bh1) or exp(h) - 1 (bh2)'),
  number('s_churn', 0, 0, null, 'euler, heun: noise added over all steps, as EDM has it; 0: none'),
  number('s_tmin', 0, 0, null, 'euler, heun: lowest sigma that churn raises'),
  number('s_tmax', 1000000, 0, null, 'euler, heun: highest sigma that churn raises'),
  number('s_noise', 1, 0, null, "euler, heun: standard deviation of churn's noise"),
  word(
    'clip',
    ['none', 'clip', 'dynamic'],
    'clip',
    'predicted x_0: left alone, clipped, or scaled into [-1, 1]',
  ),
  number('clip_range', 1, 0, null, 'clip = clip: to plus and minus this'),
  number('dynamic_ratio', 0.995, 0, 1, 'clip = dynamic: quantile of |x_0| that becomes 1'),
  number('dynamic_max', 100, 1, null, 'clip = dynamic: largest value that is scaled to 1'),
  word(
    'variance',
    ['model', 'fixed_small', 'fixed_large'],
    'model',
    'ddpm: variance of a step; model: what the network was made with',
  ),
];
export const kGuidanceOptions = [
  number(
    'scale',
    1,
    0,
    null,
    's of weak + s (strong - weak): 1 is off, more follows the class closer',
  ),
  number(
    'rescale',
    0,
    0,
    1,
    "how much of the guided answer gets the unguided one's standard deviation, 0 none, 1 all",
  ),
  {
    name: 'interval',
    type: 'list',
    default: [],
    min: 0,
    max: null,
    help: 'lowest and highest sigma of the EDM view at which to guide; empty: everywhere',
  },
];
export const kLimits = { max_images: 16, max_trace_frames: 20, max_steps: 1000 };

export const capabilities = () => ({
  version: '1.0.0',
  samplers: kSamplers,
  sampler_options: kSamplerOptions,
  guidance_options: kGuidanceOptions,
  formats: ['png', 'webp', 'npz'],
  limits: kLimits,
});
