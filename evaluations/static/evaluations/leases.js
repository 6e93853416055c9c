/** Keeps the leases of an evaluator at work alive, and gives back what they leave unseen. */

const BEAT_MS = 45_000;
/** Whoever has not touched the page for this long is away: what they hold lapses and goes to others. */
const AWAY_MS = 10 * 60_000;

export class Leases {
  #lastActivity = Date.now();
  #lastBeat = Date.now();

  /**
   * @param {{api: import('./api.js').Api, queue: string, items: import('./items.js').Items,
   *   hasDraft: (item: import('./items.js').Item) => boolean, onLost: () => void}} options
   */
  constructor(options) {
    Object.assign(this, options);
    this.path = `review-queues/${this.queue}`;
  }

  start() {
    setInterval(() => this.#beat(), BEAT_MS);
    for (const type of ['keydown', 'pointerdown', 'wheel']) {
      document.addEventListener(type, () => this.#active(), { passive: true });
    }
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#active();
    });
    window.addEventListener('pagehide', () => this.#giveBack());
    // A page from the browser's back/forward cache has given its items back.
    window.addEventListener('pageshow', (event) => event.persisted && location.reload());
  }

  #active() {
    this.#lastActivity = Date.now();
    if (Date.now() - this.#lastBeat > BEAT_MS + 5_000) this.#beat();
  }

  async #beat() {
    const assignments = this.items.heldIds();
    if (Date.now() - this.#lastActivity > AWAY_MS || assignments.length === 0) return;
    this.#lastBeat = Date.now();
    const { current } = this.items;
    const shown = current && assignments.includes(current.id) ? current.id : null;
    try {
      const { lost } = await this.api.post(`${this.path}/heartbeat/`, { assignments, shown });
      if (lost.length > 0) {
        this.items.lose(lost);
        this.onLost();
      }
    } catch {
      // The next beat is soon enough; leases outlast three.
    }
  }

  /** The item on screen and those with a note stay ours for a reload; their leases lapse by themselves. */
  #giveBack() {
    const held = new Set(this.items.heldIds());
    const unseen = this.items.list.filter(
      (item) => held.has(item.id) && item !== this.items.current && !this.hasDraft(item),
    );
    if (unseen.length === 0) return;
    const assignments = unseen.map((item) => item.id);
    this.api.post(`${this.path}/return/`, { assignments }, { keepalive: true }).catch(() => {});
  }
}
