/**
 * The evaluator's own items in the order they walk through them: earlier ones from their history,
 * those of this session, and the next ones, claimed and decoded before they are wanted.
 *
 * @typedef {object} Rating
 * @property {number} level
 * @property {string} note
 * @property {boolean} flagged
 * @property {boolean} [surplus]
 *
 * @typedef {object} Item
 * @property {object} assignment as the server sent it
 * @property {string} id
 * @property {'open'|'rated'|'skipped'} state what the evaluator sees, sent or not
 * @property {Rating|null} rating likewise
 * @property {{state: Item['state'], rating: Rating|null}} confirmed what the server last said
 * @property {boolean} isLapsed the hold on it ran out while it was open
 * @property {boolean} wasShown
 * @property {number} changedAt
 * @property {'idle'|'loading'|'ready'|'broken'} images
 * @property {HTMLImageElement|null} output
 * @property {HTMLImageElement[]} inputs
 */

/** Open items beyond the one on screen that we try to have; each is a lease somebody else waits for. */
const AHEAD = 4;
const MOST_HELD = 8;
const KEPT_BEHIND = 3;
const IMAGE_RETRY_MS = [500, 2_000, 6_000];

export class Items extends EventTarget {
  /** @type {Item[]} */
  list = [];
  index = -1;
  #refilling = false;
  #earlier = 'unread';

  /**
   * Fires `ready` (`detail: Item`) when an item's images are decoded or given up.
   * @param {{api: import('./api.js').Api, queue: string, pendingIds: () => Set<string>}} options
   */
  constructor({ api, queue, pendingIds }) {
    super();
    this.api = api;
    this.queue = queue;
    this.pendingIds = pendingIds;
  }

  get current() {
    return this.list[this.index] ?? null;
  }

  find(id) {
    return this.list.find((item) => item.id === id) ?? null;
  }

  /** The ids we hold leases on: open, and nothing on its way that would close them. */
  heldIds() {
    const pending = this.pendingIds();
    return this.list.filter((item) => isHeld(item) && !pending.has(item.id)).map((item) => item.id);
  }

  /** @returns {Item|null} the first open item after the current one, else the first one left behind */
  nextOpen() {
    return this.list.slice(this.index + 1).find(isHeld) ?? this.list.slice(0, this.index).find(isHeld) ?? null;
  }

  /** @param {Item|null} item becomes the current one; null stands behind the last one */
  moveTo(item) {
    this.index = item ? this.list.indexOf(item) : this.list.length;
    this.prepare();
  }

  /** Claim more when few are left. @returns {Promise<number>} how many came */
  async refill() {
    const held = this.list.filter(isHeld);
    const ahead = this.list.slice(this.index + 1).filter(isHeld);
    if (this.#refilling || ahead.length > AHEAD - 2) return 0;
    this.#refilling = true;
    const pending = this.pendingIds();
    const startedAt = performance.now();
    try {
      const count = Math.min(MOST_HELD, held.length - ahead.length + pending.size + AHEAD);
      const answer = await this.api.post(`review-queues/${this.queue}/next/`, { count });
      for (const id of this.pendingIds()) pending.add(id);
      const fresh = answer.assignments.filter((each) => this.#isNews(each, pending, startedAt));
      for (const assignment of fresh) this.list.push(toItem(assignment));
      this.prepare();
      return fresh.length;
    } finally {
      this.#refilling = false;
    }
  }

  /** An answer about a known item may be older than what was done to it since: then it is no news. */
  #isNews(assignment, pending, startedAt) {
    if (pending.has(assignment.id)) return false;
    const known = this.find(assignment.id);
    if (!known) return true;
    if (known.state !== 'open' && known.changedAt < startedAt) this.confirm(assignment);
    return false;
  }

  /** Take over what the server says of an item. */
  confirm(assignment) {
    const item = this.find(assignment.id);
    if (!item) return;
    item.assignment = assignment;
    item.confirmed = { state: stateOf(assignment), rating: assignment.rating };
    item.isLapsed = false;
    if (!this.pendingIds().has(item.id)) this.#restore(item);
  }

  /** Show again what the server last confirmed: what was sent since has been refused. */
  revert(id) {
    const item = this.find(id);
    if (item) this.#restore(item);
  }

  #restore(item) {
    item.state = item.confirmed.state;
    item.rating = item.confirmed.rating;
  }

  /** Somebody else has these now: drop the unseen ones, mark the others. */
  lose(ids) {
    const current = this.current;
    for (const id of ids) {
      const item = this.find(id);
      if (item?.state === 'open') item.isLapsed = true;
    }
    this.list = this.list.filter((item) => !item.isLapsed || item.wasShown);
    if (current) this.index = this.list.indexOf(current);
  }

  /** Put the next page of the evaluator's history in front. @returns {Promise<number>} how many came */
  async readEarlier() {
    if (this.#earlier === null) return 0;
    const first = `review-queues/${this.queue}/history/`;
    const page = await this.api.get(this.#earlier === 'unread' ? first : pathOf(this.#earlier));
    this.#earlier = page.next;
    const fresh = page.results.filter((each) => !this.find(each.id)).map(toItem).reverse();
    this.list.unshift(...fresh);
    this.index += fresh.length;
    return fresh.length;
  }

  get hasEarlier() {
    return this.#earlier !== null;
  }

  /** Decode what may be wanted next, let go of what is far away. */
  prepare() {
    const isNear = (item) => {
      const distance = this.list.indexOf(item) - this.index;
      return isHeld(item) || (distance >= -KEPT_BEHIND && distance <= AHEAD);
    };
    const start = Math.max(0, this.index);
    const inOrder = [...this.list.slice(start), ...this.list.slice(0, start).reverse()];
    for (const item of inOrder) {
      if (!isNear(item)) release(item);
      else if (item.images === 'idle') this.#decode(item);
    }
  }

  /** @param {Item} item whose images are fetched and decoded again from the start */
  retryImages(item) {
    release(item);
    this.#decode(item);
  }

  async #decode(item) {
    item.images = 'loading';
    const { image, inputs } = item.assignment;
    try {
      const [output, ...rest] = await Promise.all([image, ...inputs].map(decodeWithRetry));
      if (item.images !== 'loading') return;
      Object.assign(item, { output, inputs: rest, images: 'ready' });
    } catch {
      item.images = 'broken';
    }
    this.dispatchEvent(new CustomEvent('ready', { detail: item }));
  }
}

function toItem(assignment) {
  const confirmed = { state: stateOf(assignment), rating: assignment.rating };
  return {
    assignment,
    id: assignment.id,
    ...confirmed,
    confirmed,
    isLapsed: false,
    wasShown: false,
    changedAt: 0,
    images: 'idle',
    output: null,
    inputs: [],
  };
}

/** @returns {Item['state']} */
function stateOf(assignment) {
  if (assignment.rating) return 'rated';
  return assignment.state === 'skipped' ? 'skipped' : 'open';
}

/** A lapsed item can still be rated by whoever goes back to it, but it is nobody's next one. */
function isHeld(item) {
  return item.state === 'open' && !item.isLapsed;
}

function release(item) {
  item.images = 'idle';
  item.output = null;
  item.inputs = [];
}

async function decodeWithRetry(source) {
  for (const wait of [...IMAGE_RETRY_MS, null]) {
    const image = new Image(source.width, source.height);
    image.decoding = 'sync';
    image.draggable = false;
    image.src = source.url;
    try {
      await image.decode();
      return image;
    } catch (error) {
      if (wait === null) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

function pathOf(address) {
  const { pathname, search } = new URL(address, location.href);
  return pathname + search;
}
