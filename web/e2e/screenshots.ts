// Pictures of the page for people to look at: `node --import tsx e2e/screenshots.ts FOLDER [360-dark]`, of the mock or,
// where DDPM_SERVER names one (its key in DDPM_KEY), of a real server.
import { atStep, Bench, enterKey, setSteps } from './support.ts';

const folder = process.argv[2] ?? 'screenshots';
const only = process.argv[3] ?? '';
const server = process.env['DDPM_SERVER'] ?? '';
const key = process.env['DDPM_KEY'] ?? '';
const kSizes = [
  { name: '360', width: 360, height: 740, deviceScaleFactor: 2 },
  { name: '1280', width: 1280, height: 860, deviceScaleFactor: 1 },
  { name: '3840', width: 3840, height: 2160, deviceScaleFactor: 1 },
];

const bench = new Bench(server);
await bench.start();
for (const { name, width, height, deviceScaleFactor } of kSizes) {
  for (const colorScheme of ['light', 'dark'] as const) {
    if (!`${name}-${colorScheme}`.startsWith(only)) continue;
    const options = { viewport: { width, height }, deviceScaleFactor, colorScheme };
    const page = await bench.open('#/studio', options);
    const shoot = async (what: string, fullPage = false, top = true) => {
      if (top) await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: `${folder}/${name}-${colorScheme}-${what}.png`, fullPage });
    };
    if (key) await enterKey(page, key, () => shoot('0-key'));
    await page.getByRole('button', { name: 'Generate' }).waitFor();
    await shoot('1-empty');
    await page.getByText('More options').click();
    await shoot('1-options', true);
    await page.getByText('More options').click();
    await setSteps(page, server ? 200 : 50); // long enough to be caught
    if (!server) await bench.faults({ stepMs: 5, holdStep: 30 });
    await page.getByRole('button', { name: 'Generate' }).click();
    if (server) await page.getByText(/Step (1[5-9]|[2-9]\d|1[0-4]\d) of/).waitFor();
    else await atStep(page, 30, 50);
    await shoot('2-drawing', false, false);
    if (!server) await bench.faults({ stepMs: 5 });
    await page.getByText(/images in/).waitFor();
    const moment = page.getByRole('slider', { name: 'Moment' });
    await moment.waitFor();
    await moment.fill('9');
    await shoot('3-done', true);
    await page.locator('.gallery').scrollIntoViewIfNeeded();
    await shoot('3-gallery', false, false);
    await page
      .getByRole('button', { name: /^Details: seed/ })
      .first()
      .click();
    await page.getByRole('dialog').waitFor();
    await page.getByRole('dialog').getByText('Python', { exact: true }).click();
    await page.evaluate(() => Promise.all(document.getAnimations().map((a) => a.finished)));
    await shoot('4-dialog');
    await page.keyboard.press('Escape');
    await page.getByText('Compare two').click();
    await page.getByLabel('Sampler').selectOption('dpmpp_2m');
    await page.getByText('Side B').click();
    await page.getByLabel('Sampler').selectOption('ddpm');
    await page.locator('#steps').fill('20');
    await page.locator('#steps').press('Enter');
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page
      .getByText(/differ by|identical/)
      .nth(3)
      .waitFor();
    await shoot('5-compare', true);
    await page.locator('#seed').fill('seven');
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page.getByText(/A seed is a whole number/).waitFor();
    await shoot('6-error', false, false);
    await page.route('**/v1/**', (route) => route.abort());
    await page.locator('#seed').fill('7');
    await page.getByRole('button', { name: 'Generate both' }).click();
    await page.getByRole('heading', { name: 'The server does not answer.' }).waitFor();
    await shoot('7-gone');
    await page.goto(bench.origin + '/#/forward');
    await page.getByRole('heading', { name: 'The forward process' }).waitFor();
    await shoot('8-forward', true);
    await page.context().close();
  }
}
await bench.stop();
console.log(bench.problems.length ? bench.problems : 'no problems');
