// Pictures of the page for people to look at: `node --import tsx e2e/screenshots.ts FOLDER`.
import { Bench } from './support.ts';

const folder = process.argv[2] ?? 'screenshots';
const kSizes = [
  { name: '360', width: 360, height: 740, deviceScaleFactor: 2 },
  { name: '1280', width: 1280, height: 860, deviceScaleFactor: 1 },
  { name: '3840', width: 3840, height: 2160, deviceScaleFactor: 1 },
];

const bench = new Bench();
await bench.start();
await bench.faults({ stepMs: 30 });
const only = process.argv[3];
for (const { name, width, height, deviceScaleFactor } of kSizes) {
  for (const colorScheme of ['light', 'dark'] as const) {
    if (only && !`${name}-${colorScheme}`.startsWith(only)) continue;
    const page = await bench.open('#/studio', {
      viewport: { width, height },
      deviceScaleFactor,
      colorScheme,
    });
    const shoot = async (what: string, fullPage = false) => {
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: `${folder}/${name}-${colorScheme}-${what}.png`, fullPage });
    };
    await page.getByRole('button', { name: 'Generate' }).waitFor();
    await shoot('1-empty');
    await page.getByRole('button', { name: 'Generate' }).click();
    await page.getByText(/Step (1[5-9]|[23]\d) of/).waitFor();
    await shoot('2-drawing');
    await page.getByText(/images in/).waitFor();
    await page.getByRole('slider', { name: 'Moment' }).fill('5');
    await shoot('3-done', true);
    await page
      .getByRole('button', { name: /^Details: seed/ })
      .first()
      .click();
    await page.getByRole('dialog').waitFor();
    await page.waitForTimeout(200);
    await shoot('4-dialog');
    await page.keyboard.press('Escape');
    await page.getByText('Compare two').click();
    await page.getByLabel('Sampler').selectOption('dpmpp_2m');
    await page.getByText('Side B').click();
    await page.getByLabel('Sampler').selectOption('ddpm');
    await page
      .getByRole('textbox', { name: 'Steps' })
      .or(page.locator('#steps'))
      .first()
      .fill('20');
    await page.locator('#steps').press('Enter');
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page
      .getByText(/differ by|identical/)
      .nth(3)
      .waitFor();
    await shoot('5-compare', true);
    await page.goto(bench.origin + '/#/forward');
    await page.getByRole('heading', { name: 'The forward process' }).waitFor();
    await shoot('6-forward', true);
    await page.context().close();
  }
}
await bench.stop();
console.log(bench.problems.length ? bench.problems : 'no problems');
