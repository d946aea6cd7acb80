// Small pictures drawn by code, in the place of a network's: RGB in [0, 1], row by row.

export function makeRandom(seed) {
  let state = Number(BigInt(seed) % 4294967296n) >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };
}

const clamp01 = (x) => Math.max(0, Math.min(1, x));
const smooth = (a, b, x) => {
  const s = clamp01((x - a) / (b - a));
  return s * s * (3 - 2 * s);
};
const mix = (a, b, s) => a.map((value, i) => value + (b[i] - value) * clamp01(s));

function hsl(h, s, l) {
  const f = (n) => {
    const k = (n + h * 12) % 12;
    return l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  };
  return [f(0), f(8), f(4)];
}

// Signed distance to a shape of radius 1 around the origin: negative inside.
const polygon =
  (n, spikes = 1) =>
  (x, y) => {
    const angle = Math.atan2(x, -y);
    const sector = (2 * Math.PI) / n;
    const within = Math.abs(((angle + 100 * sector) % sector) - sector / 2) / (sector / 2);
    const edge =
      spikes === 1
        ? Math.cos(sector / 2) / Math.cos(((1 - within) * sector) / 2)
        : 1 - spikes * (1 - Math.abs(1 - within));
    return Math.hypot(x, y) - edge;
  };
const kShapes = {
  circle: (x, y) => Math.hypot(x, y) - 0.9,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) - 0.8,
  triangle: polygon(3),
  star: (x, y) => {
    const a = Math.atan2(x, -y);
    return Math.hypot(x, y) - (0.68 + 0.3 * Math.cos(5 * a));
  },
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.68) - 0.22,
  cross: (x, y) =>
    Math.min(
      Math.max(Math.abs(x) - 0.3, Math.abs(y) - 0.95),
      Math.max(Math.abs(y) - 0.3, Math.abs(x) - 0.95),
    ),
};
export const kShapeNames = Object.keys(kShapes);

function shapePainter(random, name) {
  const hue = random(),
    back = hsl((hue + 0.45 + 0.2 * random()) % 1, 0.28, 0.8 + 0.1 * random());
  const fill = hsl(hue, 0.7, 0.48),
    deep = hsl((hue + 0.06) % 1, 0.75, 0.36);
  const [cx, cy, size, turn] = [
    0.4 + 0.2 * random(),
    0.4 + 0.2 * random(),
    0.24 + 0.12 * random(),
    (random() - 0.5) * 0.9,
  ];
  return (u, v) => {
    const [dx, dy] = [(u - cx) / size, (v - cy) / size];
    const [x, y] = [
      dx * Math.cos(turn) + dy * Math.sin(turn),
      dy * Math.cos(turn) - dx * Math.sin(turn),
    ];
    const shadow = 1 - smooth(-0.2, 0.3, kShapes[name](x - 0.14, y - 0.16));
    const ground = mix(mix(back, [1, 1, 1], 0.25 * (1 - v)), [0.1, 0.1, 0.2], 0.22 * shadow);
    return mix(
      mix(fill, deep, clamp01(0.5 + (0.5 * (dx + dy)) / 1.6)),
      ground,
      smooth(-0.06, 0.06, kShapes[name](x, y)),
    );
  };
}

function landscapePainter(random) {
  const dusk = random(),
    hue = 0.52 + 0.12 * random();
  const top = mix(hsl(hue, 0.6, 0.5), [0.12, 0.12, 0.34], dusk);
  const low = mix(hsl((hue + 0.02) % 1, 0.55, 0.82), hsl(0.05 + 0.05 * random(), 0.9, 0.66), dusk);
  const [sx, sy, sr] = [0.2 + 0.6 * random(), 0.2 + 0.25 * random(), 0.06 + 0.06 * random()];
  const land = hsl(0.25 + 0.18 * random(), 0.35, 0.34 - 0.18 * dusk);
  const layers = [0.52, 0.66, 0.8].map((height) => ({
    height,
    p: 7 * random(),
    q: 7 * random(),
    a: 0.05 + 0.06 * random(),
  }));
  return (u, v) => {
    let colour = mix(top, low, v / 0.7);
    const d = Math.hypot(u - sx, v - sy);
    colour = mix(colour, [1, 0.92, 0.75], 0.5 * (1 - smooth(sr, sr * 3.4, d)));
    colour = mix([1, 0.97, 0.85], colour, smooth(sr * 0.92, sr * 1.08, d));
    layers.forEach(({ height, p, q, a }, i) => {
      const ridge = height + a * Math.sin(u * 6 + p) + a * 0.5 * Math.sin(u * 15 + q);
      colour = mix(colour, mix(low, land, 0.35 + 0.32 * i), smooth(-0.01, 0.012, v - ridge));
    });
    return colour;
  };
}

export const kGarments = [
  't-shirt/top',
  'trouser',
  'pullover',
  'dress',
  'coat',
  'sandal',
  'shirt',
  'sneaker',
  'bag',
  'ankle boot',
];

