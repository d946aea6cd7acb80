// A job that waits for a full server. Every state stays until the test lets another job go.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Bench, done, generate, setSteps } from '../support.ts';
import { cancelJob, openWithKey, origin, submitLong, waitForState } from './server.ts';

/** Images that an engine has in flight at once: EngineOptions::max_in_flight. */
const kInFlight = 256;

const bench = new Bench(origin);
before(() => bench.start());
after(() => bench.stop());
afterEach(() => assert.deepEqual(bench.problems.splice(0), []));

describe('a full server', () => {
  const jobs: string[] = [];
  const submit = async () => jobs[jobs.push(await submitLong()) - 1]!;
  after(async () => {
    for (const job of jobs) await cancelJob(job);
  });

  it('has a job wait, says where it is in line, and draws it in its turn', async () => {
    const page = await openWithKey(bench);
    await setSteps(page, 10);
    for (let place = 0; place < kInFlight; ++place) await submit();
    const drawn = [...jobs];
    for (const job of drawn) await waitForState(job, 'running');
    const waiting = [await submit(), await submit()];
    await generate(page);
    for (const [place, words] of ['3rd in line', '2nd in line', 'next in line'].entries()) {
      await page.getByText(`Queued: ${words}`, { exact: true }).waitFor();
      if (place < 2) await page.getByText(`In the queue, ${words}.`, { exact: true }).waitFor();
      assert.equal(await page.getByRole('progressbar').getAttribute('value'), null);
      await cancelJob(drawn[place]!);
      if (place < 2) await waitForState(waiting[place]!, 'running');
    }
    await page.getByText(/^Queued/).waitFor({ state: 'detached' }); // its first image is drawn
    for (const job of jobs.splice(0)) await cancelJob(job);
    await done(page);
    await page.getByText('4 pictures', { exact: true }).waitFor();
    await page.context().close();
  });
});
