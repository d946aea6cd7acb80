// The picture of the studio in README.md: drives the page of a running `ddpm serve` and writes a WebP file.
//   ddpm train recipes/fashion_mnist.toml --set train.class_conditional=true --set train.class_dropout=0.15 -o MODELS/fashion_mnist
//   ddpm serve MODELS --port 7860 &
//   DDPM_SERVER=http://127.0.0.1:7860 node --import tsx scripts/readme_picture.ts ../docs/images/studio.webp
import { writeFile } from 'node:fs/promises';
import { Bench, done, enterKey, setSteps } from '../e2e/support.ts';

const server = process.env['DDPM_SERVER'];
const key = process.env['DDPM_KEY'] ?? '';
const target = process.argv[2];
if (!server || !target) throw new Error('expected DDPM_SERVER and the name of a WebP file');
const kSeed = process.argv[3] ?? '3';
const kImages = 8;
const kMaxBytes = 150_000;

const bench = new Bench(server);
await bench.start();
const page = await bench.open('#/studio', {
  viewport: { width: 1280, height: 1045 },
  colorScheme: 'light',
});
if (key) await enterKey(page, key);
await page.locator('#num-images').fill(String(kImages));
await page.locator('#num-images').press('Tab');
await page.locator('#seed').fill(kSeed);
await page.locator('#guidance').fill('2');
await setSteps(page, 30);
await page.keyboard.press('Control+Enter');
await done(page);
const moment = page.getByRole('slider', { name: 'Moment' });
await moment.fill('8');
await page.mouse.move(0, 0);
await page.evaluate(() => {
  (document.activeElement as HTMLElement | null)?.blur();
  document.querySelector('.panel')?.scrollTo(0, 0);
  scrollTo(0, 0);
});
const png = await page.screenshot();

// The browser encodes: no image library is needed for one picture.
const encoder = await bench.open('#/studio');
const bytes = await encoder.evaluate(async (data) => {
  const image = new Image();
  image.src = `data:image/png;base64,${data}`;
  await image.decode();
  const canvas = Object.assign(document.createElement('canvas'), {
    width: image.naturalWidth,
    height: image.naturalHeight,
  });
  canvas.getContext('2d')!.drawImage(image, 0, 0);
  const blob = await new Promise<Blob | null>((give) => canvas.toBlob(give, 'image/webp', 0.85));
  return [...new Uint8Array(await blob!.arrayBuffer())];
}, png.toString('base64'));
await bench.stop();
if (bench.problems.length > 0) throw new Error(bench.problems.join('\n'));
if (bytes.length > kMaxBytes)
  throw new Error(`${target}: expected at most ${kMaxBytes} bytes, got ${bytes.length}`);
await writeFile(target, Buffer.from(bytes));
console.log(`${target}: ${bytes.length} bytes`);
