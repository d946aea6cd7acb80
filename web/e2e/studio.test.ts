import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { readPngText } from '../src/lib/png/chunks.ts';
import { Bench } from './support.ts';

const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), [], 'no error and no breach of the content policy');
});

const generate = (page: Page) => page.getByRole('button', { name: /^Generate/ }).click();
const setSteps = async (page: Page, steps: number) => {
  await page.locator('#steps').fill(String(steps));
  await page.locator('#steps').press('Tab');
};
const done = (page: Page) => page.getByText(/\d images? in [\d.]+ s/).first().waitFor();
const textOf = async (page: Page, url: string) => readPngText(new Uint8Array(await (await page.request.get(bench.origin + url)).body()));

describe('a generation', () => {
  it('waits in the queue, is drawn before the eyes and ends in the gallery', async () => {
    await bench.faults({ stepMs: 25, ahead: 2, queueMs: 1500 });
    const page = await bench.open();
    await page.getByText('star', { exact: true }).click();
    await setSteps(page, 20);
    await generate(page);
    await page.getByText('Queued: 3rd in line').waitFor();
    await page.getByText('Queued: 2nd in line').waitFor();
    await page.getByRole('img', { name: 'Image 3 being drawn: predicted x₀' }).waitFor();
    const first = await page.getByRole('img', { name: /Image 0 being drawn/ }).getAttribute('src');
    await page.waitForFunction((src) => document.querySelector('.picture img')?.getAttribute('src') !== src, first);
    const fraction = Number(await page.getByRole('progressbar').getAttribute('value'));
    assert.ok(fraction > 0 && fraction < 1, String(fraction));
    await done(page);
    assert.equal(await page.getByRole('img', { name: /^Image \d, star, of shapes$/ }).count(), 4);
    assert.match(page.url(), /#\/studio\?job=[a-z0-9]+$/);
    await page.getByText('4 pictures').waitFor();
    assert.match((await page.getByRole('status').first().textContent())!, /Done: 4 images/);
    await page.context().close();
  });

  it('can be scrubbed through with the keyboard', async () => {
    await bench.faults({ stepMs: 2 });
    const page = await bench.open();
    await setSteps(page, 12);
    await generate(page);
    await done(page);
    const slider = page.getByRole('slider', { name: 'Moment' });
    assert.match((await slider.getAttribute('aria-valuetext'))!, /moment 12 of 12/);
    await slider.press('Home');
    assert.match((await slider.getAttribute('aria-valuetext'))!, /t = 999, moment 1 of 12/);
    await slider.press('ArrowRight');
    for (const kind of ['xₜ, the state', 'Predicted noise', 'Predicted x₀']) {
      const picture = page.getByRole('img', { name: `${kind}: t = 916, moment 2 of 12` });
      assert.equal(await picture.count(), 1);
      assert.ok(await picture.evaluate((img: HTMLImageElement) => img.naturalWidth > 0));
    }
    await page.getByRole('button', { name: 'Play' }).click();
    await page.getByText('t = 83', { exact: true }).waitFor();
    await page.context().close();
  });

  it('gives the same picture again, alone, by its seed', async () => {
    await bench.faults({ stepMs: 2 });
    const page = await bench.open();
    await setSteps(page, 5);
    await generate(page);
    await done(page);
    const before = await textOf(page, (await page.getByRole('img', { name: /^Image 2,/ }).getAttribute('src'))!);
    await page.getByRole('button', { name: 'Again with this seed' }).nth(2).click();
    await page.getByText(/1 image in/).waitFor();
    const again = await textOf(page, (await page.getByRole('img', { name: /^Image 0,/ }).getAttribute('src'))!);
    for (const key of ['ddpm.seed', 'ddpm.image', 'ddpm.class', 'ddpm.sampler', 'ddpm.steps']) {
      assert.equal(again.get(key), before.get(key), key);
    }
    assert.equal(again.get('ddpm.image'), '2');
    assert.ok(await page.getByText('Begins at image 2 of this seed.').isVisible());
    assert.equal(await page.getByRole('button', { name: 'Keep this seed' }).getAttribute('aria-pressed'), 'true');
    await page.context().close();
  });

  it('is downloaded with its text, and copied as commands', async () => {
    await bench.faults({ stepMs: 2 });
    const page = await bench.open();
    await page.locator('#seed').fill('18446744073709551615');
    await setSteps(page, 5);
    await generate(page);
    await done(page);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download PNG' }).first().click(),
    ]);
    assert.equal(download.suggestedFilename(), 'shapes-18446744073709551615-0.png');
    const text = readPngText(new Uint8Array(await readFile(await download.path())));
    assert.equal(text.get('ddpm.seed'), '18446744073709551615');

    await page.getByRole('button', { name: /^Details: seed/ }).nth(1).click();
    const dialog = page.getByRole('dialog', { name: 'shapes' });
    await dialog.getByText('curl', { exact: true }).click();
    assert.match((await dialog.locator('pre').textContent())!, /"seed":18446744073709551615,/);
    await dialog.getByText('Python', { exact: true }).click();
    assert.match((await dialog.locator('pre').textContent())!, /import requests/);
    await dialog.getByText('ddpm', { exact: true }).click();
    const command = 'ddpm sample shapes -n 1 --seed 18446744073709551615 --first-image 1 --class square --sampler ddim --steps 5 -o images.png';
    assert.equal(await dialog.locator('pre').textContent(), command);
    await dialog.getByRole('button', { name: 'Next' }).click();
    await dialog.getByText('triangle').first().waitFor();
    await page.keyboard.press('ArrowLeft');
    await dialog.getByText('square').first().waitFor();
    await page.keyboard.press('ArrowRight');
    await dialog.getByText('triangle').first().waitFor();
    await page.keyboard.press('Escape');
    assert.equal(await page.getByRole('dialog').count(), 0);
    await page.context().close();
  });

  it('needs no pointer', async () => {
    await bench.faults({ stepMs: 5 });
    const page = await bench.open();
    await page.getByRole('button', { name: /^Generate/ }).waitFor();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'model');
    await page.keyboard.press('Control+Enter');
    await done(page);
    await page.context().close();
  });
});

