import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Bench, done, generate, setSteps } from './support.ts';

const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), [], 'no error and no breach of the content policy');
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
    await bench.faults({ stepMs: 25 });
    const page = await bench.open();
    await generate(page);
    await page.getByText(/Step \d+ of/).waitFor();
    await page.reload();
    await page
      .getByRole('img', { name: /being drawn/ })
      .first()
      .waitFor();
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
    await page.getByText('Too many steps: expected at most 1000, got 5000').first().waitFor();
    const steps = page.locator('#steps');
    assert.equal(await steps.getAttribute('aria-invalid'), 'true');
    assert.match(
      (await page.locator(`#${await steps.getAttribute('aria-describedby')}`).textContent())!,
      /^Too many steps/,
    );
    await page.waitForFunction(() => document.activeElement?.id === 'steps');
    await page.context().close();
  });

  it('shows refusals that are about no field, and failures of the model', async () => {
    await bench.faults({ maxQueued: 0 });
    const page = await bench.open();
    await generate(page);
    await page
      .getByText('The queue is full: expected at most 0 jobs. Try again in 5 seconds.')
      .first()
      .waitFor();
    await bench.faults({
      stepMs: 2,
      failWith: {
        code: 'non_finite',
        message: 'The network gave a value that is not finite at step 25.',
        field: null,
      },
    });
    await generate(page);
    await page
      .getByText('The network gave a value that is not finite at step 25.')
      .first()
      .waitFor();
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
    await page
      .getByRole('heading', { name: 'The server does not answer.' })
      .waitFor({ state: 'detached' });
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
    assert.ok(
      await image.evaluate((img: HTMLImageElement) =>
        img.decode().then(() => img.naturalWidth === 32),
      ),
    );
    await page.reload();
    await done(page);
    assert.equal(
      await page.evaluate(() => Object.values(localStorage).join().includes('right')),
      false,
    );
    await page.getByRole('button', { name: 'Forget the key' }).click();
    await page.getByLabel('API key').waitFor();
    await page.context().close();
  });
});
