export interface RawImage {
  width: number;
  height: number;
  channels: 1 | 3;
  data: Uint8Array;
}
export function encodePng(image: RawImage, text?: [string, string][]): Buffer;
