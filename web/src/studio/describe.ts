/** Short words about requests. */
import type { JobRequest } from '../lib/api/types.ts';
import { strings } from '../lib/i18n/strings.ts';
import { commonClass } from '../lib/state/settings.ts';

/** "DDIM · 50 steps · trouser". */
export function describeRequest(request: JobRequest): string {
  const { kind, steps } = request.sampler;
  const scale = request.guidance?.scale ?? 1;
  const parts = [
    strings.sampler(kind),
    typeof steps === 'number' && steps > 0
      ? `${steps} ${strings.settings.steps.toLowerCase()}`
      : '',
    commonClass(request.class),
    scale !== 1 ? `${strings.settings.guidance.toLowerCase()} ${scale}` : '',
  ];
  return parts.filter(Boolean).join(' · ');
}

/** Everything that a person may want to read of a request. */
export function factsOf(request: JobRequest): [string, string][] {
  const t = strings.settings;
  const { kind, ...options } = request.sampler;
  const facts: [string, string][] = [
    [t.model, request.model],
    [t.seed, request.seed ?? ''],
    [t.imageNumber, String(request.first_image ?? 0)],
    [t.sampler, strings.sampler(kind)],
  ];
  const label = commonClass(request.class);
  if (label) facts.splice(1, 0, [t.class, label]);
  for (const [name, value] of Object.entries(options)) {
    facts.push([strings.option(name), String(value)]);
  }
  const scale = request.guidance?.scale ?? 1;
  if (scale !== 1) facts.push([t.guidance, String(scale)]);
  return facts;
}
