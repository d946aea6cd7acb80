/** Which control of the panel a field of the API belongs to. */
import { samplerSchemas } from '../lib/state/settings.ts';
import { app } from '../lib/state/app.svelte.ts';
import { studio } from '../lib/state/studio.svelte.ts';

const kFields = [
  'model',
  'class',
  'num_images',
  'seed',
  'trace',
  'sampler',
  'sampler.kind',
  'guidance',
  'guidance.scale',
];

/** The server's sentence about `field`, if that is what it refused and its side is shown. */
export function errorOf(...fields: string[]): string {
  const { error } = studio;
  if (!error?.field || !fields.includes(error.field)) return '';
  return studio.compare && error.side !== studio.side ? '' : error.message;
}

/** The sentence that no shown control is about. */
export function generalError(): string {
  const { error } = studio;
  if (!error || !app.caps) return '';
  const options = samplerSchemas(app.caps, studio.edited.sampler).map((o) => `sampler.${o.name}`);
  const shown = error.field !== null && [...kFields, ...options].includes(error.field);
  return shown ? '' : error.message;
}
