import { pixelsFromRgba } from '../lib/diffusion/pixels.ts';

/** The middle square of a picture, at size x size: [3, size, size] in [-1, 1]. */
export function squarePixels(
  source: CanvasImageSource,
  width: number,
  height: number,
  size: number,
): Float32Array {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const context = canvas.getContext('2d')!;
  context.fillStyle = '#ffffff'; // below pictures with transparency
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = 'high';
  const side = Math.min(width, height);
  context.drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size, size);
  return pixelsFromRgba(context.getImageData(0, 0, size, size).data, size).values;
}

/** @throws DOMException if the browser can't read the file. */
export async function loadImage(file: Blob): Promise<ImageBitmap> {
  return createImageBitmap(file);
}
