/** The studio: two sides of settings, the jobs of the last run, the gallery. */
import { ApiError } from '../api/client.ts';
import { randomId } from '../api/json.ts';
import type { JobRequest } from '../api/types.ts';
import { strings } from '../i18n/strings.ts';
import { app } from './app.svelte.ts';
import * as gallery from './gallery.ts';
import { isFinished, type JobView } from './job.ts';
import { notices } from './notice.svelte.ts';
import { formatRoute, parseRoute } from './route.ts';
import * as settings from './settings.ts';
import { loadRun, loadStudio, saveRun, saveStudio } from './studio_store.ts';
import { watchJob } from './watch.ts';

export type Side = 'a' | 'b';

export interface FieldError {
  side: Side;
  field: string | null;
  message: string;
}

const stored = loadStudio(settings.initialSettings(settings.randomSeed()));

class Studio {
  a = $state<settings.Settings>(stored.a);
  b = $state<settings.Settings>(stored.b);
  compare = $state(stored.compare);
  side = $state<Side>('a');
  seedLocked = $state(stored.seedLocked);
  views = $state.raw<JobView[]>([]);
  busy = $state(false);
  cancelling = $state(false);
  error = $state.raw<FieldError | null>(null);
  gallery = $state.raw<gallery.GalleryEntry[]>(gallery.loadGallery(localStorage));
  private abort = new AbortController();
  private followed: string[] = [];

  /** The settings that the panel edits. */
  get edited(): settings.Settings {
    return this.compare && this.side === 'b' ? this.b : this.a;
  }

  /** Side b draws the same images of the same seed. */
  settingsOf(side: Side): settings.Settings {
    if (side === 'a') return $state.snapshot(this.a);
    const { seed, numImages, firstImage, traceFrames } = this.a;
    return { ...$state.snapshot(this.b), seed, numImages, firstImage, traceFrames };
  }

  fitToServer(): void {
    if (!app.caps) return;
    this.a = settings.fitToServer($state.snapshot(this.a), app.models, app.caps);
    this.b = settings.fitToServer($state.snapshot(this.b), app.models, app.caps);
  }

  save(): void {
    saveStudio({ a: this.a, b: this.b, compare: this.compare, seedLocked: this.seedLocked });
  }

  requestOf(side: Side): JobRequest | null {
    return app.caps && settings.toRequest(this.settingsOf(side), app.models, app.caps);
  }

  async generate(): Promise<void> {
    if (this.busy || !app.caps) return;
    if (!this.seedLocked) Object.assign(this.a, { seed: settings.randomSeed(), firstImage: 0 });
    const seed = settings.parseSeed(this.a.seed);
    if (seed === null) {
      this.error = { side: this.side, field: 'seed', message: strings.errors.seed };
      return;
    }
    this.a.seed = seed;
    this.error = null;
    this.busy = true;
    const ids = await this.submit(this.compare ? ['a', 'b'] : ['a']);
    this.busy = false;
    if (ids) await this.follow(ids);
  }

  /** The ids of the jobs that were made, or null if one was refused: then none runs. */
  private async submit(sides: Side[]): Promise<string[] | null> {
    const ids: string[] = [];
    for (const side of sides) {
      const request = settings.toJobRequest(this.settingsOf(side), app.models, app.caps!);
      try {
        ids.push((await app.client.createJob(request, randomId())).id);
      } catch (error) {
        this.refuse(side, error);
        for (const id of ids) await app.client.deleteJob(id).catch(() => undefined);
        return null;
      }
    }
    return ids;
  }

  private refuse(side: Side, error: unknown): void {
    if (app.report(error)) return;
    const api = error instanceof ApiError ? error : null;
    const hint = api?.retryAfterS ? ` ${strings.errors.retryAfter(api.retryAfterS)}` : '';
    const message = (error instanceof Error ? error.message : String(error)) + hint;
    if (this.compare) this.side = side;
    this.error = { side, field: api?.field ?? null, message };
    notices.say(strings.announce.failed(message));
  }

  /** Shows jobs and follows them to their end; the URL names them, so that a reload does too. */
  async follow(ids: string[]): Promise<void> {
    this.abort.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.followed = ids;
    this.views = [];
    this.busy = true;
    this.remember(ids);
    const views: JobView[] = [];
    await Promise.all(
      ids.map(async (id, place) => {
        try {
          await watchJob(app.client, id, signal, (view) => {
            this.announce(views[place], view);
            views[place] = view;
            if (!signal.aborted) this.views = ids.flatMap((_, i) => views[i] ?? []);
          });
        } catch (error) {
          if (!signal.aborted) this.lose(error);
        }
      }),
    );
    if (signal.aborted) return;
    this.busy = false;
    this.cancelling = false;
  }

  private remember(ids: string[]): void {
    saveRun(ids);
    history.replaceState(null, '', formatRoute({ page: 'studio', jobs: ids }));
  }

  private lose(error: unknown): void {
    this.followed = [];
    if (error instanceof ApiError && error.status === 404) {
      notices.show(strings.job.gone, 'error');
      this.remember([]);
    } else if (!app.report(error)) {
      notices.show(error instanceof Error ? error.message : String(error), 'error');
    }
  }

  private announce(before: JobView | undefined, view: JobView): void {
    if (view.state === 'queued' && view.position && view.position !== before?.position) {
      notices.say(strings.announce.queued(view.position));
    }
    if (view.state === before?.state) return;
    if (view.state === 'running') notices.say(strings.announce.started);
    if (view.state === 'cancelled' && before) notices.say(strings.announce.cancelled);
    if (view.state === 'failed') notices.say(strings.announce.failed(view.error?.message ?? ''));
    if (view.state === 'succeeded') this.keep(view, before !== undefined);
  }

  private keep(view: JobView, fresh: boolean): void {
    if (fresh) notices.say(strings.announce.done(view.images.length));
    if (!view.request || view.images.length === 0) return;
    const hash = settings.findModel(app.models, view.model)?.hash ?? '';
    const added = gallery.entriesOfJob(
      view.id,
      view.images,
      view.request,
      new Date().toISOString(),
      hash,
    );
    const known = this.gallery.some((entry) => entry.id === added[0]?.id);
    if (!known) this.setGallery(gallery.addEntries(gallery.loadGallery(localStorage), added));
  }

  setGallery(entries: gallery.GalleryEntry[]): void {
    this.gallery = entries;
    gallery.saveGallery(localStorage, entries);
  }

  async cancel(): Promise<void> {
    this.cancelling = true;
    const running = this.views.filter((view) => !isFinished(view.state));
    for (const view of running) {
      await app.client.deleteJob(view.id).catch((error) => this.lose(error));
    }
  }

  /** After a reload, or back from another page: the jobs that the URL names, or the tab's last ones. */
  resume(): void {
    const route = parseRoute(location.hash);
    const jobs = route.jobs.length > 0 ? route.jobs : loadRun();
    if (route.page !== 'studio' || jobs.length === 0) return;
    if (jobs.join() === this.followed.join()) return this.remember(jobs);
    this.compare = jobs.length === 2;
    void this.follow(jobs);
  }

  /** Puts a request's settings into the panel, with its seed kept. */
  use(request: JobRequest): void {
    this.compare = false;
    this.a = settings.fromRequest(request, $state.snapshot(this.a));
    this.seedLocked = true;
    this.error = null;
    this.fitToServer();
  }
}

export const studio = new Studio();
