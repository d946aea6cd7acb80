/** The studio's settings over a reload. */
import { decodeSettings, type Settings } from './settings.ts';

export interface StoredStudio {
  a: Settings;
  b: Settings;
  compare: boolean;
  seedLocked: boolean;
}

const kName = 'ddpm.studio.v1';

export function loadStudio(base: Settings): StoredStudio {
  let json: Record<string, unknown> = {};
  try {
    json = (JSON.parse(localStorage.getItem(kName) ?? '{}') ?? {}) as Record<string, unknown>;
  } catch {
    // damaged or off: start anew
  }
  return {
    a: decodeSettings(json['a'], base),
    b: decodeSettings(json['b'], base),
    compare: json['compare'] === true,
    seedLocked: json['seedLocked'] === true,
  };
}

export function saveStudio(studio: StoredStudio): void {
  try {
    localStorage.setItem(kName, JSON.stringify(studio));
  } catch {
    // full or off: the settings live as long as the page
  }
}

const kRunName = 'ddpm.run';

/** The jobs of this tab's last run. */
export function loadRun(): string[] {
  try {
    const ids: unknown = JSON.parse(sessionStorage.getItem(kRunName) ?? '[]');
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string').slice(0, 2) : [];
  } catch {
    return [];
  }
}

export function saveRun(ids: string[]): void {
  try {
    sessionStorage.setItem(kRunName, JSON.stringify(ids));
  } catch {
    // the URL still names them
  }
}
