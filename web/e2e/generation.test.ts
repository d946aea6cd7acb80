import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { readPngText } from '../src/lib/png/chunks.ts';
import { atStep, Bench, done, generate, picture, setSteps, widthOf } from './support.ts';

const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), [], 'no error and no breach of the content policy');
});

const textOf = async (page: Page, url: string) =>
  readPngText(new Uint8Array(await (await page.request.get(bench.origin + url)).body()));

describe('the models', () => {
  it('are those that draw from noise alone, and a line says where the others are asked', async () => {
    const page = await bench.open();
    await page
      .getByText('Models that enlarge images are asked by POST /v1/edits/superres.')
      .waitFor();
    const offered = await page.getByLabel('Model').locator('option').allTextContents();
    assert.deepEqual(offered, ['shapes', 'fashion_mnist', 'landscapes_64']);
    await page.route('**/v1/models', async (route) => {
      const body = await (await route.fetch()).json();
      const data = body.data.filter((model: { id: string }) => model.id === 'garments_4x');
      await route.fulfill({ json: { ...body, data } });
    });
    await page.reload();
    await page.getByRole('heading', { name: /^This server's models enlarge images/ }).waitFor();
    await page.context().close();
  });
});

describe('a generation', () => {
  it('waits in the queue, is drawn before the eyes and ends in the gallery', async () => {
    const kAhead = { stepMs: 2, ahead: 2, queueMs: 5 };
    await bench.faults({ ...kAhead, holdAhead: 2 });
    const page = await bench.open();
    await page.getByText('star', { exact: true }).click();
    await setSteps(page, 20);
    await generate(page);
    await page.getByText('Queued: 3rd in line').waitFor();
    await bench.faults({ ...kAhead, holdAhead: 1 });
    await page.getByText('Queued: 2nd in line').waitFor();
    await bench.faults({ ...kAhead, holdStep: 5 });
    await atStep(page, 5, 20);
    await page.getByRole('img', { name: 'Image 3 being drawn: predicted x₀' }).waitFor();
    assert.equal(await page.getByRole('progressbar').getAttribute('value'), '0.25');
    const first = await page.getByRole('img', { name: /Image 0 being drawn/ }).getAttribute('src');
    await bench.faults({ ...kAhead, holdStep: 10 });
    await atStep(page, 10, 20);
    await page.waitForFunction(
      (src) => document.querySelector('.picture img')?.getAttribute('src') !== src,
      first,
    );
    await bench.faults({ stepMs: 2 });
    await done(page);
    assert.equal(await page.getByRole('img', { name: /^Image \d, star, of shapes$/ }).count(), 4);
    await page.waitForURL(/#\/studio\?job=[a-z0-9]+$/);
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
      assert.ok((await widthOf(picture(page, `${kind}: t = 916, moment 2 of 12`))) > 0);
    }
    await slider.fill('9');
    await page.getByText('t = 250', { exact: true }).waitFor();
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
    const before = await textOf(
      page,
      (await page.getByRole('img', { name: /^Image 2,/ }).getAttribute('src'))!,
    );
    await page.getByRole('button', { name: 'Again with this seed' }).nth(2).click();
    await page.getByText(/1 image in/).waitFor();
    const again = await textOf(
      page,
      (await page.getByRole('img', { name: /^Image 0,/ }).getAttribute('src'))!,
    );
    for (const key of ['ddpm.seed', 'ddpm.image', 'ddpm.class', 'ddpm.sampler', 'ddpm.steps']) {
      assert.equal(again.get(key), before.get(key), key);
    }
    assert.equal(again.get('ddpm.image'), '2');
    assert.ok(await page.getByText('Begins at image 2 of this seed.').isVisible());
    assert.equal(
      await page.getByRole('button', { name: 'Keep this seed' }).getAttribute('aria-pressed'),
      'true',
    );
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

    await page
      .getByRole('button', { name: /^Details: seed/ })
      .nth(1)
      .click();
    const dialog = page.getByRole('dialog', { name: 'shapes' });
    await dialog.getByText('curl', { exact: true }).click();
    assert.match((await dialog.locator('pre').textContent())!, /"seed":18446744073709551615,/);
    await dialog.getByText('Python', { exact: true }).click();
    assert.match((await dialog.locator('pre').textContent())!, /import requests/);
    await dialog.getByText('ddpm', { exact: true }).click();
    const command =
      'ddpm sample shapes -n 1 --seed 18446744073709551615 --first-image 1 --class square --sampler ddim --steps 5 -o images.png';
    assert.equal(await dialog.locator('pre').textContent(), command);
    await dialog.getByRole('button', { name: 'Next' }).click();
    await dialog.getByText('triangle').first().waitFor();
    await page.keyboard.press('ArrowLeft');
    await dialog.getByText('square').first().waitFor();
    await page.keyboard.press('ArrowRight');
    await dialog.getByText('triangle').first().waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.context().close();
  });

  it('needs no pointer', async () => {
    await bench.faults({ stepMs: 5 });
    const page = await bench.open();
    await page.getByRole('button', { name: /^Generate/ }).waitFor();
    await page.keyboard.press('Tab');
    assert.equal(
      await page.evaluate(() => document.activeElement?.textContent),
      'Skip to the content',
    );
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'model');
    await page.keyboard.press('Control+Enter');
    await done(page);
    await page.context().close();
  });
});

describe('on a phone', () => {
  it('a run brings its images into view', async () => {
    await bench.faults({ stepMs: 2, holdStep: 20 });
    const page = await bench.open('#/studio', { viewport: { width: 360, height: 740 } });
    await generate(page);
    await atStep(page, 20, 50);
    const status = page.getByText('Step 20 of 50');
    await page.waitForFunction(() => scrollY > 300);
    const top = (await status.boundingBox())!.y;
    assert.ok(top > 50 && top < 150, `${top}`);
    await page.context().close();
  });
});

describe('the last run', () => {
  it('is there again after another page', async () => {
    await bench.faults({ stepMs: 2 });
    const page = await bench.open();
    await setSteps(page, 5);
    await generate(page);
    await done(page);
    const url = page.url();
    await page.getByRole('link', { name: 'Forward' }).click();
    await page.getByRole('heading', { name: 'The forward process' }).waitFor();
    await page.getByRole('link', { name: 'Studio', exact: true }).click();
    await done(page);
    await page.waitForURL(url);
    await page.context().close();
  });
});
