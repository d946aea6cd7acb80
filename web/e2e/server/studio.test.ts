// The studio and a real server: what a mock can't tell. tests/e2e/serve_page_test.py starts the server.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { Bench, done, generate, setSteps } from '../support.ts';

const server = process.env['DDPM_SERVER'];
const key = process.env['DDPM_KEY'];
if (!server || !key) throw new Error('expected DDPM_SERVER and DDPM_KEY');
const bench = new Bench(server);
before(() => bench.start());
after(() => bench.stop());
afterEach(() => assert.deepEqual(bench.problems.splice(0), []));

/** The page, with the key that it asks for. */
async function openWithKey(): Promise<Page> {
  const page = await bench.open();
  await page.getByLabel('API key').fill(key!);
  await page.getByLabel('API key').press('Enter');
  await page.getByRole('button', { name: /^Generate/ }).waitFor();
  return page;
}

describe('the studio of a real server', () => {
  it('draws images that are still there after a reload', async () => {
    const page = await openWithKey();
    await setSteps(page, 12);
    await generate(page);
    await done(page);
    assert.match(page.url(), /job=/);
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
    const page = await openWithKey();
    await page.locator('#levels, select[id*="levels"]').first().selectOption('karras');
    await setSteps(page, 1000);
    await generate(page);
    await page.getByText(/Step \d+ of/).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('Cancelled', { exact: true }).waitFor();
    await page.context().close();
  });

  it("shows the server's sentence beside the field that it names", async () => {
    const page = await openWithKey();
    await setSteps(page, 400); // the model has 50 timesteps
    await generate(page);
    await page.waitForFunction(() => document.activeElement?.id === 'steps');
    assert.equal(await page.locator('#steps').getAttribute('aria-invalid'), 'true');
    await page.context().close();
  });
});
