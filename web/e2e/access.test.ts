import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, afterEach, before, describe, it } from 'node:test';
import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { Bench } from './support.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), []);
});

/** No rule of WCAG 2.2 AA nor of good practice is broken. */
async function check(page: Page, what: string) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const { violations } = await (
      window as unknown as { axe: typeof import('axe-core') }
    ).axe.run();
    return violations.map(
      ({ id, impact, nodes }) =>
        `${impact} ${id}: ${nodes
          .map((n) => n.target.join(' '))
          .join(', ')
          .slice(0, 300)}`,
    );
  });
  assert.deepEqual(violations, [], what);
}

async function noOverflow(page: Page, what: string) {
  const [content, view] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    innerWidth,
  ]);
  assert.ok(content! <= view!, `${what}: ${content} > ${view}`);
}

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [360, 1280]) {
    describe(`in ${colorScheme}, ${width} px wide, everyone can use`, () => {
      const options = { colorScheme, viewport: { width, height: 800 } };

      it('the studio', async () => {
        await bench.faults({ stepMs: 15 });
        const page = await bench.open('#/studio', options);
        await page.getByText('More options').click();
        await check(page, 'empty');
        await noOverflow(page, 'empty');
        await page.getByText('More options').click();
        await page.getByRole('button', { name: /^Generate/ }).click();
        await page.getByText(/Step \d+ of/).waitFor();
        await check(page, 'drawing');
        await page.getByText(/images in/).waitFor();
        await check(page, 'done');
        await noOverflow(page, 'done');
        await page
          .getByRole('button', { name: /^Details: seed/ })
          .first()
          .click();
        await check(page, 'dialog');
        await noOverflow(page, 'dialog');
        await page.keyboard.press('Escape');
        await page.locator('#seed').fill('x');
        await page.getByText('Compare two').click();
        await check(page, 'compare, with an error');
        await noOverflow(page, 'compare');
        await page.context().close();
      });

      it('the comparison, the key and the way back', async () => {
        await bench.faults({ stepMs: 2 });
        const page = await bench.open('#/studio', options);
        await page.getByText('Compare two').click();
        await page.getByRole('button', { name: 'Generate both' }).click();
        await page
          .getByText(/identical|differ by/)
          .nth(3)
          .waitFor();
        await check(page, 'compared');
        await noOverflow(page, 'compared');
        await bench.faults({ key: 'k' });
        await page.reload();
        await page.getByLabel('API key').fill('x');
        await page.keyboard.press('Enter');
        await page.getByText('The server refused this key.').waitFor();
        await check(page, 'key');
        await bench.faults({ down: true });
        await page.reload();
        await page.getByRole('heading', { name: 'The server does not answer.' }).waitFor();
        await check(page, 'offline');
        await page.context().close();
      });

      it('the forward process', async () => {
        const page = await bench.open('#/forward', options);
        await page.getByRole('heading', { name: 'The forward process' }).waitFor();
        await check(page, 'sample');
        await page.getByText('Draw', { exact: true }).click();
        await check(page, 'draw');
        await noOverflow(page, 'draw');
        await page.context().close();
      });
    });
  }
}

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
