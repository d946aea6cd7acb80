/** Pictures made by code, so that the page needs no files: RGB in [-1, 1] at (u, v) in [0, 1]. */

export const kSamplePictures = ['sunset', 'rings', 'checker'] as const;
export type SamplePicture = (typeof kSamplePictures)[number];

type Colour = [r: number, g: number, b: number];

function mix(a: Colour, b: Colour, share: number): Colour {
  const s = Math.max(0, Math.min(1, share));
  return [a[0] + (b[0] - a[0]) * s, a[1] + (b[1] - a[1]) * s, a[2] + (b[2] - a[2]) * s];
}

function smooth(edge0: number, edge1: number, x: number): number {
  const s = Math.max(0, Math.min(1, (x - edge0) / (edge1 - edge0)));
  return s * s * (3 - 2 * s);
}

function sunset(u: number, v: number): Colour {
  const sky = mix([0.13, 0.2, 0.5], [1, 0.62, 0.36], smooth(0, 0.68, v));
  const distance = Math.hypot(u - 0.64, v - 0.45);
  let colour = mix(sky, [1, 0.8, 0.5], 0.55 * (1 - smooth(0.1, 0.36, distance)));
  colour = mix([1, 0.95, 0.78], colour, smooth(0.125, 0.14, distance));
  const ridge = (phase: number, height: number) =>
    height + 0.06 * Math.sin(u * 7 + phase) + 0.03 * Math.sin(u * 17 + phase * 3);
  colour = mix(colour, [0.45, 0.3, 0.5], smooth(0, 0.015, v - ridge(1.2, 0.62)));
  colour = mix(colour, [0.24, 0.2, 0.38], smooth(0, 0.015, v - ridge(3.4, 0.74)));
  return mix(colour, [0.08, 0.1, 0.2], smooth(0, 0.015, v - ridge(5.1, 0.86)));
}

function rings(u: number, v: number): Colour {
  const distance = Math.hypot(u - 0.5, v - 0.5);
  const wave = 0.5 + 0.5 * Math.cos(distance * 46);
  return mix([0.05, 0.16, 0.3], mix([0.95, 0.85, 0.6], [0.1, 0.62, 0.6], distance * 1.7), wave);
}

function checker(u: number, v: number): Colour {
  const odd = (Math.floor(u * 4) + Math.floor(v * 4)) % 2 === 1;
  return odd ? [0.93, 0.9, 0.84] : mix([0.16, 0.33, 0.75], [0.85, 0.3, 0.2], (u + v) / 2);
}

const kPainters: Record<SamplePicture, (u: number, v: number) => Colour> = {
  sunset,
  rings,
  checker,
};

export function paintSample(picture: SamplePicture, size: number): Float32Array {
  const plane = size * size;
  const values = new Float32Array(3 * plane);
  for (let y = 0; y < size; ++y) {
    for (let x = 0; x < size; ++x) {
      const colour = kPainters[picture]((x + 0.5) / size, (y + 0.5) / size);
      for (let c = 0; c < 3; ++c) values[c * plane + y * size + x] = 2 * colour[c]! - 1;
    }
  }
  return values;
}
