/** Noise schedules in float64, as src/ddpm/diffusion/betas.cpp has them. */

export type ScheduleKind = 'linear' | 'cosine' | 'sigmoid_alpha_bar' | 'sigmoid_beta';

/** Tables indexed by t = 0 .. T-1; the paper's t is this t plus one. */
export interface NoiseSchedule {
  betas: Float64Array;
  /** alpha_bar_t = prod_{s<=t} (1 - beta_s). */
  alphasCumprod: Float64Array;
}

const kBetaStart = 1e-4;
const kBetaEnd = 0.02;
const kMaxRatioBeta = 0.999;

function linspace(start: number, end: number, count: number): Float64Array {
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  // From the nearer end, as ATen does: both ends are exact.
  return Float64Array.from({ length: count }, (_, i) =>
    i < count / 2 ? start + step * i : end - step * (count - 1 - i),
  );
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** The betas whose alpha_bar falls as `alphaBar` (T + 1 values at s = 0, 1/T, .. 1) does. */
function betasOfAlphaBar(alphaBar: Float64Array): Float64Array {
  return Float64Array.from({ length: alphaBar.length - 1 }, (_, i) =>
    Math.min(1 - (alphaBar[i + 1] ?? 0) / (alphaBar[i] ?? 1), kMaxRatioBeta),
  );
}

export function makeLinearBetas(
  numTimesteps: number,
  betaStart = kBetaStart,
  betaEnd = kBetaEnd,
): Float64Array {
  return linspace(betaStart, betaEnd, numTimesteps);
}

/** alpha_bar = cos^2((s + 0.008) / 1.008 * pi / 2) [IDDPM Eq. 17]. */
export function makeCosineBetas(numTimesteps: number): Float64Array {
  const offset = 0.008; // keeps beta_0 from being too small [IDDPM Sec. 3.2]
  const s = linspace(0, 1, numTimesteps + 1);
  return betasOfAlphaBar(
    s.map((value) => Math.cos(((value + offset) / (1 + offset)) * (Math.PI / 2)) ** 2),
  );
}

/** Jabri's: alpha_bar falls as a sigmoid from -3 to 3. */
export function makeSigmoidAlphaBarBetas(numTimesteps: number): Float64Array {
  const low = sigmoid(-3);
  const high = sigmoid(3);
  const logits = linspace(-3, 3, numTimesteps + 1);
  return betasOfAlphaBar(logits.map((x) => (high - sigmoid(x)) / (high - low)));
}

/** GeoDiff's: beta rises as a sigmoid from -6 to 6. */
export function makeSigmoidBetaBetas(numTimesteps: number): Float64Array {
  return linspace(-6, 6, numTimesteps).map(
    (x) => sigmoid(x) * (kBetaEnd - kBetaStart) + kBetaStart,
  );
}

function makeBetas(kind: ScheduleKind, numTimesteps: number): Float64Array {
  switch (kind) {
    case 'linear':
      return makeLinearBetas(numTimesteps);
    case 'cosine':
      return makeCosineBetas(numTimesteps);
    case 'sigmoid_alpha_bar':
      return makeSigmoidAlphaBarBetas(numTimesteps);
    case 'sigmoid_beta':
      return makeSigmoidBetaBetas(numTimesteps);
  }
}

export function makeSchedule(kind: ScheduleKind, numTimesteps: number): NoiseSchedule {
  const betas = makeBetas(kind, numTimesteps);
  let alphaBar = 1;
  const alphasCumprod = betas.map((beta) => (alphaBar *= 1 - beta));
  return { betas, alphasCumprod };
}

/** 10 log10(alpha_bar / (1 - alpha_bar)). */
export function snrDb(alphaBar: number): number {
  return 10 * Math.log10(alphaBar / (1 - alphaBar));
}
