// The studio and a real server: what a mock can't tell. tests/e2e/serve_page_test.py starts the server.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { checkAccess } from '../access.ts';
import {
  Bench,
  compared,
  done,
  enterKey,
  generate,
  picture,
  setSteps,
  widthOf,
} from '../support.ts';
import { key, openWithKey, origin, whileItStands } from './server.ts';

const bench = new Bench(origin);
before(() => bench.start());
after(() => bench.stop());
afterEach(() => assert.deepEqual(bench.problems.splice(0), []));

/** Presses Tab until `target` has the focus. */
async function tabTo(page: Page, target: Locator) {
  for (let presses = 0; presses < 60; ++presses) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`Tab does not lead to ${target}`);
}

/** Many enough that a job is there to be watched or cancelled: heun on karras levels takes any number of steps. */
async function chooseLongRun(page: Page) {
  await page.getByLabel('Noise levels').selectOption('karras');
  await setSteps(page, 1000);
}

describe('the studio of a real server', () => {
  it('draws images that are still there after a reload', async () => {
    const page = await openWithKey(bench);
    await setSteps(page, 12);
    await generate(page);
    await done(page);
    await page.waitForURL(/job=/);
    await page.reload();
    await done(page);
    await page
      .getByRole('button', { name: /^Details: seed/ })
      .first()
      .click();
    await page.getByRole('dialog').waitFor();
    await page.context().close();
  });

  it('cancels', async () => {
    const page = await openWithKey(bench);
    await chooseLongRun(page);
    await generate(page);
    await page.getByText(/Step \d+ of/).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('Cancelled', { exact: true }).waitFor();
    await page.context().close();
  });

  it("shows the server's sentence beside the field that it names", async () => {
    const page = await openWithKey(bench);
    await setSteps(page, 400); // the model has 50 timesteps
    await generate(page);
    await page.waitForFunction(() => document.activeElement?.id === 'steps');
    assert.equal(await page.locator('#steps').getAttribute('aria-invalid'), 'true');
    await page.context().close();
  });

  it('needs no pointer', async () => {
    const page = await openWithKey(bench);
    await chooseLongRun(page);
    const start = page.getByRole('button', { name: /^Generate/ });
    await tabTo(page, start);
    await page.keyboard.press('Enter');
    await page.getByText(/Step \d+ of/).waitFor();
    await whileItStands(() => tabTo(page, page.getByRole('button', { name: 'Cancel' })));
    await page.keyboard.press('Enter');
    await page.getByText('Cancelled', { exact: true }).waitFor();
    await setSteps(page, 10);
    await page.keyboard.press('Control+Enter');
    await done(page);
    const slider = page.getByRole('slider', { name: 'Moment' });
    await tabTo(page, slider);
    await page.keyboard.press('Home');
    const first = (await slider.getAttribute('aria-valuetext'))!;
    await page.keyboard.press('ArrowRight');
    const second = (await slider.getAttribute('aria-valuetext'))!;
    assert.match(first, /moment 1 of 10$/);
    assert.match(second, /moment 2 of 10$/);
    for (const kind of ['xₜ, the state', 'Predicted noise', 'Predicted x₀']) {
      const frame = picture(page, `${kind}: ${second}`);
      assert.ok((await widthOf(frame)) > 0);
      assert.equal(
        await frame.evaluate((image) => getComputedStyle(image).imageRendering),
        'pixelated',
      );
    }
    const thumb = page.locator('.gallery li button').first();
    await tabTo(page, thumb);
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.ok(
      await thumb.evaluate((element) => element === document.activeElement),
      'focus is back',
    );
    await page.context().close();
  });

  it('is for everyone in each of its states', async () => {
    const page = await bench.open();
    await page.getByLabel('API key').waitFor();
    await checkAccess(page, 'key');
    await enterKey(page, key);
    await checkAccess(page, 'empty');
    await chooseLongRun(page);
    await generate(page);
    await page.getByText(/Step \d+ of/).waitFor();
    await whileItStands(() => checkAccess(page, 'drawing'));
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('Cancelled', { exact: true }).waitFor();
    await page.getByText('Compare two').click();
    await setSteps(page, 5);
    await page.getByRole('button', { name: 'Generate both' }).click();
    await compared(page);
    await checkAccess(page, 'compared');
    await page.locator('.gallery li button').first().click();
    await page.getByRole('dialog').waitFor();
    await checkAccess(page, 'dialog');
    await page.context().close();
  });
});
