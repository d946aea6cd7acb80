/** The pictures of this browser: where they are and how to draw them again. */
import type { JobImage, JobRequest } from '../api/types.ts';
import { singleImage } from './settings.ts';

export interface GalleryEntry {
  /** job/index. */
  id: string;
  url: string;
  width: number;
  height: number;
  createdAt: string;
  modelHash: string;
  /** Draws this picture alone. */
  request: JobRequest;
}

export const kMaxEntries = 120;
const kKey = 'ddpm.gallery.v1';

export function entriesOfJob(
  jobId: string,
  images: JobImage[],
  request: JobRequest,
  createdAt: string,
  modelHash: string,
): GalleryEntry[] {
  return images.map((image) => ({
    id: `${jobId}/${image.index}`,
    url: image.url,
    width: image.width,
    height: image.height,
    createdAt,
    modelHash,
    request: { ...singleImage(request, image.index), seed: image.seed },
  }));
}

/** Newest first, each once, at most kMaxEntries. */
export function addEntries(gallery: GalleryEntry[], added: GalleryEntry[]): GalleryEntry[] {
  const ids = new Set(added.map((entry) => entry.id));
  return [...added, ...gallery.filter((entry) => !ids.has(entry.id))].slice(0, kMaxEntries);
}

export function removeEntry(gallery: GalleryEntry[], id: string): GalleryEntry[] {
  return gallery.filter((entry) => entry.id !== id);
}

type Store = Pick<Storage, 'getItem' | 'setItem'>;

export function loadGallery(store: Store): GalleryEntry[] {
  try {
    const json: unknown = JSON.parse(store.getItem(kKey) ?? '[]');
    return Array.isArray(json) ? json.filter(isEntry).slice(0, kMaxEntries) : [];
  } catch {
    return [];
  }
}

/** Older half of the entries goes when the browser's storage is full. */
export function saveGallery(store: Store, gallery: GalleryEntry[]): void {
  for (let count = gallery.length; count >= 1; count = Math.floor(count / 2)) {
    try {
      return store.setItem(kKey, JSON.stringify(gallery.slice(0, count)));
    } catch {
      // full: try with fewer
    }
  }
  try {
    store.setItem(kKey, '[]');
  } catch {
    // storage is off: the gallery lives as long as the page
  }
}

function isEntry(value: unknown): value is GalleryEntry {
  const entry = value as Partial<GalleryEntry> | null;
  return (
    typeof entry?.id === 'string' &&
    typeof entry.url === 'string' &&
    entry.url.startsWith('/') &&
    !entry.url.startsWith('//') &&
    typeof entry.request?.model === 'string' &&
    typeof entry.request.sampler?.kind === 'string'
  );
}
