export interface Histogram {
  /** Left end of the first bin, and every bin's width. */
  start: number;
  width: number;
  /** Share of the values in each bin over its width: comparable with a density. */
  density: Float64Array;
}

export interface Moments {
  mean: number;
  std: number;
}

/** Values outside [start, end) are in no bin, but count as values. */
export function histogramOf(values: Float32Array, start = -4, end = 4, numBins = 64): Histogram {
  const width = (end - start) / numBins;
  const density = new Float64Array(numBins);
  for (const value of values) {
    const bin = Math.floor((value - start) / width);
    if (bin >= 0 && bin < numBins) density[bin]! += 1;
  }
  const scale = values.length > 0 ? 1 / (values.length * width) : 0;
  return { start, width, density: density.map((count) => count * scale) };
}

export function momentsOf(values: Float32Array): Moments {
  if (values.length === 0) return { mean: 0, std: 0 };
  let sum = 0;
  for (const value of values) sum += value;
  const mean = sum / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  return { mean, std: Math.sqrt(squares / values.length) };
}
