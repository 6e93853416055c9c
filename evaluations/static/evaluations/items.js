/**
 * The evaluator's own items in the order of their walk: earlier ones from their history, those of this
 * session, and the next ones, claimed and decoded before they are wanted.
 *
 * @typedef {{level: number, note: string, flagged: boolean, surplus?: boolean}} Rating
 *
 * @typedef {object} Item
 * @property {string} id
 * @property {object} assignment as the server sent it
 * @property {'open'|'rated'|'skipped'} state what the evaluator did, sent or not; `rating` likewise
 * @property {Rating|null} rating
 * @property {boolean} isLapsed the lease on it ran out while it was open
 * @property {'idle'|'loading'|'ready'|'broken'} images
 * @property {HTMLImageElement[]} pictures the output, then the inputs
 */

/** Open items wanted beyond the one on screen; each is a lease somebody else waits for. */
const AHEAD = 4;
const BEHIND = 3;
const MOST_HELD = 8;
const IMAGE_RETRY_MS = [500, 2_000, 6_000];

/** Fires `images` (`detail: Item`) when an item's images are decoded or given up. */
export class Items extends EventTarget {
  /** @type {Item[]} */
  list = [];
  index = 0;
  #isRefilling = false;
  /** Asked again while an answer was on its way. */
  #isStale = false;
  /** Where the history goes on; null at its end. */
  #earlier;

  /** @param {{api: import('./api.js').Api, queue: string, pendingIds: () => string[]}} options */
  constructor({ api, queue, pendingIds }) {
    super();
    Object.assign(this, { api, pendingIds, path: `review-queues/${queue}` });
    this.#earlier = `${this.path}/history/`;
  }

  get current() {
    return this.list[this.index];
  }

  find(id) {
    return this.list.find((item) => item.id === id);
  }

  /** @returns {Item[]} leased, with nothing on its way that would change that */
  get held() {
    const pending = this.pendingIds();
    return this.list.filter((item) => isHeld(item) && !pending.includes(item.id));
  }

  /** @returns {Item|undefined} the first open item after the current one, else the first one left behind */
  nextOpen() {
    return this.list.slice(this.index + 1).find(isHeld) ?? this.list.slice(0, this.index).find(isHeld);
  }

  /** @param {Item} [item] becomes the current one; without, we stand behind the last one */
  moveTo(item) {
    this.index = item ? this.list.indexOf(item) : this.list.length;
    if (item?.images === 'broken' && !item.wasShown) release(item);
    if (item) item.wasShown = true;
    this.#prepare();
  }

  /** Claim more when few are left. */
  async refill() {
    const ahead = this.list.slice(this.index + 1).filter(isHeld).length;
    if (ahead > AHEAD - 2) return;
    this.#isStale = this.#isRefilling;
    if (this.#isStale) return;
    this.#isRefilling = true;
    const pending = this.pendingIds();
    const startedAt = performance.now();
    try {
      const wanted = this.list.filter(isHeld).length - ahead + pending.length + AHEAD;
      const answer = await this.api.post(`${this.path}/next/`, { count: Math.min(MOST_HELD, wanted) });
      pending.push(...this.pendingIds());
      for (const assignment of answer.assignments) {
        const known = this.find(assignment.id);
        if (pending.includes(assignment.id)) continue;
        if (!known) this.list.push(toItem(assignment));
        // The answer may be old; a lapsed item may be ours again.
        else if ((known.state !== 'open' || known.isLapsed) && known.changedAt < startedAt) this.confirm(assignment);
      }
      this.#prepare();
    } finally {
      this.#isRefilling = false;
    }
    // Another tab may have freed something since.
    if (this.#isStale) await this.refill();
  }

  /** What is being sent of an item is done to it at once. */
  apply(item, kind, body) {
    const state = { submit: 'rated', skip: 'skipped' }[kind] ?? 'open';
    Object.assign(item, { state, rating: kind === 'submit' ? body : null, changedAt: performance.now() });
  }

  /** Take over what the server says, unless more is on its way there. */
  confirm(assignment) {
    const item = this.find(assignment.id);
    if (!item) return;
    Object.assign(item, { assignment, isLapsed: false });
    if (!this.pendingIds().includes(item.id)) this.revert(item);
  }

  /** Show what the server last said. */
  revert(item) {
    Object.assign(item, stateOf(item.assignment));
  }

  /** Somebody else has these now: drop the unseen ones. */
  lose(ids) {
    const { current } = this;
    for (const item of this.list) item.isLapsed ||= item.state === 'open' && ids.includes(item.id);
    this.list = this.list.filter((item) => !item.isLapsed || item.wasShown);
    this.index = current ? this.list.indexOf(current) : this.list.length;
  }

  get hasEarlier() {
    return this.#earlier !== null;
  }

  /** Put the next page of the evaluator's history in front. */
  async readEarlier() {
    const page = await this.api.get(this.#earlier);
    const next = page.next && new URL(page.next, location.href);
    this.#earlier = next && next.pathname + next.search;
    const fresh = page.results.filter((each) => !this.find(each.id)).map(toItem);
    this.list.unshift(...fresh.reverse());
    this.index += fresh.length;
  }

  retry(item) {
    release(item);
    this.#decode(item);
  }

  /** Decode what may be wanted next, let go of what is far away. */
  #prepare() {
    const inOrder = [...this.list.slice(this.index), ...this.list.slice(0, this.index).reverse()];
    for (const item of inOrder) {
      const distance = this.list.indexOf(item) - this.index;
      const isNear = isHeld(item) || (distance >= -BEHIND && distance <= AHEAD);
      if (!isNear) release(item);
      else if (item.images === 'idle') this.#decode(item);
    }
  }

  async #decode(item) {
    const { image, inputs } = item.assignment;
    item.images = 'loading';
    try {
      const all = [decode(image, 'Output'), ...inputs.map((each) => decode(each, 'Input'))];
      const pictures = await Promise.all(all);
      if (item.images === 'loading') Object.assign(item, { pictures, images: 'ready' });
    } catch {
      item.images = 'broken';
    }
    this.dispatchEvent(new CustomEvent('images', { detail: item }));
  }
}

function toItem(assignment) {
  const fresh = { isLapsed: false, wasShown: false, changedAt: 0, images: 'idle', pictures: [] };
  return { assignment, id: assignment.id, ...stateOf(assignment), ...fresh };
}

function stateOf({ rating, state }) {
  return { rating, state: rating ? 'rated' : state === 'skipped' ? 'skipped' : 'open' };
}

/** A lapsed item can still be rated by whoever goes back to it, but it is nobody's next one. */
function isHeld(item) {
  return item.state === 'open' && !item.isLapsed;
}

function release(item) {
  Object.assign(item, { images: 'idle', pictures: [] });
}

async function decode({ url }, alt) {
  for (const wait of [...IMAGE_RETRY_MS, null]) {
    const image = Object.assign(new Image(), { alt, decoding: 'sync', src: url });
    try {
      await image.decode();
      return image;
    } catch (error) {
      if (wait === null) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