describe('a run that is disturbed', () => {
  it('is cancelled', async () => {
    await bench.faults({ stepMs: 60 });
    const page = await bench.open();
    await generate(page);
    await page.getByText(/Step \d+ of/).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('Cancelled', { exact: true }).waitFor();
    assert.ok(await page.getByRole('button', { name: /^Generate/ }).isEnabled());
    await page.context().close();
  });

  it('goes on after a reload', async () => {
    await bench.faults({ stepMs: 50 });
    const page = await bench.open();
    await generate(page);
    await page.getByText(/Step \d+ of/).waitFor();
    await page.reload();
    await page.getByRole('img', { name: /being drawn/ }).first().waitFor();
    await done(page);
    await page.reload(); // and is still there when it is finished
    await done(page);
    assert.equal(await page.getByText('4 pictures').count(), 1);
    await page.context().close();
  });

  it('goes on after its stream breaks', async () => {
    await bench.faults({ stepMs: 10, cutEventsAfter: 60 });
    const page = await bench.open();
    await setSteps(page, 40);
    await generate(page);
    await done(page);
    await page.context().close();
  });

  it('says that the job is gone', async () => {
    const page = await bench.open('#/studio?job=nosuchjob');
    await page.getByText('This job is no longer on the server.').waitFor();
    await page.getByRole('heading', { name: 'It all begins as noise' }).waitFor();
    await page.context().close();
  });

  it("shows the server's sentence beside the field that it names", async () => {
    const page = await bench.open();
    await setSteps(page, 5000);
    await generate(page);
    await page.getByText('[sampler.steps] too many steps: expected at most 1000, got 5000').first().waitFor();
    const steps = page.locator('#steps');
    assert.equal(await steps.getAttribute('aria-invalid'), 'true');
    assert.match((await page.locator(`#${await steps.getAttribute('aria-describedby')}`).textContent())!, /too many steps/);
    await page.waitForFunction(() => document.activeElement?.id === 'steps');
    await page.context().close();
  });

  it('shows refusals that are about no field, and failures of the model', async () => {
    await bench.faults({ maxQueued: 0 });
    const page = await bench.open();
    await generate(page);
    await page.getByText('The queue is full: expected at most 0 jobs. Try again in 5 seconds.').first().waitFor();
    await bench.faults({ stepMs: 2, failWith: { code: 'non_finite', message: 'The network gave a value that is not finite at step 25.', field: null } });
    await generate(page);
    await page.getByText('The network gave a value that is not finite at step 25.').first().waitFor();
    await page.getByText('Failed', { exact: true }).waitFor();
    await page.context().close();
  });

  it('refuses a seed that is none without asking the server', async () => {
    const page = await bench.open();
    await page.locator('#seed').fill('seven');
    await generate(page);
    await page.getByText('A seed is a whole number from 0 to 18446744073709551615.').waitFor();
    await page.context().close();
  });
});

