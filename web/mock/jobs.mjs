// Jobs that take their time: a queue, steps with progress and previews, images with their text, a trace.
import { randomBytes } from 'node:crypto';
import { kModels } from './options.mjs';
import { encodePng } from './png.mjs';
import { frameOf, picture, preview, scene, textOf } from './results.mjs';

export const kDefaults = {
  stepMs: 60,
  ahead: 0,
  queueMs: 500,
  failWith: null,
  key: '',
  down: false,
  maxQueued: 8,
  /** Jobs stay this many places from the front, and running ones at this step, until it is set anew. */
  holdAhead: 0,
  holdStep: 0,
};
export const control = { ...kDefaults };
export const jobs = new Map();
const idempotent = new Map();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isFinished = (job) => ['succeeded', 'failed', 'cancelled'].includes(job.state);

export function findOrCreate(request, key) {
  if (key && idempotent.has(key)) return idempotent.get(key);
  const job = {
    id: randomBytes(16).toString('hex').slice(0, 26),
    state: 'queued',
    model: request.model,
    created_at: new Date().toISOString(),
    started_at: null,
    finished_at: null,
    ahead: control.ahead,
    progress: { step: 0, steps: request.sampler.steps, images_done: 0, images: request.num_images },
    request,
    images: [],
    files: new Map(),
    frames: [],
    error: null,
    log: [],
    listeners: new Set(),
  };
  jobs.set(job.id, job);
  if (key) idempotent.set(key, job);
  emit(job, 'state', { state: 'queued', position: position(job) });
  schedule();
  return job;
}

export const position = (job) =>
  job.state === 'queued'
    ? job.ahead +
      [...jobs.values()].filter(
        (j) => !isFinished(j) && j !== job && j.created_at <= job.created_at,
      ).length
    : null;

export function jobJson(job) {
  const {
    id,
    state,
    model,
    created_at,
    started_at,
    finished_at,
    progress,
    request,
    images,
    error,
  } = job;
  return {
    id,
    state,
    model,
    created_at,
    started_at,
    finished_at,
    position: position(job),
    progress,
    request,
    images,
    error,
    trace: { frames: job.frames.length, t: job.frames.map((frame) => frame.t) },
    links: { self: `/v1/jobs/${id}`, events: `/v1/jobs/${id}/events`, cancel: `/v1/jobs/${id}` },
  };
}

export function emit(job, event, data) {
  const entry = { id: job.log.length + 1, event, data };
  job.log.push(entry);
  for (const listener of job.listeners) listener(entry);
}

export function cancel(job) {
  if (isFinished(job)) return void jobs.delete(job.id);
  finish(job, 'cancelled');
}

function finish(job, state, error = null) {
  Object.assign(job, { state, error, finished_at: new Date().toISOString() });
  emit(job, 'end', { state, error });
}

let running = false;
async function schedule() {
  if (running) return;
  running = true;
  await sleep(1);
  for (;;) {
    const job = [...jobs.values()].find((j) => j.state === 'queued');
    if (!job) break;
    while (job.ahead > 0 && job.state === 'queued') {
      await sleep(control.queueMs);
      if (job.ahead <= control.holdAhead) continue;
      job.ahead -= 1;
      if (job.state === 'queued') emit(job, 'state', { state: 'queued', position: position(job) });
    }
    if (job.state === 'queued') await run(job);
  }
  running = false;
}

async function run(job) {
  const model = kModels.find((m) => m.id === job.model);
  const { request } = job,
    { steps } = request.sampler;
  Object.assign(job, { state: 'running', started_at: new Date().toISOString() });
  emit(job, 'state', { state: 'running', position: null });
  // Different samplers, different details: as in life, the seed alone decides the noise.
  const scenes = Array.from({ length: request.num_images }, (_, i) => scene(model, request, i));
  const frames = new Set(
    Array.from({ length: request.trace }, (_, i) =>
      Math.round((i * (steps - 1)) / Math.max(1, request.trace - 1)),
    ),
  );
  for (let step = 0; step < steps; ++step) {
    await sleep(control.stepMs);
    if (job.state !== 'running') return;
    const left = 1 - step / steps,
      t = Math.round(left * (model.T - 1));
    if (frames.has(step)) job.frames.push(frameOf(model, scenes, left, t));
    job.progress = { ...job.progress, step: step + 1 };
    emit(job, 'progress', job.progress);
    if (control.failWith && step >= steps / 2) return finish(job, 'failed', control.failWith);
    if (request.previews && step % Math.ceil(steps / 20) === 0)
      scenes.forEach((s, index) =>
        emit(job, 'preview', preview(model, s, index, step + 1, left, t)),
      );
    while (control.holdStep === step + 1 && job.state === 'running') await sleep(5);
  }
  scenes.forEach((s, index) => addImage(job, model, s, index));
  finish(job, 'succeeded');
}

function addImage(job, model, { pixels, number }, index) {
  const image = picture(model, pixels);
  job.files.set(String(index), encodePng(image, textOf(job, model, number, index)));
  const entry = {
    url: `/v1/jobs/${job.id}/images/${index}.png`,
    seed: job.request.seed,
    index,
    width: image.width,
    height: image.height,
    media_type: 'image/png',
  };
  job.images.push(entry);
  job.progress = { ...job.progress, images_done: index + 1 };
  emit(job, 'image', entry);
}
