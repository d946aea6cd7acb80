import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeJob } from '../src/lib/api/decode.ts';
import { fractionDone, reduceJob, viewOf, type JobView } from '../src/lib/state/job.ts';

const kPng = 'data:image/png;base64,AAAA';
const start = () =>
  viewOf(
    decodeJob({
      id: 'j',
      state: 'queued',
      position: 2,
      request: { seed: 1, sampler: { kind: 'ddim' } },
    }),
  );

function after(view: JobView, ...events: [string, unknown][]): JobView {
  return events.reduce(
    (v, [event, data], i) =>
      reduceJob(v, { type: 'event', event: { id: String(i), event, data: JSON.stringify(data) } }),
    view,
  );
}

describe('reduceJob', () => {
  it('runs once progress comes, and the place in the queue goes', () => {
    const view = after(start(), ['progress', { step: 3, steps: 20, images_done: 0, images: 4 }]);
    assert.equal(view.state, 'running');
    assert.equal(view.position, null);
    assert.equal(fractionDone(view), 0.15);
  });

  it('keeps the latest preview of each image', () => {
    const view = after(
      start(),
      ['preview', { index: 1, step: 1, t: 999, pred_x_start: kPng }],
      ['preview', { index: 1, step: 2, t: 949, pred_x_start: kPng + 'BBBB' }],
    );
    assert.deepEqual(view.previews, { 1: { src: kPng + 'BBBB', step: 2, t: 949 } });
  });

  it('shows nothing that is not a picture', () => {
    const view = after(
      start(),
      ['preview', { index: 0, pred_x_start: 'https://elsewhere/x.png' }],
      ['preview', { index: 0, pred_x_start: 'data:image/svg+xml;base64,AA' }],
    );
    assert.deepEqual(view.previews, {});
  });

  it('takes images in any order, each once', () => {
    const image = (index: number) =>
      ['image', { index, url: `/${index}`, seed: 1 }] as [string, unknown];
    assert.deepEqual(
      after(start(), image(1), image(0), image(1)).images.map((i) => i.index),
      [0, 1],
    );
  });

  it('passes over damaged and unknown events', () => {
    const view = start();
    assert.equal(
      reduceJob(view, { type: 'event', event: { id: '1', event: 'progress', data: '{' } }).state,
      'queued',
    );
    assert.deepEqual(after(view, ['news', {}]), view);
  });

  it('keeps previews and the request over a snapshot, and times it', () => {
    let view = after(start(), ['preview', { index: 0, pred_x_start: kPng }]);
    const job = decodeJob({
      id: 'j',
      state: 'succeeded',
      started_at: '2025-01-01T00:00:00Z',
      finished_at: '2025-01-01T00:00:02.5Z',
    });
    view = reduceJob(view, { type: 'snapshot', job });
    assert.equal(view.previews[0]?.src, kPng);
    assert.equal(view.request?.seed, '1');
    assert.equal(view.seconds, 2.5);
    assert.equal(fractionDone(view), 1);
  });

  it('is connected again with the next event', () => {
    const lost = reduceJob(start(), { type: 'disconnected' });
    assert.equal(lost.connected, false);
    assert.equal(after(lost, ['state', { state: 'running' }]).connected, true);
  });
});
