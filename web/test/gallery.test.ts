import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  addEntries,
  entriesOfJob,
  kMaxEntries,
  loadGallery,
  removeEntry,
  saveGallery,
  type GalleryEntry,
} from '../src/lib/state/gallery.ts';
import { formatRoute, parseRoute } from '../src/lib/state/route.ts';

const entries = (job: string, count: number): GalleryEntry[] =>
  entriesOfJob(
    job,
    Array.from({ length: count }, (_, index) => ({
      url: `/v1/jobs/${job}/images/${index}`,
      seed: '9',
      index,
      width: 32,
      height: 32,
      mediaType: 'image/png',
    })),
    { model: 'shapes', num_images: count, seed: '9', sampler: { kind: 'ddim' } },
    '2025-01-01T00:00:00Z',
    'abc',
  );

function memoryStore(limit = Infinity) {
  let stored: string | null = null;
  return {
    getItem: () => stored,
    setItem: (_: string, value: string) => {
      if (value.length > limit) throw new Error('QuotaExceededError');
      stored = value;
    },
  };
}

describe('gallery', () => {
  it('draws each picture again alone', () => {
    const entry = entries('a', 3)[2]!;
    assert.equal(entry.request.num_images, 1);
    assert.equal(entry.request.first_image, 2);
    assert.equal(entry.request.seed, '9');
  });

  it('has each picture once, newest first, and a limit', () => {
    let gallery = addEntries(entries('a', 2), entries('b', 2));
    gallery = addEntries(gallery, entries('a', 2));
    assert.deepEqual(
      gallery.map((e) => e.id),
      ['a/0', 'a/1', 'b/0', 'b/1'],
    );
    assert.equal(addEntries(gallery, entries('c', 500)).length, kMaxEntries);
    assert.equal(removeEntry(gallery, 'b/0').length, 3);
  });

  it('comes back from the store, and shrinks where that is full', () => {
    const store = memoryStore();
    saveGallery(store, entries('a', 4));
    assert.deepEqual(loadGallery(store), entries('a', 4));
    const small = memoryStore(900);
    saveGallery(small, entries('a', 8));
    assert.ok(loadGallery(small).length >= 1 && loadGallery(small).length < 8);
  });

  it('takes only entries of this server from the store', () => {
    const store = memoryStore();
    const [good] = entries('a', 1);
    store.setItem(
      '',
      JSON.stringify([
        good,
        { ...good, url: '//elsewhere/x' },
        { ...good, url: 'javascript:1' },
        null,
        3,
      ]),
    );
    assert.equal(loadGallery(store).length, 1);
    store.setItem('', 'no json');
    assert.deepEqual(loadGallery(store), []);
  });
});

describe('route', () => {
  it('comes back from the fragment', () => {
    for (const route of [
      { page: 'studio', jobs: ['a', 'b'] },
      { page: 'forward', jobs: [] },
    ] as const) {
      assert.deepEqual(parseRoute(formatRoute({ ...route, jobs: [...route.jobs] })), route);
    }
  });

  it('is the studio where it is unknown, and has no odd job ids', () => {
    assert.deepEqual(parseRoute('#/nowhere?job=../x&job=ok'), { page: 'studio', jobs: ['ok'] });
    assert.deepEqual(parseRoute(''), { page: 'studio', jobs: [] });
  });
});
