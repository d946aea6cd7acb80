// The real server of these tests: tests/e2e/serve_page_test.py starts it and says where it is.
import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import { type Bench, enterKey } from '../support.ts';

function expected(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`expected ${name} in the environment`);
  return value;
}

export const origin = expected('DDPM_SERVER');
export const key = expected('DDPM_KEY');
const pid = Number(expected('DDPM_SERVER_PID'));

/** The page, with the key that it asks for. */
export async function openWithKey(bench: Bench): Promise<Page> {
  const page = await bench.open();
  await enterKey(page, key);
  return page;
}

/** Does what would outlast a job of a fast server while the server stands still: its jobs stay as they are. */
export async function whileItStands(look: () => Promise<void>) {
  process.kill(pid, 'SIGSTOP');
  try {
    await look();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

async function ask(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
  const answer = await fetch(origin + path, init);
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

/** A job of one image that takes about 2000 calls of the network: its id. */
export const submitLong = async () =>
  (
    await ask('POST', '/v1/jobs', {
      num_images: 1,
      sampler: { kind: 'heun', levels: 'karras', steps: 1000 },
    })
  )['id'] as string;

export const cancelJob = (id: string) => ask('DELETE', `/v1/jobs/${id}`);

export async function waitForState(id: string, state: string) {
  for (;;) {
    const shown = (await ask('GET', `/v1/jobs/${id}`))['state'];
    if (shown === state) return;
    assert.ok(shown === 'queued' || shown === 'running', `expected ${state}, got ${shown}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
