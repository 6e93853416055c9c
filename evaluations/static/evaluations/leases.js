/** Keeps the leases of an evaluator at work alive, and gives back what they leave unseen. */

const BEAT_MS = 45_000;
/** Whoever has not touched the page for this long is away: their leases lapse. */
const AWAY_MS = 10 * 60_000;

export class Leases {
  #lastActivity = Date.now();
  #lastBeat = Date.now();

  /**
   * @param {{api: import('./api.js').Api, items: import('./items.js').Items, onLost: () => void,
   *   hasDraft: (item: import('./items.js').Item) => boolean}} options
   */
  constructor(options) {
    Object.assign(this, options);
  }

  start() {
    setInterval(() => this.#beat(), BEAT_MS);
    for (const type of ['keydown', 'pointerdown', 'wheel', 'visibilitychange']) {
      document.addEventListener(type, () => this.#noteActivity(), { passive: true });
    }
    window.addEventListener('pagehide', () => this.#giveBack());
    // A page out of the browser's back/forward cache has given its items back.
    window.addEventListener('pageshow', (event) => event.persisted && location.reload());
  }

  #noteActivity() {
    this.#lastActivity = Date.now();
    if (this.#lastActivity - this.#lastBeat > BEAT_MS + 5_000) this.#beat();
  }

  async #beat() {
    const { held, current, path } = this.items;
    if (Date.now() - this.#lastActivity > AWAY_MS || held.length === 0) return;
    this.#lastBeat = Date.now();
    const body = { assignments: held.map(({ id }) => id), shown: held.includes(current) ? current.id : null };
    // Without an answer the next beat is soon enough: leases outlast three.
    const answer = await this.api.post(`${path}/heartbeat/`, body).catch(() => null);
    if (!answer?.lost.length) return;
    this.items.lose(answer.lost);
    this.onLost();
  }

  /** The item on screen and those with a note stay ours for a reload. */
  #giveBack() {
    const { held, current, path } = this.items;
    const unseen = held.filter((item) => item !== current && !this.hasDraft(item));
    if (unseen.length === 0) return;
    this.api.post(`${path}/return/`, { assignments: unseen.map(({ id }) => id) }, true).catch(() => {});
  }
}
