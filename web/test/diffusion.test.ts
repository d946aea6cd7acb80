import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { qSample } from '../src/lib/diffusion/forward_process.ts';
import { histogramOf, momentsOf } from '../src/lib/diffusion/histogram.ts';
import { normalDensity, normalNoise } from '../src/lib/diffusion/normal.ts';
import { pixelsFromRgba, rgbaFromPixels } from '../src/lib/diffusion/pixels.ts';
import { kSamplePictures, paintSample } from '../src/lib/diffusion/sample_pictures.ts';
import { makeSchedule, snrDb, type ScheduleKind } from '../src/lib/diffusion/schedule.ts';

function near(actual: number, expected: number, relative: number, what: string) {
  assert.ok(
    Math.abs(actual / expected - 1) <= relative,
    `${what}: expected ${expected}, got ${actual}`,
  );
}

describe('schedule', () => {
  // The numbers of tests/diffusion/noise_schedule_test.cpp; the sigmoids' by ATen in float64.
  const rows: [ScheduleKind, number, number[]][] = [
    ['linear', 1000, [9.999e-1, 9.997801e-1, 8.951416e-1, 7.779666e-2, 4.03583e-5]],
    ['linear', 300, [9.999e-1, 9.997335e-1, 9.665015e-1, 4.623452e-1, 4.805843e-2]],
    ['cosine', 1000, [9.999587e-1, 9.999126e-1, 9.715757e-1, 4.922852e-1, 2.428767e-9]],
    ['cosine', 4000, [9.999901e-1, 9.9998e-1, 9.719639e-1, 4.93454e-1, 1.51798e-10]],
    [
      'sigmoid_alpha_bar',
      1000,
      [9.996997208e-1, 9.993978074e-1, 9.600004763e-1, 4.983428179e-1, 3.002791997e-7],
    ],
    [
      'sigmoid_beta',
      1000,
      [9.998507948e-1, 9.997010188e-1, 9.804917258e-1, 2.988876278e-1, 3.968181991e-5],
    ],
  ];
  for (const [kind, numTimesteps, expected] of rows) {
    it(`${kind} with T = ${numTimesteps} has the published alpha_bar`, () => {
      const { alphasCumprod } = makeSchedule(kind, numTimesteps);
      const at = [0, 1, numTimesteps / 10, numTimesteps / 2, numTimesteps - 1];
      at.forEach((t, i) => near(alphasCumprod[t]!, expected[i]!, 5.1e-7, `t = ${t}`));
    });
  }

  it('falls strictly and ends near noise alone', () => {
    for (const kind of ['linear', 'cosine', 'sigmoid_alpha_bar'] as const) {
      const { alphasCumprod } = makeSchedule(kind, 1000);
      assert.ok(alphasCumprod.every((value, t) => t === 0 || value < alphasCumprod[t - 1]!));
      assert.ok(snrDb(alphasCumprod[999]!) < -40);
    }
  });

  it('crosses 0 dB where signal and noise are equal', () => assert.equal(snrDb(0.5), 0));
});

describe('qSample', () => {
  it('is the data at alpha_bar = 1 and the noise at alpha_bar = 0', () => {
    const x = Float32Array.of(-1, 0, 0.5);
    const noise = Float32Array.of(2, -3, 0.25);
    assert.deepEqual(qSample(x, noise, 1), x);
    assert.deepEqual(qSample(x, noise, 0), noise);
  });

  it('keeps unit variance of unit-variance data, and is not clamped', () => {
    const x = normalNoise(1, 40_000);
    const x_t = qSample(x, normalNoise(2, 40_000), 0.3);
    assert.ok(Math.abs(momentsOf(x_t).std - 1) < 0.015); // 4 sigma of 40,000 draws
    assert.ok(x_t.some((value) => value > 3));
  });

  it('refuses noise of another length and an alpha_bar that is none', () => {
    assert.throws(
      () => qSample(new Float32Array(3), new Float32Array(2), 0.5),
      /expected 3 values/,
    );
    assert.throws(() => qSample(new Float32Array(1), new Float32Array(1), 1.1), /from 0 to 1/);
    assert.throws(() => qSample(new Float32Array(1), new Float32Array(1), NaN), RangeError);
  });
});

describe('normalNoise', () => {
  it('has the moments and the density of N(0, 1)', () => {
    const noise = normalNoise(7, 200_000);
    const { mean, std } = momentsOf(noise);
    assert.ok(Math.abs(mean) < 0.009 && Math.abs(std - 1) < 0.0065, `${mean} ${std}`); // 4 sigma
    const { start, width, density } = histogramOf(noise);
    density.forEach((value, i) => {
      const expected = normalDensity(start + (i + 0.5) * width);
      assert.ok(Math.abs(value - expected) < 0.018, `bin ${i}: ${value}, ${expected}`);
    });
  });

  it('is the same for the same seed, also for odd counts', () => {
    assert.deepEqual(normalNoise(5, 101), normalNoise(5, 102).slice(0, 101));
    assert.notDeepEqual(normalNoise(5, 8), normalNoise(6, 8));
  });
});

describe('pixels', () => {
  it('come back from the canvas and go there unchanged', () => {
    const rgba = Uint8ClampedArray.from({ length: 4 * 64 * 64 }, (_, i) =>
      i % 4 === 3 ? 255 : (i * 7) % 256,
    );
    assert.deepEqual(rgbaFromPixels(pixelsFromRgba(rgba, 64).values, 64), rgba);
  });

  it('of the sample pictures lie in [-1, 1]', () => {
    for (const picture of kSamplePictures) {
      assert.ok(paintSample(picture, 32).every((value) => value >= -1 && value <= 1));
    }
  });
});

describe('histogramOf', () => {
  it('counts values outside as values in no bin', () => {
    const { density, width } = histogramOf(Float32Array.of(-9, 0.01, 0.02, 9));
    assert.equal(density.reduce((a, b) => a + b) * width, 0.5);
  });
});
