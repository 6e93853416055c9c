/** How far the evaluator is: the server's counts, counted on here in between. */

const READ_EVERY_MS = 30_000;
const number = new Intl.NumberFormat('en');

export class Progress {
  #counts = null;
  /** Ratings given since the counts were read. */
  #given = 0;

  /** @param {{api: import('./api.js').Api, path: string, refs: object, isSettled: () => boolean}} options */
  constructor(options) {
    Object.assign(this, options);
  }

  start() {
    this.#read();
    setInterval(() => document.visibilityState === 'visible' && this.isSettled() && this.#read(), READ_EVERY_MS);
  }

  /** @param {1|-1} step a rating given, or one withdrawn */
  count(step) {
    this.#given += step;
    this.#show();
  }

  async #read() {
    const before = this.#given;
    const counts = await this.api.get(`${this.path}/progress/`).catch(() => null);
    if (!counts) return;
    this.#counts = counts;
    this.#given -= before;
    this.#show();
  }

  #show() {
    if (!this.#counts) return;
    const { due, due_is_capped: isCapped, pace_per_hour: pace, rated_by_me: mine } = this.#counts;
    const left = Math.max(0, due - this.#given);
    const plus = (count) => number.format(Math.max(0, count + this.#given));
    const parts = [
      `${plus(this.#counts.rated_by_me_today)} today`,
      ...(pace === null ? [] : [`${plus(pace)} per hour`]),
      isCapped ? `over ${number.format(due)} due` : `${number.format(left)} due`,
    ];
    const { progress, progressText, progressBar } = this.refs;
    progress.hidden = false;
    progressText.textContent = parts.join(' · ');
    progressBar.hidden = Boolean(isCapped);
    progressBar.max = Math.max(1, mine + this.#given + left);
    progressBar.value = Math.max(0, mine + this.#given);
  }
}
