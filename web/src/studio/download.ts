import { app } from '../lib/state/app.svelte.ts';
import { notices } from '../lib/state/notice.svelte.ts';

/** Saves a picture with the server's text in it: its bytes are not touched. */
export async function download(url: string, name: string): Promise<void> {
  try {
    const object = URL.createObjectURL(await app.client.bytes(url));
    const link = document.createElement('a');
    link.href = object;
    link.download = name.replace(/[^A-Za-z0-9._-]+/g, '_');
    link.click();
    setTimeout(() => URL.revokeObjectURL(object), 10_000);
  } catch (error) {
    if (!app.report(error))
      notices.show(error instanceof Error ? error.message : String(error), 'error');
  }
}
