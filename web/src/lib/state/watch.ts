import { ApiError, OfflineError, type ApiClient } from '../api/client.ts';
import { isFinished, reduceJob, viewOf, type JobView } from './job.ts';

/**
 * Follows a job to its end: a snapshot, its events, and a last snapshot. `onChange` hears of every
 * change. Ends early, without an error, when `signal` is aborted.
 *
 * @throws ApiError if the job is gone or the key is wrong; OfflineError if nothing answers at first.
 */
export async function watchJob(
  client: ApiClient,
  id: string,
  signal: AbortSignal,
  onChange: (view: JobView) => void,
): Promise<void> {
  let view = viewOf(await client.job(id, signal));
  onChange(view);
  if (isFinished(view.state)) return;
  const disconnected = () => onChange((view = reduceJob(view, { type: 'disconnected' })));
  for await (const event of client.events(id, signal, disconnected)) {
    view = reduceJob(view, { type: 'event', event });
    // `end` is shown by the snapshot that follows, which knows the images and the error as well.
    if (event.event !== 'end') onChange(view);
  }
  if (signal.aborted) return;
  view = reduceJob(view, { type: 'snapshot', job: await lastSnapshot(client, id, signal) });
  onChange(view);
}

async function lastSnapshot(client: ApiClient, id: string, signal: AbortSignal) {
  for (let attempt = 0; ; ++attempt) {
    try {
      return await client.job(id, signal);
    } catch (error) {
      if (attempt >= 5 || signal.aborted || error instanceof ApiError) throw error;
      if (!(error instanceof OfflineError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** attempt));
    }
  }
}
