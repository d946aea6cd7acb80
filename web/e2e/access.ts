// axe-core and what is cut off, in every width and colour.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** Rules that the colours decide; all others have the same answer in light and dark. */
const kColourRules = ['color-contrast', 'link-in-text-block'];
const kVariants = [360, 1280].flatMap((width) => [
  { width, colorScheme: 'light' as const, rules: [] },
  { width, colorScheme: 'dark' as const, rules: kColourRules },
]);

/** In both widths and colours: no rule of WCAG 2.2 AA nor of good practice is broken, and nothing is cut off at the right. */
export async function checkAccess(page: Page, what: string) {
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
