import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { encodePng } from '../mock/png.mjs';
import { Bench } from './support.ts';

const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), []);
});

const alphaBar = (page: Page) => page.getByTestId('alpha-bar').textContent();
const pixels = (page: Page, name: RegExp) =>
  page
    .getByRole('img', { name })
    .evaluate((canvas: HTMLCanvasElement) => [
      ...canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data,
    ]);

describe('the forward process', () => {
  it('has the numbers of the schedule at every t', async () => {
    const page = await bench.open('#/forward');
    const slider = page.getByRole('slider', { name: 'Timestep t' });
    await slider.press('Home');
    assert.match((await alphaBar(page))!, /ᾱ = 0\.9999, 40\.0 dB/);
    await slider.press('End');
    assert.match((await alphaBar(page))!, /ᾱ = 4\.04 · 10⁻⁵, −43\.9 dB/);
    await page.getByText("Linear, T = 300 (the talk's)").first().click();
    assert.match((await alphaBar(page))!, /ᾱ = 0\.0481/); // the way is kept: t = 299
    assert.equal(await page.getByRole('spinbutton', { name: 'Timestep t' }).inputValue(), '299');
    await page.getByText('Cosine, T = 1000').first().click();
    await page.getByRole('spinbutton', { name: 'Timestep t' }).fill('500');
    await page.keyboard.press('Tab');
    assert.match((await alphaBar(page))!, /ᾱ = 0\.4923/);
    assert.match(
      (await page.locator('math').nth(1).textContent())!.replace(/\s/g, ''),
      /^x500=0\.7016·x0\+0\.7125·ε$/,
    );
    await page.context().close();
  });

  it('is the image at t = 0 and noise at the end', async () => {
    const page = await bench.open('#/forward');
    await page.getByRole('button', { name: 'Go to t = 0', exact: true }).click();
    const [image, start] = [
      await pixels(page, /^x₀/),
      await pixels(page, /^xₜ, the mixture, t = 0$/),
    ];
    const off =
      image.reduce((sum, value, i) => sum + Math.abs(value - start[i]!), 0) / image.length;
    assert.ok(off < 2, `${off}`); // 1% of noise
    await page.getByRole('button', { name: 'Go to t = 999' }).click();
    const [noise, end] = [await pixels(page, /^ε/), await pixels(page, /t = 999$/)];
    const left = noise.reduce((sum, value, i) => sum + Math.abs(value - end[i]!), 0) / noise.length;
    assert.ok(left < 2, `${left}`);
    await page.context().close();
  });

  it('takes an uploaded and a drawn image, and works without the server', async () => {
    await bench.faults({ down: true });
    const page = await bench.open('#/forward');
    await page.getByText('Upload').click();
    const png = encodePng({
      width: 40,
      height: 20,
      channels: 3,
      data: Buffer.alloc(40 * 20 * 3, Buffer.from([10, 200, 30])),
    });
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'green.png', mimeType: 'image/png', buffer: png });
    await page.waitForFunction(() => {
      const canvas = document.querySelector<HTMLCanvasElement>('.x-start canvas')!;
      return (
        canvas.getContext('2d')!.getImageData(5, 5, 1, 1).data.slice(0, 3).join() === '10,200,30'
      );
    });
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: Buffer.from('no image') });
    await page.getByText('The browser can not read that image.').waitFor();
    await page.getByText('Draw', { exact: true }).click();
    const box = (await page.getByRole('img', { name: /^Drawing canvas/ }).boundingBox())!;
    await page.mouse.move(box.x + 20, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 20, box.y + box.height / 2, { steps: 5 });
    await page.mouse.up();
    const drawn = await pixels(page, /^x₀/);
    const middle = 4 * (32 * 64 + 32);
    assert.deepEqual(drawn.slice(middle, middle + 3), [0x23, 0x52, 0xcc]);
    assert.deepEqual(drawn.slice(0, 3), [255, 255, 255]);
    await page.context().close();
  });
});
