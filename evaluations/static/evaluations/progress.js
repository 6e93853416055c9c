/** How far the evaluator is: the server's counts every half minute, counted on here in between. */

const READ_EVERY_MS = 30_000;
const whole = new Intl.NumberFormat('en');

export class Progress {
  #counts = null;
  #unsent = 0;

  /**
   * @param {{api: import('./api.js').Api, queue: string, refs: Record<string, HTMLElement>,
   *   isSettled: () => boolean}} options `isSettled`: the server has all we counted here
   */
  constructor({ api, queue, refs, isSettled }) {
    this.api = api;
    this.isSettled = isSettled;
    this.path = `review-queues/${queue}/progress/`;
    this.refs = refs;
  }

  start() {
    this.#read();
    setInterval(() => {
      if (document.visibilityState === 'visible' && this.isSettled()) this.#read();
    }, READ_EVERY_MS);
  }

  /** @param {1|-1} step a rating given, or one withdrawn */
  count(step) {
    this.#unsent += step;
    this.#show();
  }

  async #read() {
    const before = this.#unsent;
    try {
      this.#counts = await this.api.get(this.path);
    } catch {
      return; // The next reading will do.
    }
    this.#unsent -= before;
    this.#show();
  }

  #show() {
    if (!this.#counts) return;
    const { due, due_is_capped: isCapped, pace_per_hour: pace } = this.#counts;
    const left = Math.max(0, due - this.#unsent);
    const mine = this.#counts.rated_by_me + this.#unsent;
    const parts = [
      `${whole.format(Math.max(0, this.#counts.rated_by_me_today + this.#unsent))} today`,
      pace === null ? '' : `${whole.format(Math.max(0, pace + this.#unsent))} per hour`,
      isCapped ? `over ${whole.format(due)} due` : `${whole.format(left)} due`,
    ];
    this.refs.progress.hidden = false;
    this.refs['progress-text'].textContent = parts.filter(Boolean).join(' · ');
    this.refs['progress-bar'].hidden = Boolean(isCapped);
    this.refs['progress-bar'].max = Math.max(1, mine + left);
    this.refs['progress-bar'].value = Math.max(0, mine);
  }
}
