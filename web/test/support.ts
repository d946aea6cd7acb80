import type { Capabilities, ModelInfo } from '../src/lib/api/types.ts';
import { initialSettings, type Settings } from '../src/lib/state/settings.ts';
import { decodeCapabilities } from '../src/lib/api/decode.ts';

export const kModels: ModelInfo[] = [
  {
    id: 'shapes',
    imageShape: [3, 32, 32],
    classes: ['circle', 'square'],
    superResolution: 0,
    numTimesteps: 1000,
    prediction: 'epsilon',
    defaultSampler: { kind: 'ddim', steps: 25, clip: 'clip' },
    hash: 'abcdef012345' + '0'.repeat(52),
  },
  {
    id: 'plain',
    imageShape: [3, 64, 64],
    classes: null,
    superResolution: 0,
    numTimesteps: 300,
    prediction: 'epsilon',
    defaultSampler: {},
    hash: '0123456789ab' + 'f'.repeat(52),
  },
];

export const kCapabilities: Capabilities = decodeCapabilities({
  version: '1.0.0',
  samplers: [
    { kind: 'ddpm', options: ['steps', 'clip', 'variance'] },
    { kind: 'ddim', default_steps: 50, options: ['steps', 'eta', 'clip'] },
    {
      kind: 'dpmpp_2m',
      default_steps: 20,
      options: ['steps', 'levels', 'lower_order_final', 'clip'],
    },
  ],
  sampler_options: [
    { name: 'kind', type: 'enum', default: 'ddim', values: ['ddpm', 'ddim', 'dpmpp_2m'], help: '' },
    { name: 'steps', type: 'integer', default: 0, min: 0, help: '' },
    { name: 'eta', type: 'number', default: 0, min: 0, max: 1, help: '' },
    {
      name: 'levels',
      type: 'enum',
      default: 'timesteps',
      values: ['timesteps', 'karras'],
      help: '',
    },
    { name: 'lower_order_final', type: 'boolean', default: true, help: '' },
    { name: 'clip', type: 'enum', default: 'clip', values: ['none', 'clip', 'dynamic'], help: '' },
  ],
  guidance_options: [],
  formats: ['png'],
  limits: { max_images: 16, max_trace_frames: 20 },
});

export function settingsWith(patch: Partial<Settings>): Settings {
  return { ...initialSettings('7'), model: 'shapes', traceFrames: 0, ...patch };
}
