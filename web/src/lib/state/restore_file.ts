/** Restores the studio's settings from a picture's file. */
import { strings } from '../i18n/strings.ts';
import { PngError, readPngText } from '../png/chunks.ts';
import { restoreSettings } from '../png/restore.ts';
import { app } from './app.svelte.ts';
import { notices } from './notice.svelte.ts';
import { studio } from './studio.svelte.ts';

const kMaxFileBytes = 64 * 1024 * 1024;

export async function restoreFromFile(file: File): Promise<void> {
  if (!app.caps) return;
  const text = await readText(file);
  if (typeof text === 'string') return notices.show(text, 'error');
  const restored = restoreSettings(text, { ...studio.a }, app.models, app.caps);
  if (!restored) return notices.show(strings.restore.noText, 'error');
  studio.compare = false;
  studio.a = restored.settings;
  studio.seedLocked = true;
  studio.error = null;
  studio.fitToServer();
  const lost = restored.lost
    .map(({ key, value }) => `${key.replace('ddpm.', '')} ${value}`)
    .join(', ');
  notices.show(
    lost ? `${strings.restore.done} ${strings.restore.lost(lost)}` : strings.restore.done,
  );
  notices.say(strings.announce.restored);
}

/** The file's text, or the sentence that says why there is none. */
async function readText(file: File): Promise<Map<string, string> | string> {
  if (file.size > kMaxFileBytes) return strings.restore.notPng;
  const bytes = new Uint8Array(await file.arrayBuffer());
  try {
    return readPngText(bytes);
  } catch (error) {
    const isPng = bytes[0] === 0x89 && bytes[1] === 0x50;
    if (error instanceof PngError) return isPng ? strings.restore.damaged : strings.restore.notPng;
    throw error;
  }
}
