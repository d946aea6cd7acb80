import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { readPngText } from '../src/lib/png/chunks.ts';
import { Bench, done, generate, setSteps } from './support.ts';

const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), [], 'no error and no breach of the content policy');
});

const textOf = async (page: Page, url: string) =>
  readPngText(new Uint8Array(await (await page.request.get(bench.origin + url)).body()));

describe('comparing', () => {
  it('draws two settings on the same seeds, side by side', async () => {
    await bench.faults({ stepMs: 3 });
    const page = await bench.open();
    await page.getByText('Compare two').click();
    await page.getByText('Side B').click();
    await page.getByLabel('Sampler').selectOption('dpmpp_2m');
    await setSteps(page, 8);
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page
      .getByText(/differ by [\d.]+ %/)
      .nth(3)
      .waitFor();
    assert.ok(await page.getByText('DDIM · 50 steps').isVisible());
    assert.ok(await page.getByText('DPM-Solver++ 2M · 8 steps').isVisible());
    const urls = await page
      .getByRole('img', { name: /^Image 1,/ })
      .evaluateAll((images) => images.map((i) => i.getAttribute('src')!));
    assert.equal(urls.length, 2);
    const [a, b] = await Promise.all(urls.map((url) => textOf(page, url)));
    assert.equal(a!.get('ddpm.seed'), b!.get('ddpm.seed'));
    assert.deepEqual([a!.get('ddpm.sampler'), b!.get('ddpm.sampler')], ['ddim', 'dpmpp_2m']);
    await page.reload();
    await page
      .getByText(/differ by [\d.]+ %/)
      .nth(3)
      .waitFor();
    await page.context().close();
  });

  it('shows the error of the side that it is about, and runs neither', async () => {
    const page = await bench.open();
    await page.getByText('Compare two').click();
    await page.getByText('Side B').click();
    await setSteps(page, 5000);
    await page.getByText('Side A').click();
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page.waitForFunction(() => document.activeElement?.id === 'steps');
    assert.ok(await page.getByRole('radio', { name: 'Side B' }).isChecked());
    assert.equal(await page.getByRole('progressbar').count(), 0);
    await page.context().close();
  });
});

describe('restoring', () => {
  const drop = (page: Page, bytes: number[], name: string) =>
    page.evaluate(
      ([data, fileName]) => {
        const transfer = new DataTransfer();
        transfer.items.add(
          new File([Uint8Array.from(data as number[])], fileName as string, { type: 'image/png' }),
        );
        window.dispatchEvent(
          new DragEvent('dragover', { dataTransfer: transfer, cancelable: true }),
        );
        window.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, cancelable: true }));
      },
      [bytes, name] as const,
    );

  it('takes the settings from a dropped picture', async () => {
    await bench.faults({ stepMs: 2 });
    const page = await bench.open();
    await page.getByLabel('Model').selectOption('fashion_mnist');
    await page.getByText('trouser', { exact: true }).click();
    await page.getByLabel('Sampler').selectOption('unipc');
    await page.locator('#guidance').fill('3');
    await setSteps(page, 9);
    await generate(page);
    await done(page);
    const url = (await page.getByRole('img', { name: /^Image 3,/ }).getAttribute('src'))!;
    const bytes = [...(await (await page.request.get(bench.origin + url)).body())];
    const seed = await page.locator('#seed').inputValue();
    await page.context().close();

    const fresh = await bench.open();
    await fresh.getByRole('button', { name: /^Generate/ }).waitFor();
    await drop(fresh, bytes, 'x.png');
    await fresh.getByText('Settings restored.', { exact: true }).waitFor();
    assert.equal(await fresh.getByLabel('Model').inputValue(), 'fashion_mnist');
    assert.ok(await fresh.getByRole('radio', { name: 'trouser' }).isChecked());
    assert.equal(await fresh.getByLabel('Sampler').inputValue(), 'unipc');
    assert.equal(await fresh.locator('#steps').inputValue(), '9');
    assert.equal(await fresh.locator('#guidance').inputValue(), '3');
    assert.equal(await fresh.locator('#seed').inputValue(), seed);
    await generate(fresh);
    await done(fresh);
    const again = await fresh.request.get(
      bench.origin + (await fresh.getByRole('img', { name: /^Image 0,/ }).getAttribute('src'))!,
    );
    // The files differ in ddpm.first_image alone: the pictures are the same.
    const data = (file: number[]) =>
      Buffer.from(file).subarray(Buffer.from(file).indexOf('IDAT')).toString('hex');
    assert.equal(data([...(await again.body())]), data(bytes));
    await fresh.context().close();
  });

  it('says why a file restores nothing', async () => {
    const page = await bench.open();
    await page.getByRole('button', { name: /^Generate/ }).waitFor();
    await drop(page, [1, 2, 3], 'x.png');
    await page.getByText('That is not a PNG file.').waitFor();
    await page.locator('input[type=file]').setInputFiles({
      name: 'y.png',
      mimeType: 'image/png',
      buffer: Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0]),
    });
    await page.getByText('That PNG file is damaged.').waitFor();
    await page.context().close();
  });
});
