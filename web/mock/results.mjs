// What a job shows: previews, moments of the way, and the text of its images.
import { kSamplerOptions } from './options.mjs';
import { gaussian, paint, predicted, toBytes } from './pictures.mjs';
import { encodePng } from './png.mjs';

/** Image i of a request, drawn: its pixels, its number and the noise that it begins with. */
export function scene(model, request, i) {
  const number = request.first_image + i;
  const sharp = paint(model, request.seed, number, request.class?.[i]);
  // Few steps leave pictures soft, and each sampler in its own way.
  const [, height, width] = model.shape,
    { kind, steps } = request.sampler;
  const soft = predicted(sharp, width, height, 0.3),
    share = Math.min(0.9, (2 + (kind.length % 5)) / steps);
  const pixels = sharp.map((value, p) => value + (soft[p] - value) * share);
  const count = pixels.length;
  return { pixels, number, eps: gaussian(BigInt(request.seed) + BigInt(number) * 31n, count) };
}

/** Bytes for encodePng: grey models have one channel. */
export function picture(model, pixels) {
  const [channels, height, width] = model.shape;
  const bytes = toBytes(pixels);
  return {
    width,
    height,
    channels,
    data: channels === 3 ? bytes : bytes.filter((_, i) => i % 3 === 0),
  };
}

export function preview(model, { pixels }, index, step, left, t) {
  const [, height, width] = model.shape;
  const png = encodePng(picture(model, predicted(pixels, width, height, left)));
  return { index, step, t, pred_x_start: `data:image/png;base64,${png.toString('base64')}` };
}

/** The three pictures of one moment of the way, each a grid of all images. */
export function frameOf(model, scenes, left, t) {
  const [, height, width] = model.shape;
  const alphaBar = Math.cos((left * Math.PI) / 2) ** 2;
  const grid = (values) => gridPng(model, scenes.map(values));
  return {
    t,
    x_t: grid(({ pixels, eps }) =>
      pixels.map(
        (v, i) => (Math.sqrt(alphaBar) * (2 * v - 1) + Math.sqrt(1 - alphaBar) * eps[i]) / 2 + 0.5,
      ),
    ),
    noise: grid(({ eps }) => eps.map((e) => e / 6 + 0.5)),
    pred_x_start: grid(({ pixels }) => predicted(pixels, width, height, left)),
  };
}

function gridPng(model, images) {
  const [channels, height, width] = model.shape,
    pad = 2;
  const columns = Math.ceil(Math.sqrt(images.length)),
    rows = Math.ceil(images.length / columns);
  const full = {
    width: columns * (width + pad) - pad,
    height: rows * (height + pad) - pad,
    channels,
  };
  full.data = Buffer.alloc(full.width * full.height * channels, 255);
  images.forEach((pixels, i) => {
    const { data } = picture(model, pixels),
      left = (i % columns) * (width + pad),
      top = Math.floor(i / columns) * (height + pad);
    for (let y = 0; y < height; ++y)
      full.data.set(
        data.subarray(y * width * channels, (y + 1) * width * channels),
        ((top + y) * full.width + left) * channels,
      );
  });
  return encodePng(full);
}

/** The text chunks of docs/formats.md, "Pictures". */
export function textOf(job, model, number, index) {
  const { sampler, seed, first_image, guidance } = job.request;
  const text = [
    ['Software', 'ddpm.cpp'],
    ['ddpm.model', model.hash.slice(0, 12)],
    ['ddpm.steps', sampler.steps],
  ];
  for (const { name, default: standard } of kSamplerOptions) {
    if (name === 'steps') continue;
    const always = ['kind', 'spacing', 'clip'].includes(name);
    if (always || sampler[name] !== standard)
      text.push([`ddpm.${name === 'kind' ? 'sampler' : name}`, sampler[name]]);
  }
  if (job.request.class) text.push(['ddpm.class', job.request.class[index]]);
  if (guidance.scale !== 1) text.push(['ddpm.guidance', guidance.scale]);
  text.push(['ddpm.seed', seed], ['ddpm.first_image', first_image], ['ddpm.image', number]);
  return text.map(([key, value]) => [key, String(value)]);
}
