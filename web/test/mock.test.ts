import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { makeServer } from '../mock/server.mjs';
import { ApiClient } from '../src/lib/api/client.ts';
import type { JobRequest } from '../src/lib/api/types.ts';
import { curlCommand } from '../src/lib/commands/curl.ts';
import { readPngText } from '../src/lib/png/chunks.ts';
import type { JobView } from '../src/lib/state/job.ts';
import { watchJob } from '../src/lib/state/watch.ts';

const run = promisify(execFile);
const server = makeServer();
let origin = '';
const request: JobRequest = {
  model: 'shapes',
  num_images: 1,
  seed: '18446744073709551615',
  sampler: { kind: 'dpmpp_2m', steps: 4 },
  class: 'star',
};

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await fetch(`${origin}/mock/control`, { method: 'POST', body: '{"stepMs": 2}' });
});
after(() => {
  server.closeAllConnections();
  server.close();
});

describe('against the mock', () => {
  const client = () => new ApiClient({ fetch: (path, init) => fetch(origin + String(path), init) });

  it('the client reads models and capabilities', async () => {
    const [models, caps] = await Promise.all([client().models(), client().capabilities()]);
    assert.deepEqual(models[0]!.imageShape, [3, 32, 32]);
    assert.equal(models[2]!.classes, null);
    assert.deepEqual(
      models.map((model) => model.superResolution),
      [0, 0, 0, 4],
    );
    assert.ok(caps.samplers.length > 10 && caps.samplerOptions.some((o) => o.name === 's_churn'));
  });

  it('a model that enlarges images draws no job', async () => {
    const refused = client().createJob({ ...request, model: 'garments_4x' }, 'none');
    await assert.rejects(refused, { status: 422, field: 'model' });
  });

  it('a job is followed from the queue to its images, with its seed whole', async () => {
    const job = await client().createJob({ ...request, previews: true, trace: 3 }, 'one');
    assert.equal((await client().createJob(request, 'one')).id, job.id, 'one key, one job');
    let last: JobView | undefined;
    await watchJob(client(), job.id, new AbortController().signal, (view) => (last = view));
    assert.equal(last!.state, 'succeeded');
    assert.equal(last!.images[0]!.seed, request.seed);
    assert.equal(last!.trace.length, 3);
    assert.match(last!.previews[0]!.src, /^data:image\/png/);
  });

  it('the curl command draws the picture that it says', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'ddpm-'));
    await run('sh', ['-c', curlCommand(request, origin, false)], { cwd: folder });
    const text = readPngText(new Uint8Array(await readFile(join(folder, 'image.png'))));
    assert.equal(text.get('ddpm.seed'), request.seed);
    assert.equal(text.get('ddpm.class'), 'star');
    const several = { ...request, num_images: 2 };
    await run('sh', ['-c', curlCommand(several, origin, false)], { cwd: folder });
    const json = JSON.parse(await readFile(join(folder, 'images.json'), 'utf8'));
    assert.equal(json.images.length, 2);
  });
});
