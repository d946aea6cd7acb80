import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { checkAccess } from './access.ts';
import { atStep, Bench, compared, done, enterKey, generate, holdRequests } from './support.ts';

const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), []);
});

describe('everyone can use', () => {
  it('the studio', async () => {
    await bench.faults({ ahead: 2, holdAhead: 2, queueMs: 5 });
    const page = await bench.open();
    await page.getByText('More options').click();
    await checkAccess(page, 'empty');
    await page.getByText('More options').click();
    await generate(page);
    await page.getByText('Queued: 3rd in line').waitFor();
    await checkAccess(page, 'queued');
    await bench.faults({ stepMs: 2, holdStep: 20, queueMs: 5 });
    await atStep(page, 20, 50);
    await checkAccess(page, 'drawing');
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('Cancelled', { exact: true }).waitFor();
    await checkAccess(page, 'cancelled');
    await bench.faults({ stepMs: 2 });
    await generate(page);
    await done(page);
    await checkAccess(page, 'done');
    await page
      .getByRole('button', { name: /^Details: seed/ })
      .first()
      .click();
    await page.getByRole('dialog').waitFor();
    await checkAccess(page, 'dialog');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.locator('#seed').fill('x');
    await page.getByText('Compare two').click();
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page.getByText(/^A seed is/).waitFor();
    await checkAccess(page, 'compare, with an error');
    await page.context().close();
  });

  it('the comparison, the key and the way back', async () => {
    await bench.faults({ stepMs: 2 });
    const page = await bench.open();
    await page.getByText('Compare two').click();
    await page.getByRole('button', { name: 'Generate both' }).click();
    await compared(page);
    await checkAccess(page, 'compared');
    await bench.faults({ key: 'k', stepMs: 2 });
    await page.reload();
    await page.getByLabel('API key').fill('x');
    await page.keyboard.press('Enter');
    await page.getByText('The server refused this key.').waitFor();
    await checkAccess(page, 'a wrong key');
    const release = await holdRequests(page, /\/images\/\d+\.png/);
    await enterKey(page, 'k');
    await page
      .getByRole('img', { name: /^Image 1/ })
      .nth(1)
      .waitFor();
    await checkAccess(page, 'with a key, before the pictures');
    await release();
    await compared(page);
    await checkAccess(page, 'with a key');
    await bench.faults({ down: true });
    await page.getByRole('button', { name: /^Generate/ }).click();
    await page.getByRole('heading', { name: 'The server does not answer.' }).waitFor();
    await checkAccess(page, 'the server is gone');
    await page.reload();
    await page.getByText('Is ddpm serve running?').waitFor();
    await checkAccess(page, 'no server');
    await page.context().close();
  });

  it('the forward process', async () => {
    const page = await bench.open('#/forward');
    await page.getByRole('heading', { name: 'The forward process' }).waitFor();
    await checkAccess(page, 'sample');
    await page.getByText('Draw', { exact: true }).click();
    await page.getByRole('img', { name: /^Drawing canvas/ }).waitFor();
    await checkAccess(page, 'draw');
    await page.context().close();
  });
});

describe('the theme', () => {
  it('follows the system until one is chosen, and is kept', async () => {
    const page = await bench.open('#/studio', { colorScheme: 'dark' });
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await background();
    await page.getByRole('button', { name: 'Colours: As the system' }).click();
    const light = await background();
    assert.notEqual(light, dark);
    await page.reload();
    await page.getByRole('button', { name: 'Colours: Light' }).click();
    assert.equal(await background(), dark);
    await page.context().close();
  });
});
