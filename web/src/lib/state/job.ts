/** What the page knows of a job: a snapshot, and the events since. */
import { decodeError, decodeImage, decodeProgress, decodeState } from '../api/decode.ts';
import { asNumber, asObject, asString, parseJson } from '../api/json.ts';
import type { SseEvent } from '../api/sse.ts';
import type {
  ApiErrorBody,
  Job,
  JobImage,
  JobProgress,
  JobRequest,
  JobState,
} from '../api/types.ts';

export interface Preview {
  src: string;
  step: number;
  t: number | null;
}

export interface JobView {
  id: string;
  state: JobState;
  model: string;
  position: number | null;
  progress: JobProgress;
  request: JobRequest | null;
  /** By the image's place in the job; latest wins. */
  previews: Readonly<Record<number, Preview>>;
  images: JobImage[];
  trace: number[];
  error: ApiErrorBody | null;
  seconds: number | null;
  /** False while a broken connection is made again. */
  connected: boolean;
}

export type JobAction =
  { type: 'snapshot'; job: Job } | { type: 'event'; event: SseEvent } | { type: 'disconnected' };

export function isFinished(state: JobState): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}

export function viewOf(job: Job): JobView {
  return {
    id: job.id,
    state: job.state,
    model: job.model,
    position: job.position,
    progress: job.progress,
    request: job.request,
    previews: {},
    images: job.images,
    trace: job.trace,
    error: job.error,
    seconds: duration(job),
    connected: true,
  };
}

function duration(job: Job): number | null {
  if (!job.startedAt || !job.finishedAt) return null;
  const seconds = (Date.parse(job.finishedAt) - Date.parse(job.startedAt)) / 1000;
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : null;
}

export function reduceJob(view: JobView, action: JobAction): JobView {
  switch (action.type) {
    case 'snapshot': {
      const fresh = viewOf(action.job);
      return { ...fresh, request: fresh.request ?? view.request, previews: view.previews };
    }
    case 'disconnected':
      return { ...view, connected: false };
    case 'event':
      return applyEvent({ ...view, connected: true }, action.event);
  }
}

function applyEvent(view: JobView, event: SseEvent): JobView {
  let json: unknown;
  try {
    json = parseJson(event.data);
  } catch {
    return view; // a damaged event: the snapshot at the end puts it right
  }
  const data = asObject(json);
  switch (event.event) {
    case 'state':
    case 'end': // error: null says that there is none
      return {
        ...view,
        state: 'state' in data ? decodeState(data['state']) : view.state,
        position: asNumber(data['position'], null),
        error: 'error' in data ? decodeError(data['error']) : view.error,
      };
    case 'progress':
      return {
        ...view,
        state: isFinished(view.state) ? view.state : 'running',
        progress: decodeProgress(data),
        position: asNumber(data['position'], null),
      };
    case 'preview':
      return { ...view, previews: withPreview(view, data) };
    case 'image':
      return { ...view, images: withImage(view.images, decodeImage(data)) };
    default:
      return view;
  }
}

function withPreview(view: JobView, data: Record<string, unknown>): JobView['previews'] {
  const src = asString(data['pred_x_start']);
  // Only pictures: the string becomes an <img>'s source.
  if (!/^data:image\/(png|webp|jpeg);base64,/.test(src)) return view.previews;
  const preview: Preview = { src, step: asNumber(data['step'], 0), t: asNumber(data['t'], null) };
  return { ...view.previews, [asNumber(data['index'], 0)]: preview };
}

function withImage(images: JobImage[], image: JobImage): JobImage[] {
  return [...images.filter((i) => i.index !== image.index), image].sort(
    (a, b) => a.index - b.index,
  );
}

/** 0 to 1: steps over all images where the server counts them so, else images. */
export function fractionDone(view: JobView): number {
  if (view.state === 'succeeded') return 1;
  const { step, steps, imagesDone, images } = view.progress;
  const bySteps = steps > 0 ? step / steps : 0;
  const byImages = images > 0 ? imagesDone / images : 0;
  return Math.max(0, Math.min(1, Math.max(bySteps, byImages)));
}
