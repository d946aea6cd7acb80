/** The text of a PNG file: tEXt, and iTXt that is not compressed [PNG 11.3.3]. */

const kSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const kMaxTextBytes = 1 << 16;
const kMaxChunks = 4096;
const kMaxTexts = 128;

/** Not a PNG file, or a damaged one. */
export class PngError extends Error {
  override name = 'PngError';
}

/**
 * Text by keyword. The file comes from anywhere: lengths, counts and checksums are checked, and text
 * that is too long is passed over.
 *
 * @throws PngError if it is no PNG file or ends early.
 */
export function readPngText(bytes: Uint8Array): Map<string, string> {
  if (!kSignature.every((value, i) => bytes[i] === value)) throw new PngError('not a PNG file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts = new Map<string, string>();
  let at = kSignature.length;
  for (let count = 0; count < kMaxChunks; ++count) {
    if (at + 12 > bytes.length) throw new PngError('the file ends early');
    const length = view.getUint32(at);
    const type = latin1(bytes.subarray(at + 4, at + 8));
    const end = at + 8 + length;
    if (end + 4 > bytes.length) throw new PngError('the file ends early');
    if (type === 'IEND') return texts;
    const wanted = (type === 'tEXt' || type === 'iTXt') && length <= kMaxTextBytes;
    if (wanted && texts.size < kMaxTexts) {
      if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
        throw new PngError(`a ${type} chunk is damaged`);
      }
      addText(texts, type, bytes.subarray(at + 8, end));
    }
    at = end + 4;
  }
  return texts;
}

function addText(texts: Map<string, string>, type: string, data: Uint8Array): void {
  const keyEnd = data.indexOf(0);
  if (keyEnd < 1 || keyEnd > 79) return;
  const key = latin1(data.subarray(0, keyEnd));
  if (type === 'tEXt') {
    texts.set(key, latin1(data.subarray(keyEnd + 1)));
    return;
  }
  if (data[keyEnd + 1] !== 0) return; // compressed: this program writes none
  const languageEnd = data.indexOf(0, keyEnd + 3);
  const translatedEnd = languageEnd < 0 ? -1 : data.indexOf(0, languageEnd + 1);
  if (translatedEnd >= 0) {
    texts.set(key, new TextDecoder().decode(data.subarray(translatedEnd + 1)));
  }
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

const kCrcTable = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; ++bit) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (kCrcTable[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
