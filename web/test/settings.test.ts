import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseJson, stringifyRequest } from '../src/lib/api/json.ts';
import {
  decodeSettings,
  defaultSteps,
  drawsFromNoise,
  fitToServer,
  fromRequest,
  initialSettings,
  parseSeed,
  singleImage,
  toJobRequest,
  toRequest,
} from '../src/lib/state/settings.ts';
import { kCapabilities as caps, kModels as models, settingsWith } from './support.ts';

describe('toRequest', () => {
  it('says only what differs from the defaults', () => {
    const options = { steps: 20, lower_order_final: true, levels: 'karras' };
    assert.deepEqual(toRequest(settingsWith({ sampler: 'dpmpp_2m', options }), models, caps), {
      model: 'shapes',
      num_images: 4,
      seed: '7',
      sampler: { kind: 'dpmpp_2m', steps: 20, levels: 'karras' },
    });
  });

  it('leaves out options that the sampler does not read', () => {
    const request = toRequest(
      settingsWith({ sampler: 'dpmpp_2m', options: { eta: 1 } }),
      models,
      caps,
    );
    assert.deepEqual(request.sampler, { kind: 'dpmpp_2m' });
  });

  it("counts the model's own sampler as default", () => {
    const request = toRequest(
      settingsWith({ sampler: 'ddim', options: { steps: 25 } }),
      models,
      caps,
    );
    assert.deepEqual(request.sampler, { kind: 'ddim' });
  });

  it('has class and guidance only for models with classes', () => {
    const chosen = { className: 'circle', guidanceScale: 3, guidanceInterval: [0.3, 5] };
    const request = toRequest(settingsWith(chosen), models, caps);
    assert.equal(request.class, 'circle');
    assert.deepEqual(request.guidance, { scale: 3, interval: [0.3, 5] });
    const plain = toRequest(settingsWith({ ...chosen, model: 'plain' }), models, caps);
    assert.ok(!('class' in plain) && !('guidance' in plain));
  });

  it('asks for previews and the path only as a job', () => {
    const request = toJobRequest(settingsWith({ traceFrames: 12 }), models, caps);
    assert.equal(request.previews, true);
    assert.equal(request.trace, 12);
  });

  it('comes back by fromRequest', () => {
    const settings = settingsWith({
      sampler: 'dpmpp_2m',
      options: { steps: 9 },
      className: 'square',
      guidanceScale: 2,
      firstImage: 3,
    });
    const request = toRequest(settings, models, caps);
    assert.deepEqual(fromRequest(request, settingsWith({})), settings);
  });
});

describe('singleImage', () => {
  it('numbers the image as the seed does', () => {
    const request = toRequest(settingsWith({ firstImage: 8 }), models, caps);
    assert.equal(singleImage(request, 2).first_image, 10);
    assert.equal(singleImage(request, 2).num_images, 1);
    assert.ok(!('first_image' in singleImage(toRequest(settingsWith({}), models, caps), 0)));
  });
});

describe('seeds', () => {
  it('have up to 64 bits and no leading zeros', () => {
    assert.equal(parseSeed(' 007 '), '7');
    assert.equal(parseSeed('18446744073709551615'), '18446744073709551615');
    for (const bad of ['', '-1', '1.5', 'x', '18446744073709551616', '1e3'])
      assert.equal(parseSeed(bad), null);
  });

  it('keep all their digits in JSON, both ways', () => {
    const request = { ...toRequest(settingsWith({}), models, caps), seed: '18446744073709551615' };
    const text = stringifyRequest(request);
    assert.match(text, /"seed":18446744073709551615[,}]/);
    assert.equal((parseJson(text) as { seed: string }).seed, '18446744073709551615');
    assert.deepEqual(parseJson('{"note":"\\"seed\\": 12345678901234567890,"}'), {
      note: '"seed": 12345678901234567890,',
    });
  });
});

describe('drawsFromNoise', () => {
  it('leaves out models that want an image', () => {
    const enlarging = { ...models[0]!, id: 'large', superResolution: 4 };
    assert.deepEqual([...models, enlarging].filter(drawsFromNoise), models);
  });
});

describe('fitToServer', () => {
  it("takes the first model and its sampler at the start, and keeps to the server's limits", () => {
    const settings = fitToServer({ ...initialSettings('1'), numImages: 99 }, models, caps);
    assert.equal(settings.model, 'shapes');
    assert.equal(settings.numImages, 16);
  });

  it('drops a class that the model lacks and a sampler that the server lacks', () => {
    const settings = fitToServer(
      settingsWith({ className: 'cat', sampler: 'magic' }),
      models,
      caps,
    );
    assert.equal(settings.className, '');
    assert.equal(settings.sampler, 'ddpm');
  });
});

describe('defaultSteps', () => {
  it("is the model's, the server's or all T", () => {
    assert.equal(defaultSteps(caps, 'ddim', models[0]!), 25);
    assert.equal(defaultSteps(caps, 'ddim', models[1]!), 50);
    assert.equal(defaultSteps(caps, 'ddpm', models[1]!), 300);
  });
});

describe('decodeSettings', () => {
  it('takes what fits and leaves the rest', () => {
    const base = initialSettings('3');
    const stored = { model: 'm', numImages: 'many', seed: 'x', guidanceInterval: {}, extra: 1 };
    assert.deepEqual(decodeSettings(stored, base), { ...base, model: 'm' });
    assert.equal(decodeSettings(null, base), base);
  });
});
