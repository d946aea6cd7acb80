import { decodeCapabilities, decodeError, decodeJob, decodeModels } from './decode.ts';
import { asObject, parseJson, stringifyRequest } from './json.ts';
import { readEvents, type SseEvent } from './sse.ts';
import type { Capabilities, Job, JobRequest, ModelInfo, TraceKind } from './types.ts';

/** The server's refusal: its one sentence, and the field that it is about. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly field: string | null;
  readonly retryAfterS: number | null;

  constructor(
    status: number,
    code: string,
    message: string,
    field: string | null = null,
    retryAfterS: number | null = null,
  ) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.field = field;
    this.retryAfterS = retryAfterS;
  }
}

/** Nothing answered: no network, no server, or a proxy's page in its place. */
export class OfflineError extends Error {
  override name = 'OfflineError';
}

export interface ClientOptions {
  fetch?: typeof fetch;
  /** The API key, or an empty string. */
  key?: () => string;
  sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

const kFirstRetryMs = 400;
const kLastRetryMs = 8000;

export class ApiClient {
  private readonly fetch: typeof fetch;
  private readonly key: () => string;
  private readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;

  constructor(options: ClientOptions = {}) {
    this.fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.key = options.key ?? (() => '');
    this.sleep = options.sleep ?? sleepFor;
  }

  async models(): Promise<ModelInfo[]> {
    return decodeModels(await this.json('/v1/models'));
  }

  async capabilities(): Promise<Capabilities> {
    return decodeCapabilities(await this.json('/v1/capabilities'));
  }

  async createJob(request: JobRequest, idempotencyKey: string): Promise<Job> {
    const init = {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': idempotencyKey },
      body: stringifyRequest(request),
    };
    return decodeJob(await this.json('/v1/jobs', init));
  }

  async job(id: string, signal?: AbortSignal): Promise<Job> {
    return decodeJob(await this.json(jobPath(id), signal ? { signal } : {}));
  }

  /** Cancels a job that waits or runs; forgets one that is finished. */
  async deleteJob(id: string): Promise<Job> {
    return decodeJob(await this.json(jobPath(id), { method: 'DELETE' }));
  }

  async bytes(url: string, signal?: AbortSignal): Promise<Blob> {
    return (await this.request(url, signal ? { signal } : {})).blob();
  }

  traceUrl(id: string, frame: number, kind: TraceKind): string {
    return `${jobPath(id)}/trace/${frame}/${kind}.png`;
  }

  /**
   * A job's events until `end`. Connections that break are made again, after the last event that
   * came (Last-Event-ID), with growing pauses; `onRetry` hears of each.
   *
   * @throws ApiError if the server refuses (the job is gone, the key is wrong).
   */
  async *events(
    id: string,
    signal: AbortSignal,
    onRetry: (pauseMs: number) => void = () => undefined,
  ): AsyncGenerator<SseEvent> {
    let lastId = '';
    let pauseMs = kFirstRetryMs;
    while (!signal.aborted) {
      try {
        for await (const event of this.connect(id, lastId, signal)) {
          lastId = event.id;
          pauseMs = kFirstRetryMs;
          yield event;
          if (event.event === 'end') return;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.status < 500 && error.status !== 429) throw error;
      }
      if (signal.aborted) return;
      onRetry(pauseMs);
      await this.sleep(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, kLastRetryMs);
    }
  }

  private async *connect(id: string, lastId: string, signal: AbortSignal) {
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    if (lastId !== '') headers['Last-Event-ID'] = lastId;
    const response = await this.request(`${jobPath(id)}/events`, { headers, signal });
    if (response.body) yield* readEvents(response.body);
  }

  private async json(path: string, init: RequestInit = {}): Promise<unknown> {
    const response = await this.request(path, init);
    try {
      return parseJson(await response.text());
    } catch {
      throw new OfflineError(`${path} did not answer JSON`);
    }
  }

  private async request(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    const key = this.key();
    if (key !== '') headers.set('Authorization', `Bearer ${key}`);
    let response: Response;
    try {
      response = await this.fetch(path, { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new OfflineError('The server does not answer.');
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

function jobPath(id: string): string {
  return `/v1/jobs/${encodeURIComponent(id)}`;
}

async function refusal(response: Response): Promise<Error> {
  const text = await response.text().catch(() => '');
  let error = null;
  try {
    error = decodeError(asObject(JSON.parse(text))['error']);
  } catch {
    // not JSON: a proxy's page
  }
  if (!error && response.status >= 502) return new OfflineError('The server does not answer.');
  const retry = Number(response.headers.get('Retry-After') ?? NaN);
  return new ApiError(
    response.status,
    error?.code ?? 'internal',
    error?.message || `The server answered ${response.status}.`,
    error?.field ?? null,
    Number.isFinite(retry) ? retry : null,
  );
}

function sleepFor(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
