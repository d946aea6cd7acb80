import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodePng } from '../mock/png.mjs';
import { PngError, readPngText } from '../src/lib/png/chunks.ts';
import { restoreSettings } from '../src/lib/png/restore.ts';
import { toRequest } from '../src/lib/state/settings.ts';
import { kCapabilities as caps, kModels as models, settingsWith } from './support.ts';

const png = (text: Record<string, string>) =>
  new Uint8Array(
    encodePng({ width: 1, height: 1, channels: 3, data: Buffer.alloc(3) }, Object.entries(text)),
  );

describe('readPngText', () => {
  it('reads tEXt and, for text beyond ASCII, iTXt', () => {
    const text = readPngText(png({ 'ddpm.seed': '7', 'ddpm.class': 'Fußball ⚽' }));
    assert.deepEqual(
      [...text],
      [
        ['ddpm.seed', '7'],
        ['ddpm.class', 'Fußball ⚽'],
      ],
    );
  });

  it('refuses what is no PNG, what ends early and what is damaged', () => {
    assert.throws(() => readPngText(new Uint8Array(4)), PngError);
    const file = png({ 'ddpm.seed': '7' });
    for (let end = 8; end < file.length - 12; ++end) {
      assert.throws(() => readPngText(file.subarray(0, end)), PngError, `cut at ${end}`);
    }
    const damaged = file.slice();
    const at = Buffer.from(damaged).indexOf('ddpm.seed');
    damaged[at + 10]! ^= 1;
    assert.throws(() => readPngText(damaged), /damaged/);
  });

  it('passes over text of more than 64 KiB', () => {
    assert.equal(readPngText(png({ a: 'x'.repeat(70_000), b: 'y' })).get('b'), 'y');
    assert.ok(!readPngText(png({ a: 'x'.repeat(70_000) })).has('a'));
  });
});

describe('restoreSettings', () => {
  const restore = (text: Record<string, string>) =>
    restoreSettings(readPngText(png(text)), settingsWith({}), models, caps);

  it('gives back the settings of a served picture', () => {
    const restored = restore({
      Software: 'ddpm.cpp',
      'ddpm.model': 'abcdef012345',
      'ddpm.steps': '20',
      'ddpm.sampler': 'dpmpp_2m',
      'ddpm.levels': 'karras',
      'ddpm.lower_order_final': 'false',
      'ddpm.clip': 'clip',
      'ddpm.class': 'square',
      'ddpm.guidance': '3',
      'ddpm.guidance_interval': '0.3,5',
      'ddpm.seed': '18446744073709551615',
      'ddpm.first_image': '0',
      'ddpm.image': '5',
    })!;
    assert.deepEqual(restored.lost, []);
    assert.deepEqual(toRequest(restored.settings, models, caps), {
      model: 'shapes',
      num_images: 1,
      seed: '18446744073709551615',
      first_image: 5,
      class: 'square',
      sampler: { kind: 'dpmpp_2m', steps: 20, levels: 'karras', lower_order_final: false },
      guidance: { scale: 3, interval: [0.3, 5] },
    });
  });

  it('names what this server can not give', () => {
    const restored = restore({
      'ddpm.seed': '1',
      'ddpm.model': 'ffffffffffff',
      'ddpm.sampler': 'magic',
      'ddpm.eta': '2',
      'ddpm.new': 'x',
    })!;
    assert.deepEqual(
      restored.lost.map((l) => l.key),
      ['ddpm.model', 'ddpm.sampler', 'ddpm.eta', 'ddpm.new'],
    );
  });

  it('is null for pictures of others', () => {
    assert.equal(restore({ Software: 'GIMP' }), null);
    assert.equal(restore({ 'ddpm.seed': '-3' }), null);
  });
});
