import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, afterEach, before, describe, it } from 'node:test';
import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { Bench, done, enterKey, generate } from './support.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), []);
});

/** Rules that the colours decide; all others have the same answer in light and dark. */
const kColourRules = ['color-contrast', 'link-in-text-block'];
const kVariants = [360, 1280].flatMap((width) => [
  { width, colorScheme: 'light' as const, rules: [] },
  { width, colorScheme: 'dark' as const, rules: kColourRules },
]);

/** In both widths and colours: no rule of WCAG 2.2 AA nor of good practice is broken, and nothing is cut off at the right. */
async function check(page: Page, what: string) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe);
  for (const { width, colorScheme, rules } of kVariants) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 800 });
    const { violations, content } = await page.evaluate(async (only) => {
      const { violations } = await (
        window as unknown as { axe: typeof import('axe-core') }
      ).axe.run({
        resultTypes: ['violations'],
        preload: false,
        ...(only.length > 0 && { runOnly: only }),
      });
      return { violations, content: document.documentElement.scrollWidth };
    }, rules);
    const where = `${what}, ${colorScheme}, ${width} px`;
    const found = violations.map(
      ({ id, impact, nodes }) =>
        `${impact} ${id}: ${nodes
          .map((n) => n.target.join(' '))
          .join(', ')
          .slice(0, 300)}`,
    );
    assert.deepEqual(found, [], where);
    assert.ok(content <= width, `${where}: ${content} px of content`);
  }
}

describe('everyone can use', () => {
  it('the studio', async () => {
    await bench.faults({ stepMs: 400 });
    const page = await bench.open();
    await page.getByText('More options').click();
    await check(page, 'empty');
    await page.getByText('More options').click();
    await generate(page);
    await page.getByText(/Step \d+ of/).waitFor();
    await check(page, 'drawing');
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('Cancelled', { exact: true }).waitFor();
    await check(page, 'cancelled');
    await bench.faults({ stepMs: 2 });
    await generate(page);
    await done(page);
    await check(page, 'done');
    await page
      .getByRole('button', { name: /^Details: seed/ })
      .first()
      .click();
    await check(page, 'dialog');
    await page.keyboard.press('Escape');
    await page.locator('#seed').fill('x');
    await page.getByText('Compare two').click();
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page.getByText(/^A seed is/).waitFor();
    await check(page, 'compare, with an error');
    await page.context().close();
  });

  it('the comparison, the key and the way back', async () => {
    await bench.faults({ stepMs: 2 });
    const page = await bench.open();
    await page.getByText('Compare two').click();
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page
      .getByText(/identical|differ by/)
      .nth(3)
      .waitFor();
    await check(page, 'compared');
    await bench.faults({ key: 'k', stepMs: 2 });
    await page.reload();
    await page.getByLabel('API key').fill('x');
    await page.keyboard.press('Enter');
    await page.getByText('The server refused this key.').waitFor();
    await check(page, 'a wrong key');
    await enterKey(page, 'k');
    await check(page, 'with a key');
    await bench.faults({ down: true });
    await page.getByRole('button', { name: /^Generate/ }).click();
    await page.getByRole('heading', { name: 'The server does not answer.' }).waitFor();
    await check(page, 'the server is gone');
    await page.reload();
    await page.getByText('Is ddpm serve running?').waitFor();
    await check(page, 'no server');
    await page.context().close();
  });

  it('the forward process', async () => {
    const page = await bench.open('#/forward');
    await page.getByRole('heading', { name: 'The forward process' }).waitFor();
    await check(page, 'sample');
    await page.getByText('Draw', { exact: true }).click();
    await check(page, 'draw');
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