describe('the server', () => {
  it('may be away, and is found again', async () => {
    await bench.faults({ down: true });
    const page = await bench.open();
    await page.getByRole('heading', { name: 'The server does not answer.' }).waitFor();
    await bench.faults({});
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('button', { name: /^Generate/ }).waitFor();
    await bench.faults({ down: true });
    await generate(page);
    await page.getByRole('heading', { name: 'The server does not answer.' }).waitFor();
    assert.ok(await page.locator('#model').isVisible(), 'the settings stay');
    await bench.faults({});
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('heading', { name: 'The server does not answer.' }).waitFor({ state: 'detached' });
    await page.context().close();
  });

  it('may ask for a key, which lives in the tab', async () => {
    await bench.faults({ key: 'right', stepMs: 2 });
    const page = await bench.open();
    await page.getByLabel('API key').fill('wrong');
    await page.keyboard.press('Enter');
    await page.getByText('The server refused this key.').waitFor();
    await page.getByLabel('API key').fill('right');
    await page.keyboard.press('Enter');
    await setSteps(page, 5);
    await generate(page);
    await done(page);
    const image = page.getByRole('img', { name: /^Image 0,/ });
    assert.match((await image.getAttribute('src'))!, /^blob:/);
    assert.ok(await image.evaluate((img: HTMLImageElement) => img.decode().then(() => img.naturalWidth === 32)));
    await page.reload();
    await done(page);
    assert.equal(await page.evaluate(() => Object.values(localStorage).join().includes('right')), false);
    await page.getByRole('button', { name: 'Forget the key' }).click();
    await page.getByLabel('API key').waitFor();
    await page.context().close();
  });
});

describe('comparing', () => {
  it('draws two settings on the same seeds, side by side', async () => {
    await bench.faults({ stepMs: 3 });
    const page = await bench.open();
    await page.getByText('Compare two').click();
    await page.getByText('Side B').click();
    await page.getByLabel('Sampler').selectOption('dpmpp_2m');
    await setSteps(page, 8);
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page.getByText(/differ by [\d.]+ % on average/).nth(3).waitFor();
    assert.ok(await page.getByText('DDIM · 50 steps').isVisible());
    assert.ok(await page.getByText('DPM-Solver++ 2M · 8 steps').isVisible());
    const urls = await page.getByRole('img', { name: /^Image 1,/ }).evaluateAll((images) => images.map((i) => i.getAttribute('src')!));
    assert.equal(urls.length, 2);
    const [a, b] = await Promise.all(urls.map((url) => textOf(page, url)));
    assert.equal(a!.get('ddpm.seed'), b!.get('ddpm.seed'));
    assert.deepEqual([a!.get('ddpm.sampler'), b!.get('ddpm.sampler')], ['ddim', 'dpmpp_2m']);
    await page.reload();
    await page.getByText(/differ by [\d.]+ % on average/).nth(3).waitFor();
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
        transfer.items.add(new File([Uint8Array.from(data as number[])], fileName as string, { type: 'image/png' }));
        window.dispatchEvent(new DragEvent('dragover', { dataTransfer: transfer, cancelable: true }));
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
    const again = await fresh.request.get(bench.origin + (await fresh.getByRole('img', { name: /^Image 0,/ }).getAttribute('src'))!);
    // The files differ in ddpm.first_image alone: the pictures are the same.
    const data = (file: number[]) => Buffer.from(file).subarray(Buffer.from(file).indexOf('IDAT')).toString('hex');
    assert.equal(data([...(await again.body())]), data(bytes));
    await fresh.context().close();
  });

  it('says why a file restores nothing', async () => {
    const page = await bench.open();
    await page.getByRole('button', { name: /^Generate/ }).waitFor();
    await drop(page, [1, 2, 3], 'x.png');
    await page.getByText('That is not a PNG file.').waitFor();
    await page.locator('input[type=file]').setInputFiles({ name: 'y.png', mimeType: 'image/png', buffer: Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0]) });
    await page.getByText('That PNG file is damaged.').waitFor();
    await page.context().close();
  });
});
