/** The server as the page sees it: reachable or not, its key, its models and what it can do. */
import { ApiClient, ApiError, OfflineError } from '../api/client.ts';
import type { Capabilities, ModelInfo } from '../api/types.ts';
import { drawsFromNoise } from './settings.ts';

export type Status = 'loading' | 'ready' | 'offline' | 'unauthorized' | 'error';

const kKeyName = 'ddpm.key';
const kFirstRetryMs = 2000;
const kLastRetryMs = 30_000;

class App {
  status = $state<Status>('loading');
  /** The server's sentence where status is error; empty elsewhere. */
  message = $state('');
  keyRefused = $state(false);
  key = $state(readKey());
  /** Those that draw from noise alone. */
  models = $state.raw<ModelInfo[]>([]);
  /** Whether there are others, which enlarge images. */
  hasEnlarging = $state(false);
  caps = $state.raw<Capabilities | null>(null);
  readonly client = new ApiClient({ key: () => this.key });

  private retryMs = kFirstRetryMs;
  private timer: ReturnType<typeof setTimeout> | undefined;

  async connect(): Promise<void> {
    clearTimeout(this.timer);
    try {
      const [models, caps] = await Promise.all([this.client.models(), this.client.capabilities()]);
      this.models = models.filter(drawsFromNoise);
      this.hasEnlarging = this.models.length < models.length;
      this.caps = caps;
      this.status = 'ready';
      this.keyRefused = false;
      this.retryMs = kFirstRetryMs;
    } catch (error) {
      this.report(error);
    }
  }

  /** Takes note of errors that are about the server and not about a request. True if it was one. */
  report(error: unknown): boolean {
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
      this.keyRefused = this.key !== '';
      this.status = 'unauthorized';
      return true;
    }
    if (error instanceof OfflineError) {
      this.status = 'offline';
      this.timer = setTimeout(() => this.connect(), this.retryMs);
      this.retryMs = Math.min(this.retryMs * 2, kLastRetryMs);
      return true;
    }
    if (this.status === 'loading') {
      this.status = 'error';
      this.message = error instanceof Error ? error.message : String(error);
      return true;
    }
    return false;
  }

  async useKey(key: string): Promise<void> {
    this.key = key;
    try {
      sessionStorage.setItem(kKeyName, key);
    } catch {
      // storage is off: the key lives as long as the page
    }
    await this.connect();
  }

  forgetKey(): void {
    this.key = '';
    sessionStorage.removeItem(kKeyName);
    void this.connect();
  }
}

function readKey(): string {
  try {
    return sessionStorage.getItem(kKeyName) ?? '';
  } catch {
    return '';
  }
}

export const app = new App();
