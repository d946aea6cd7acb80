// A stand-in for `ddpm serve`, for developing and testing the page: the /v1 routes that the page uses, and the
// built site with the content policy of the real one. `node mock/server.mjs [PORT]`; POST /mock/control sets faults, and
// POST /mock/cut breaks the streams that are open.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cancel, control, findOrCreate, jobJson, jobs, kDefaults, position } from './jobs.mjs';
import { capabilities, kModels, modelJson } from './options.mjs';
import { Refusal, resolve } from './request.mjs';

const kSite =
  process.env['DDPM_SITE_DIST'] ?? join(fileURLToPath(new URL('.', import.meta.url)), '../dist');
const kTypes = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
const kPolicy = "default-src 'self'; img-src 'self' data: blob:; style-src 'self'";
const kMaxBody = 65536;

/** Seeds are numbers in JSON, whatever their length. */
const toJson = (body) => JSON.stringify(body).replace(/("seed":)"(\d{16,20})"/g, '$1$2');

function send(response, status, body, headers = {}) {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(toJson(body));
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': bytes.length,
    'X-Content-Type-Options': 'nosniff',
    ...headers,
  });
  response.end(bytes);
}

function sendError(
  response,
  { status = 500, code = 'internal', message, field = null },
  headers = {},
) {
  send(response, status, { error: { code, message, field, request_id: 'mock' } }, headers);
}

async function readBody(request) {
  const pieces = [];
  for await (const piece of request) {
    pieces.push(piece);
    if (pieces.reduce((sum, p) => sum + p.length, 0) > kMaxBody)
      throw new Refusal(413, 'too_large', 'the body is over 64 KiB');
  }
  try {
    // Seeds have 64 bits: they stay digits where a number can't hold them.
    return JSON.parse(
      Buffer.concat(pieces)
        .toString()
        .replace(/("seed":)(\d{16,})/, '$1"$2"') || 'null',
    );
  } catch {
    throw new Refusal(400, 'invalid_request', 'the body is not JSON');
  }
}

function checkKey(request) {
  if (control.key === '') return;
  const given =
    request.headers.authorization?.replace(/^Bearer /, '') ?? request.headers['x-api-key'];
  if (given !== control.key)
    throw new Refusal(
      401,
      'unauthorized',
      given ? 'The API key is wrong.' : 'An API key is needed.',
    );
}

function findJob(id) {
  const job = jobs.get(id);
  if (!job) throw new Refusal(404, 'not_found', `There is no job ${id}.`);
  return job;
}

/** Of events: those that are open. */
const streams = new Set();

function streamEvents(job, request, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  const write = ({ id, event, data }) => {
    response.write(`id: ${id}\nevent: ${event}\ndata: ${toJson(data)}\n\n`);
    if (event === 'end') response.end();
  };
  const last = Number(request.headers['last-event-id'] ?? 0);
  job.log.slice(last).forEach(write);
  if (response.writableEnded) return;
  job.listeners.add(write);
  streams.add(response);
  const ping = setInterval(() => response.write(': ping\n\n'), 15000);
  response.on('close', () => {
    job.listeners.delete(write);
    streams.delete(response);
    clearInterval(ping);
  });
}

async function createJob(request, response) {
  const resolved = resolve(await readBody(request));
  const queued = [...jobs.values()].filter((job) => job.state === 'queued').length;
  if (queued >= control.maxQueued) {
    const full = {
      status: 429,
      code: 'queue_full',
      message: `The queue is full: expected at most ${control.maxQueued} jobs.`,
    };
    return sendError(response, full, { 'Retry-After': '5' });
  }
  const job = findOrCreate(resolved, request.headers['idempotency-key']);
  send(
    response,
    202,
    { ...jobJson(job), position: position(job) },
    { Location: `/v1/jobs/${job.id}` },
  );
}

/** Waits: one image as it is, several in JSON. A client that goes away cancels. */
async function generate(request, response) {
  const job = findOrCreate(resolve(await readBody(request)));
  response.on('close', () => job.finished_at ?? cancel(job));
  await new Promise((ended) => job.listeners.add(({ event }) => event === 'end' && ended()));
  if (job.state !== 'succeeded')
    throw new Refusal(500, 'internal', job.error?.message ?? job.state);
  const { seed } = job.request;
  const files = [...job.files.values()];
  if (files.length === 1) {
    return send(response, 200, files[0], { 'Content-Type': 'image/png', 'X-Seed': String(seed) });
  }
  send(response, 200, { images: files.map((file) => ({ b64: file.toString('base64'), seed })) });
}

async function api(request, response, path) {
  checkKey(request);
  if (path === '/v1/models')
    return send(response, 200, { object: 'list', data: kModels.map(modelJson) });
  const model = kModels.find(({ id }) => path === `/v1/models/${id}`);
  if (model) return send(response, 200, modelJson(model));
  if (path === '/v1/generate' && request.method === 'POST') return generate(request, response);
  if (path === '/v1/jobs' && request.method === 'GET') {
    return send(response, 200, { object: 'list', data: [...jobs.values()].reverse().map(jobJson) });
  }
  if (path === '/v1/capabilities') return send(response, 200, capabilities());
  if (path === '/v1/jobs' && request.method === 'POST') return createJob(request, response);
  const [, id, rest = ''] = /^\/v1\/jobs\/([^/]+)(\/.*)?$/.exec(path) ?? [];
  if (!id) throw new Refusal(404, 'not_found', 'There is nothing here.');
  const job = findJob(id);
  if (rest === '' && request.method === 'DELETE') {
    cancel(job);
    return send(response, 200, jobJson(job));
  }
  if (rest === '') return send(response, 200, jobJson(job));
  if (rest === '/events') return streamEvents(job, request, response);
  const file = job.files.get(/^\/images\/(\d+)(\.png)?$/.exec(rest)?.[1]);
  const [, frame, kind] = /^\/trace\/(\d+)\/(x_t|noise|pred_x_start)\.png$/.exec(rest) ?? [];
  const png = file ?? job.frames[frame]?.[kind];
  if (!png) throw new Refusal(404, 'not_found', 'There is no such picture.');
  send(response, 200, png, {
    'Content-Type': 'image/png',
    'Cache-Control': 'private, max-age=3600',
  });
}

async function site(response, path) {
  const file = normalize(join(kSite, path === '/' ? 'index.html' : path));
  if (!file.startsWith(kSite)) throw new Refusal(404, 'not_found', 'There is nothing here.');
  const bytes = await readFile(file).catch(() => {
    throw new Refusal(404, 'not_found', 'There is nothing here.');
  });
  send(response, 200, bytes, {
    'Content-Type': kTypes[extname(file)] ?? 'application/octet-stream',
    'Content-Security-Policy': kPolicy,
  });
}

export function makeServer() {
  return createServer(async (request, response) => {
    const path = new URL(request.url, 'http://mock').pathname;
    try {
      if (path === '/mock/control') {
        Object.assign(control, kDefaults, await readBody(request));
        return send(response, 200, control);
      }
      if (path === '/mock/cut') {
        for (const stream of streams) stream.destroy();
        return send(response, 200, {});
      }
      if (control.down && path.startsWith('/v1')) return void response.destroy();
      if (path.startsWith('/v1/')) return await api(request, response, path);
      await site(response, path);
    } catch (error) {
      if (!response.headersSent) sendError(response, error);
    }
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const port = Number(process.argv[2] ?? 7861);
  makeServer().listen(port, '127.0.0.1', () =>
    console.log(`mock of ddpm serve: http://127.0.0.1:${port}`),
  );
}
