import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import {
  chromium,
  type Browser,
  type BrowserContextOptions,
  type Locator,
  type Page,
} from 'playwright-core';
import { makeServer } from '../mock/server.mjs';

export interface Faults {
  stepMs?: number;
  ahead?: number;
  queueMs?: number;
  key?: string;
  down?: boolean;
  maxQueued?: number;
  /** A job stays so many places from the front of the queue while this is set. */
  holdAhead?: number;
  /** A job that reaches this step stays there while this is set. */
  holdStep?: number;
  failWith?: { code: string; message: string; field: string | null };
}

const kBrowsers = [
  process.env['CHROMIUM'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];

/** A browser, and a mock server of its own unless one is given; pages fail the test on errors and on breaches of the content policy. */
export class Bench {
  readonly problems: string[] = [];
  private server = makeServer();
  private browser!: Browser;

  constructor(public origin = '') {}

  async start() {
    if (!this.origin) {
      await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
      this.origin = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    }
    const executablePath = kBrowsers.find((path) => path && existsSync(path));
    if (!executablePath)
      throw new Error('no Chromium here: install chromium, or name one in CHROMIUM');
    this.browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--disable-gpu'],
    });
  }

  async stop() {
    await this.browser?.close();
    this.server.closeAllConnections();
    this.server.close();
  }

  /** Sets the mock's faults; those that are not named are off. */
  async faults(faults: Faults) {
    await fetch(`${this.origin}/mock/control`, { method: 'POST', body: JSON.stringify(faults) });
  }

  /** Breaks the mock's streams of events. What the page has not read by then is lost: Chromium drops it. */
  async cutStreams() {
    await fetch(`${this.origin}/mock/cut`, { method: 'POST' });
  }

  async open(hash = '#/studio', options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({
      viewport: { width: 1280, height: 900 },
      reducedMotion: 'reduce',
      ...options,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    page.on('pageerror', (error) => this.problems.push(`error: ${error.message}`));
    page.on('console', (message) => {
      const text = message.text();
      if (message.type() === 'error' && !text.startsWith('Failed to load resource'))
        this.problems.push(`console: ${text}`);
    });
    await page.goto(this.origin + '/' + hash);
    return page;
  }
}

export const generate = (page: Page) => page.getByRole('button', { name: /^Generate/ }).click();

export async function setSteps(page: Page, steps: number) {
  await page.locator('#steps').fill(String(steps));
  await page.locator('#steps').press('Tab');
}

/** Gives the key that the page asks for; `asked` runs while it asks. */
export async function enterKey(page: Page, key: string, asked?: () => Promise<void>) {
  await page.getByLabel('API key').waitFor();
  await asked?.();
  await page.getByLabel('API key').fill(key);
  await page.getByLabel('API key').press('Enter');
  await page.getByRole('button', { name: /^Generate/ }).waitFor();
}

/** Until the images of a run are there. */
export const done = (page: Page) =>
  page
    .getByText(/\d images? in [\d.]+ s/)
    .first()
    .waitFor();

/** Until both sides of a comparison's four pairs are there. */
export const compared = (page: Page) =>
  page
    .getByText(/identical|differ by/)
    .nth(3)
    .waitFor();

/** Until a job has come to a step. It stays there only if it is held. */
export const atStep = (page: Page, step: number, steps: number) =>
  page.getByText(`Step ${step} of ${steps}`, { exact: true }).waitFor();

/** The picture of this name as an <img>: before it is fetched with a key, another element has its name. */
export const picture = (page: Page, name: string | RegExp): Locator =>
  page.getByRole('img', { name }).and(page.locator('img'));

/** Until an <img> is loaded: how wide its picture is. */
export const widthOf = (image: Locator) =>
  image.evaluate((img: HTMLImageElement) => img.decode().then(() => img.naturalWidth));

/** Holds the page's requests of this URL back, until the function that it gives is called. */
export async function holdRequests(page: Page, url: string | RegExp): Promise<() => Promise<void>> {
  let open!: () => void;
  const gate = new Promise<void>((resolve) => (open = resolve));
  await page.route(url, async (route) => {
    await gate;
    await route.continue();
  });
  return async () => {
    open();
    await page.unrouteAll({ behavior: 'wait' });
  };
}