function garmentMask(name, x, y) {
  // x, y in [-1, 1]
  const ax = Math.abs(x);
  const long = name === 'pullover' || name === 'coat' || name === 'shirt';
  switch (name) {
    case 'trouser':
      return y < -0.6 ? ax < 0.36 : ax < 0.4 - 0.03 * y && ax > 0.06 * (y + 0.9);
    case 'dress':
      return y < -0.2 ? ax < 0.26 + 0.1 * Math.abs(y + 0.3) : ax < 0.25 + 0.36 * (y + 0.2);
    case 'sandal':
      return (
        (y > 0.3 && y < 0.44 + 0.1 * x && ax < 0.85) ||
        (Math.abs(y - 0.1 + 0.4 * x) < 0.07 && ax < 0.5) ||
        (Math.abs(x - 0.7) < 0.07 && y > -0.1 && y < 0.4)
      );
    case 'sneaker':
      return y < 0.42 && y > -0.16 + 0.4 * smooth(0.1, -0.8, x) && ax < 0.88;
    case 'ankle boot':
      return y < 0.6 && ax < 0.8 && (x > 0.1 ? y > -0.75 : y > 0.02 + 0.2 * -x) && x < 0.68;
    case 'bag':
      return (
        (ax < 0.75 && y > -0.15 && y < 0.68) ||
        (Math.abs(Math.hypot(x, (y + 0.12) * 1.1) - 0.42) < 0.06 && y < -0.1)
      );
    default: {
      const body =
        ax < (name === 'coat' ? 0.46 : 0.42) && y > -0.72 && y < 0.78 && !(y < -0.6 && ax < 0.15);
      const sleeve =
        ax >= 0.4 &&
        ax < 0.72 &&
        y > -0.7 + (ax - 0.4) * 0.9 &&
        y < (long ? 0.6 : -0.12) + (ax - 0.4) * 0.2;
      return body || sleeve;
    }
  }
}

function garmentPainter(random, name) {
  const tone = 0.45 + 0.45 * random(),
    stripe = random() < 0.35 ? 6 + 8 * random() : 0,
    scale = 0.86 + 0.18 * random();
  return (u, v) => {
    const [x, y] = [(u * 2 - 1) / scale, (v * 2 - 1) / scale];
    if (!garmentMask(name, x, y)) return [0.01, 0.01, 0.01];
    const seam = name === 'coat' && Math.abs(x) < 0.03 ? -0.25 : 0;
    const grey = clamp01(
      tone +
        0.12 * Math.cos(x * 3) -
        0.1 * y +
        (stripe ? 0.1 * Math.sign(Math.sin(y * stripe)) : 0) +
        seam,
    );
    return [grey, grey, grey];
  };
}

/** x_0 of image `number` of a seed: Float32Array [H * W * 3] in [0, 1]. */
export function paint(model, seed, number, className) {
  const random = makeRandom(BigInt(seed) * 7919n + BigInt(number) * 104729n + 13n);
  for (let i = 0; i < 4; ++i) random();
  const painter =
    model.id === 'shapes'
      ? shapePainter(random, className)
      : model.id === 'fashion_mnist'
        ? garmentPainter(random, className)
        : landscapePainter(random);
  const [, height, width] = model.shape;
  const pixels = new Float32Array(width * height * 3);
  const kSub = 3; // samples a side
  for (let y = 0; y < height; ++y)
    for (let x = 0; x < width; ++x) {
      for (let s = 0; s < kSub * kSub; ++s) {
        const colour = painter(
          (x + ((s % kSub) + 0.5) / kSub) / width,
          (y + (Math.floor(s / kSub) + 0.5) / kSub) / height,
        );
        for (let c = 0; c < 3; ++c) pixels[(y * width + x) * 3 + c] += colour[c] / (kSub * kSub);
      }
    }
  return pixels;
}

export function gaussian(seed, count) {
  const random = makeRandom(seed);
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random()),
  );
}

/** What a network would predict at noise level `sigma` in [0, 1]: blurred, the more the noisier. */
export function predicted(pixels, width, height, sigma) {
  const radius = Math.round(sigma * sigma * width * 0.3);
  let blurred = pixels;
  for (let pass = 0; radius > 0 && pass < 2; ++pass)
    blurred = boxBlur(boxBlur(blurred, width, height, radius, 1, 0), width, height, radius, 0, 1);
  return blurred;
}

function boxBlur(pixels, width, height, radius, dx, dy) {
  const out = new Float32Array(pixels.length);
  for (let y = 0; y < height; ++y)
    for (let x = 0; x < width; ++x)
      for (let c = 0; c < 3; ++c) {
        let sum = 0;
        for (let r = -radius; r <= radius; ++r) {
          const xx = Math.max(0, Math.min(width - 1, x + r * dx)),
            yy = Math.max(0, Math.min(height - 1, y + r * dy));
          sum += pixels[(yy * width + xx) * 3 + c];
        }
        out[(y * width + x) * 3 + c] = sum / (2 * radius + 1);
      }
  return out;
}

export function toBytes(pixels) {
  return Buffer.from(Uint8Array.from(pixels, (value) => Math.round(clamp01(value) * 255)));
}
