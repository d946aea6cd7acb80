/**
 * Draws x_t ~ q(x_t | x_0): the data after t + 1 noising steps, in one jump [DDPM Eq. 4].
 *
 *     x_t = sqrt(alpha_bar_t) * x_start + sqrt(1 - alpha_bar_t) * noise
 *
 * @param xStart pixels in [-1, 1].
 * @param noise  as long as xStart, standard normal.
 * @throws RangeError if the lengths differ or alphaBar is not in [0, 1].
 */
export function qSample(xStart: Float32Array, noise: Float32Array, alphaBar: number): Float32Array {
  if (xStart.length !== noise.length) {
    throw new RangeError(
      `[qSample] noise: expected ${xStart.length} values like x_start, got ${noise.length}`,
    );
  }
  if (!(alphaBar >= 0 && alphaBar <= 1)) {
    throw new RangeError(`[qSample] alpha_bar: expected a number from 0 to 1, got ${alphaBar}`);
  }
  const signal = Math.sqrt(alphaBar);
  const sigma = Math.sqrt(1 - alphaBar);
  const x = new Float32Array(xStart.length);
  for (let i = 0; i < x.length; ++i) x[i] = signal * xStart[i]! + sigma * noise[i]!;
  return x;
}
