/** Between a canvas's RGBA bytes and the field's [3, H, W] floats in [-1, 1]. */

export interface Pixels {
  /** [3, size, size], channel by channel. */
  values: Float32Array;
  size: number;
}

export function pixelsFromRgba(rgba: Uint8ClampedArray, size: number): Pixels {
  const plane = size * size;
  const values = new Float32Array(3 * plane);
  for (let i = 0; i < plane; ++i) {
    for (let c = 0; c < 3; ++c) values[c * plane + i] = rgba[4 * i + c]! / 127.5 - 1;
  }
  return { values, size };
}

/** Values outside [-1, 1] are shown as the nearest colour; x_t itself is never clamped. */
export function rgbaFromPixels(values: Float32Array, size: number): Uint8ClampedArray<ArrayBuffer> {
  const plane = size * size;
  const rgba = new Uint8ClampedArray(4 * plane);
  for (let i = 0; i < plane; ++i) {
    for (let c = 0; c < 3; ++c) rgba[4 * i + c] = (values[c * plane + i]! + 1) * 127.5;
    rgba[4 * i + 3] = 255;
  }
  return rgba;
}
