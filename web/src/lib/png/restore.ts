/** From a picture's text (docs/formats.md, "Pictures") back to the settings that drew it. */
import type { Capabilities, ModelInfo, OptionSchema, OptionValue } from '../api/types.ts';
import { parseSeed, type Settings } from '../state/settings.ts';

export interface Restored {
  settings: Settings;
  /** What could not be restored, each with the value that the picture has. */
  lost: { key: string; value: string }[];
}

const kHashDigits = 12;
/** Keys that say nothing about how to draw. */
const kPassedOver = new Set(['ddpm.version', 'ddpm.job']);

/** Null if the text is not of a picture that this program drew. */
export function restoreSettings(
  text: ReadonlyMap<string, string>,
  base: Settings,
  models: ModelInfo[],
  caps: Capabilities,
): Restored | null {
  const seed = parseSeed(text.get('ddpm.seed') ?? '');
  if (seed === null) return null;
  const settings: Settings = {
    ...base,
    seed,
    options: {},
    className: '',
    firstImage: 0,
    guidanceScale: 1,
    guidanceRescale: 0,
    guidanceInterval: [],
  };
  const lost: Restored['lost'] = [];
  for (const [key, value] of text) {
    if (!key.startsWith('ddpm.') || kPassedOver.has(key) || value.length > 200) continue;
    if (!apply(settings, key.slice(5), value, models, caps)) lost.push({ key, value });
  }
  applyImageNumber(settings, text);
  return { settings, lost };
}

/** ddpm.image is the picture's own number; a grid has only its first. */
function applyImageNumber(settings: Settings, text: ReadonlyMap<string, string>): void {
  const image = wholeNumber(text.get('ddpm.image') ?? '');
  const first = wholeNumber(text.get('ddpm.first_image') ?? '');
  settings.firstImage = image ?? first ?? 0;
  if (image !== null) settings.numImages = 1;
}

function apply(
  settings: Settings,
  key: string,
  value: string,
  models: ModelInfo[],
  caps: Capabilities,
): boolean {
  switch (key) {
    case 'seed':
    case 'image':
    case 'first_image':
      return true;
    case 'model':
      return applyModel(settings, value, models);
    case 'class':
      settings.className = value;
      return models.some((model) => model.classes?.includes(value));
    case 'sampler':
      settings.sampler = value;
      return caps.samplers.some((sampler) => sampler.kind === value);
    case 'guidance':
      return applyNumber(value, (scale) => (settings.guidanceScale = scale));
    case 'guidance_rescale':
      return applyNumber(value, (rescale) => (settings.guidanceRescale = rescale));
    case 'guidance_interval': {
      const sigmas = value.split(/[\s,]+/).map(Number);
      if (sigmas.length !== 2 || !sigmas.every(Number.isFinite)) return false;
      settings.guidanceInterval = sigmas;
      return true;
    }
    default:
      return applyOption(
        settings,
        caps.samplerOptions.find((o) => o.name === key),
        value,
      );
  }
}

function applyModel(settings: Settings, hash: string, models: ModelInfo[]): boolean {
  const short = hash.toLowerCase().slice(0, kHashDigits);
  const model = models.find(
    (m) => short.length === kHashDigits && m.hash.toLowerCase().startsWith(short),
  );
  if (!model) return false;
  settings.model = model.id;
  return true;
}

function applyNumber(text: string, set: (value: number) => void): boolean {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) return false;
  set(value);
  return true;
}

function applyOption(settings: Settings, schema: OptionSchema | undefined, text: string): boolean {
  const value = schema ? parseOption(schema, text) : null;
  if (!schema || value === null) return false;
  settings.options[schema.name] = value;
  return true;
}

/** The option's value, or null if the text is none in its range. */
export function parseOption(schema: OptionSchema, text: string): OptionValue | null {
  switch (schema.type) {
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : null;
    case 'enum':
      return schema.values.includes(text) ? text : null;
    case 'list': {
      const numbers = text.trim() === '' ? [] : text.split(/[\s,]+/).map(Number);
      return numbers.every(Number.isFinite) ? numbers : null;
    }
    case 'integer':
    case 'number': {
      const value = Number(text);
      if (text.trim() === '' || !Number.isFinite(value)) return null;
      if (schema.type === 'integer' && !Number.isInteger(value)) return null;
      const inRange = value >= (schema.min ?? -Infinity) && value <= (schema.max ?? Infinity);
      return inRange ? value : null;
    }
  }
}

function wholeNumber(text: string): number | null {
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}
