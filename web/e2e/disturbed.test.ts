import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import {
  atStep,
  Bench,
  done,
  enterKey,
  generate,
  holdRequests,
  picture,
  setSteps,
  widthOf,
} from './support.ts';

const bench = new Bench();
before(() => bench.start());
after(() => bench.stop());
afterEach(async () => {
  await bench.faults({});
  assert.deepEqual(bench.problems.splice(0), [], 'no error and no breach of the content policy');
});

describe('a run that is disturbed', () => {
  it('is cancelled', async () => {
    await bench.faults({ stepMs: 2, holdStep: 20 });
    const page = await bench.open();
    await generate(page);
    await atStep(page, 20, 50);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('Cancelled', { exact: true }).waitFor();
    await page.getByRole('button', { name: /^Generate/, disabled: false }).waitFor();
    await page.context().close();
  });

  it('goes on after a reload', async () => {
    await bench.faults({ stepMs: 2, holdStep: 20 });
    const page = await bench.open();
    await generate(page);
    await atStep(page, 20, 50);
    await page.reload();
    await atStep(page, 20, 50);
    await page
      .getByRole('img', { name: /being drawn/ })
      .first()
      .waitFor();
    await bench.faults({ stepMs: 2 });
    await done(page);
    await page.reload(); // and is still there when it is finished
    await done(page);
    await page.getByText('4 pictures', { exact: true }).waitFor();
    await page.context().close();
  });

  it('goes on after its stream breaks', async () => {
    await bench.faults({ ahead: 1, holdAhead: 1, queueMs: 5 });
    const page = await bench.open();
    await setSteps(page, 40);
    await Promise.all([page.waitForResponse('**/events'), generate(page)]);
    let lastId = 0;
    for (const step of [10, 20, 30]) {
      await bench.faults({ stepMs: 2, holdStep: step });
      await atStep(page, step, 40); // of which the stream alone tells
      const [again] = await Promise.all([page.waitForRequest('**/events'), bench.cutStreams()]);
      const resumed = Number(again.headers()['last-event-id']);
      assert.ok(resumed > lastId, `${resumed} comes after ${lastId}`);
      lastId = resumed;
    }
    await bench.faults({ stepMs: 2 });
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

/** The server answers again, but not before the button was pressed: the page asks by itself, too. */
async function findAgain(page: Page) {
  const release = await holdRequests(page, '**/v1/**');
  await bench.faults({});
  await Promise.all([
    page.waitForRequest('**/v1/models'),
    page.getByRole('button', { name: 'Try again' }).click(),
  ]);
  await release();
}

describe('the server', () => {
  it('may be away, and is found again', async () => {
    await bench.faults({ down: true });
    const page = await bench.open();
    const gone = page.getByRole('heading', { name: 'The server does not answer.' });
    await gone.waitFor();
    await findAgain(page);
    await page.getByRole('button', { name: /^Generate/ }).waitFor();
    await bench.faults({ down: true });
    await generate(page);
    await gone.waitFor();
    assert.ok(await page.locator('#model').isVisible(), 'the settings stay');
    await findAgain(page);
    await gone.waitFor({ state: 'detached' });
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
    const image = picture(page, /^Image 0,/);
    assert.match((await image.getAttribute('src'))!, /^blob:/);
    assert.equal(await widthOf(image), 32);
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
  it('is asked for the pictures of the gallery where they come near the screen', async () => {
    await bench.faults({ key: 'right', stepMs: 2 });
    const page = await bench.open();
    await page.setViewportSize({ width: 360, height: 400 });
    await enterKey(page, 'right');
    await setSteps(page, 5);
    for (const runs of [1, 2, 3]) {
      await generate(page);
      await page.getByText(`${4 * runs} pictures`, { exact: true }).waitFor();
    }
    await page.evaluate(() => scrollTo(0, 0));
    await page.reload();
    await page.getByText('12 pictures', { exact: true }).waitFor();
    await picture(page, /^Image 3,/).waitFor();
    const places = page.locator('.gallery button:has(> span, > img)');
    assert.equal(await places.count(), 12);
    assert.equal(await page.locator('.gallery img').count(), 0, 'far below');
    await places.last().scrollIntoViewIfNeeded();
    await places.last().locator('img').waitFor();
    await page.context().close();
  });
  it('is asked for a picture once a place, where a key has it fetched', async () => {
    await bench.faults({ key: 'right', stepMs: 2 });
    const page = await bench.open();
    const asked = new Map<string, number>();
    page.on('request', (request) => {
      const url = request.url();
      if (/\/images\/\d+\.png$/.test(url)) asked.set(url, (asked.get(url) ?? 0) + 1);
    });
    await enterKey(page, 'right');
    await setSteps(page, 5);
    for (const runs of [1, 2]) {
      await generate(page);
      await page.getByText(`${4 * runs} pictures`, { exact: true }).waitFor();
      await page
        .locator('.gallery img')
        .nth(4 * runs - 1)
        .waitFor();
      await picture(page, /^Image 3,/).waitFor();
    }
    assert.deepEqual([...asked.values()], Array(8).fill(2), 'the stage and the gallery');
    await page.context().close();
  });
});
