import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ApiClient, ApiError, OfflineError } from '../src/lib/api/client.ts';
import { SseParser } from '../src/lib/api/sse.ts';
import type { JobView } from '../src/lib/state/job.ts';
import { watchJob } from '../src/lib/state/watch.ts';

type Handler = (path: string, init: RequestInit & { headers: Headers }) => Response;

function clientWith(handler: Handler, key = '') {
  const pauses: number[] = [];
  const client = new ApiClient({
    fetch: async (path, init) => handler(String(path), init as RequestInit & { headers: Headers }),
    key: () => key,
    sleep: async (ms) => void pauses.push(ms),
  });
  return { client, pauses };
}

const events = (...lines: string[]) => new Response(lines.join('\n') + '\n\n');

describe('SseParser', () => {
  it('reads events whatever the pieces that they come in', () => {
    const text =
      ': ping\r\nid: 1\r\nevent: progress\r\ndata: {"a":\r\ndata: 1}\r\n\r\nid: 2\ndata:x\n\n';
    for (let size = 1; size <= text.length; ++size) {
      const parser = new SseParser();
      const found = [];
      for (let at = 0; at < text.length; at += size)
        found.push(...parser.push(text.slice(at, at + size)));
      assert.deepEqual(
        found,
        [
          { id: '1', event: 'progress', data: '{"a":\n1}' },
          { id: '2', event: 'message', data: 'x' },
        ],
        `pieces of ${size}`,
      );
    }
  });

  it('gives no event for comments and for ids alone', () => {
    assert.deepEqual(new SseParser().push(': ping\n\nid: 4\n\n'), []);
  });
});

describe('ApiClient', () => {
  it("throws the server's sentence with its field", async () => {
    const error = {
      code: 'invalid_request',
      message: 'steps: expected at most 1000, got 2000',
      field: 'sampler.steps',
    };
    const { client } = clientWith(() =>
      Response.json({ error }, { status: 422, headers: { 'Retry-After': '3' } }),
    );
    await assert.rejects(client.job('a'), (e: ApiError) => {
      assert.equal(e.message, error.message);
      assert.equal(e.field, 'sampler.steps');
      assert.equal(e.retryAfterS, 3);
      return true;
    });
  });

  it('calls it offline when nothing or only a proxy answers', async () => {
    const refused = clientWith(() => {
      throw new TypeError('fetch failed');
    });
    await assert.rejects(refused.client.models(), OfflineError);
    const proxy = clientWith(() => new Response('<html>', { status: 502 }));
    await assert.rejects(proxy.client.models(), OfflineError);
    const page = clientWith(() => new Response('<html>'));
    await assert.rejects(page.client.models(), OfflineError);
  });

  it('sends the key as a bearer, and none where there is none', async () => {
    const seen: (string | null)[] = [];
    const handler: Handler = (_, init) => {
      seen.push(init.headers.get('Authorization'));
      return Response.json({ data: [] });
    };
    await clientWith(handler, 'secret').client.models();
    await clientWith(handler).client.models();
    assert.deepEqual(seen, ['Bearer secret', null]);
  });

  it('escapes ids in paths', async () => {
    const paths: string[] = [];
    await clientWith((path) => (paths.push(path), Response.json({}))).client.job('../x');
    assert.deepEqual(paths, ['/v1/jobs/..%2Fx']);
  });

  it('takes a broken stream up after the last event that came', async () => {
    const resumedFrom: (string | null)[] = [];
    const answers = [
      () =>
        events('id: 1', 'event: progress', 'data: {}', '', 'id: 2', 'event: progress', 'data: {}'),
      () => {
        throw new TypeError('network');
      },
      () => events('id: 3', 'event: end', 'data: {"state":"succeeded"}'),
    ];
    const { client, pauses } = clientWith((_, init) => {
      resumedFrom.push(init.headers.get('Last-Event-ID'));
      return answers.shift()!();
    });
    const ids = [];
    for await (const event of client.events('j', new AbortController().signal)) ids.push(event.id);
    assert.deepEqual(ids, ['1', '2', '3']);
    assert.deepEqual(resumedFrom, [null, '2', '2']);
    assert.deepEqual(pauses, [400, 800]); // growing while nothing comes
  });

  it('does not ask again for a job that is gone', async () => {
    const { client, pauses } = clientWith(() =>
      Response.json({ error: { code: 'not_found', message: 'no job' } }, { status: 404 }),
    );
    await assert.rejects(async () => {
      for await (const _ of client.events('j', new AbortController().signal)) assert.fail();
    }, ApiError);
    assert.deepEqual(pauses, []);
  });
});

describe('watchJob', () => {
  const job = (state: string, images: object[] = []) => Response.json({ id: 'j', state, images });

  it('ends with a snapshot, which knows more than the events', async () => {
    const answers = [
      () => job('queued'),
      () =>
        events(
          'id: 1',
          'event: progress',
          'data: {"step":1,"steps":2}',
          '',
          'id: 2',
          'event: end',
          'data: {"state":"succeeded"}',
        ),
      () => job('succeeded', [{ url: '/v1/jobs/j/images/0', seed: 7, index: 0 }]),
    ];
    const views: JobView[] = [];
    const { client } = clientWith(() => answers.shift()!());
    await watchJob(client, 'j', new AbortController().signal, (view) => views.push(view));
    assert.deepEqual(
      views.map((view) => view.state),
      ['queued', 'running', 'succeeded'],
    );
    assert.equal(views.at(-1)!.images[0]!.seed, '7');
  });

  it('asks for no events of a finished job', async () => {
    const paths: string[] = [];
    const { client } = clientWith((path) => (paths.push(path), job('failed')));
    await watchJob(client, 'j', new AbortController().signal, () => undefined);
    assert.deepEqual(paths, ['/v1/jobs/j']);
  });
});
