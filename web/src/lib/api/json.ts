import type { JobRequest, OptionValue } from './types.ts';

/** JSON text with seeds as numbers of full precision: they are digits in `request`. */
export function stringifyRequest(request: JobRequest, indent = 0): string {
  const { seed, ...rest } = request;
  const marker = '\u0000seed';
  const body = seed === undefined ? rest : insertAfter(rest, 'num_images', 'seed', marker);
  return JSON.stringify(body, null, indent).replace(JSON.stringify(marker), seed ?? '');
}

function insertAfter(object: object, key: string, name: string, value: unknown): object {
  const entries = Object.entries(object);
  const at = entries.findIndex(([k]) => k === key);
  entries.splice(at + 1, 0, [name, value]);
  return Object.fromEntries(entries);
}

/** JSON.parse that turns seeds which a number can't hold into strings of digits. */
export function parseJson(text: string): unknown {
  return JSON.parse(
    text.replace(/("(?:seed|first_image)"\s*:\s*)(\d{16,20})(?=\s*[,}])/g, '$1"$2"'),
  );
}

/** 128 random bits as digits; crypto.randomUUID exists on secure pages alone. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export type JsonObject = Record<string, unknown>;

export function asObject(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : {};
}

export function asArray(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

export function asString(value: unknown, fallback = ''): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : fallback;
}

export function asNumber(value: unknown, fallback: number): number;
export function asNumber(value: unknown, fallback: null): number | null;
export function asNumber(value: unknown, fallback: number | null): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : fallback;
}

export function asOptionValue(value: unknown): OptionValue {
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.filter((v): v is number => typeof v === 'number');
  return asString(value);
}
