/** What is told to everyone: a sentence that is shown for a while, and one for screen readers. */

export interface Notice {
  text: string;
  kind: 'info' | 'error';
}

const kShownMs = 6000;

class Notices {
  shown = $state<Notice | null>(null);
  spoken = $state('');
  private timer: ReturnType<typeof setTimeout> | undefined;

  show(text: string, kind: Notice['kind'] = 'info'): void {
    this.shown = { text, kind };
    clearTimeout(this.timer);
    if (kind === 'info') this.timer = setTimeout(() => this.dismiss(), kShownMs);
  }

  dismiss(): void {
    this.shown = null;
  }

  /** Says `text` to screen readers alone, also when it is said twice in a row. */
  say(text: string): void {
    this.spoken = this.spoken === text ? `${text}\u00a0` : text;
  }
}

export const notices = new Notices();
