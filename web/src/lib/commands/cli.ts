import type { JobRequest, OptionValue } from '../api/types.ts';
import { commonClass } from '../state/settings.ts';
import { shellWord } from './shell.ts';

/** The flags of `ddpm sample` that draw the same images, in the folder of the server's models. */
export function sampleCommand(request: JobRequest): string {
  const { kind, ...options } = request.sampler;
  const words = ['ddpm sample', shellWord(request.model), `-n ${request.num_images}`];
  words.push(`--seed ${request.seed ?? '0'}`);
  if (request.first_image) words.push(`--first-image ${request.first_image}`);
  const label = commonClass(request.class);
  if (label !== '') words.push(`--class ${shellWord(label)}`);
  words.push(`--sampler ${kind}`);
  for (const [name, value] of Object.entries(options)) {
    words.push(`--${name.replaceAll('_', '-')} ${flagValue(value)}`);
  }
  const { scale, rescale, interval } = request.guidance ?? {};
  if (scale !== undefined) words.push(`--guidance ${scale}`);
  if (rescale !== undefined && rescale > 0) words.push(`--guidance-rescale ${rescale}`);
  if (interval && interval.length > 0) words.push(`--guidance-interval ${flagValue(interval)}`);
  words.push('-o images.png');
  return words.join(' ');
}

function flagValue(value: OptionValue): string {
  return Array.isArray(value) ? value.join(',') : shellWord(String(value));
}
