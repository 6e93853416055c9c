/**
 * What the evaluator did and the server has not confirmed yet: sent in order, one at a time, kept in
 * localStorage until it is answered, so that neither a dead network nor a closed tab loses a rating.
 * Every entry has a key of its own, so two tabs never overwrite each other's.
 *
 * @typedef {object} Entry
 * @property {string} key sorts by the time it was added
 * @property {'submit'|'clear'|'skip'|'reopen'} kind
 * @property {string} assignment
 * @property {string} queue
 * @property {object} body
 * @property {string} [refusal] the server's sentence, once it said no for good
 * @property {number} [status] likewise
 */

import { ApiError } from './api.js';

const BACKOFF_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000];
const SIGNED_OUT_RETRY_MS = 30_000;

export class Outbox extends EventTarget {
  #storage;
  /** Entries that storage would not take (full, or forbidden): held in memory, and said so. */
  #memory = new Map();
  #draining = false;
  #failures = 0;
  #timer = 0;
  #lastTime = 0;

  /**
   * Fires `change`, `answered` (`detail: {entry, assignment}`) and `refused` (`detail: {entry}`).
   * @param {{api: import('./api.js').Api, person: string, storage?: Storage}} options
   */
  constructor({ api, person, storage = window.localStorage }) {
    super();
    this.api = api;
    this.prefix = `mayagen:outbox:${person}:`;
    this.refusedPrefix = `mayagen:refused:${person}:`;
    this.lockName = `mayagen:outbox:${person}`;
    this.#storage = storage;
    /** @type {''|'offline'|'signed_out'|'other_person'} why sending waits */
    this.obstacle = '';
  }

  /** Begin to send what an earlier page left, and whatever is added from now on. */
  start() {
    window.addEventListener('online', () => this.retry());
    window.addEventListener('focus', () => this.retry());
    window.addEventListener('storage', (event) => {
      if (event.key && !event.key.startsWith('mayagen:')) return;
      this.#changed();
      this.#drain();
    });
    this.#drain();
  }

  /** Try now, whatever the backoff says. */
  retry() {
    this.#failures = 0;
    this.#drain();
  }

  /** @param {Omit<Entry, 'key'>} entry */
  add(entry) {
    this.#lastTime = Math.max(Date.now(), this.#lastTime + 1);
    const suffix = Math.random().toString(36).slice(2, 8);
    const key = `${String(this.#lastTime).padStart(15, '0')}-${suffix}`;
    this.#write(this.prefix, { ...entry, key });
    this.#changed();
    this.#drain();
  }

  /** @returns {Entry[]} oldest first */
  pending() {
    return this.#read(this.prefix);
  }

  /** @returns {Entry[]} what the server refused for good and the evaluator has not dismissed */
  refused() {
    return this.#read(this.refusedPrefix);
  }

  /** @param {string} key of a refused entry */
  dismiss(key) {
    this.#remove(this.refusedPrefix, key);
    this.#changed();
  }

  /** True when closing the browser now would lose something. */
  get isFragile() {
    return this.#memory.size > 0;
  }

  async #drain() {
    if (this.#draining) return;
    this.#draining = true;
    clearTimeout(this.#timer);
    try {
      const send = () => this.#sendAll();
      // Only one tab sends at a time. Without locks (plain http) two may: a repeated body is harmless.
      await (navigator.locks ? navigator.locks.request(this.lockName, send) : send());
    } finally {
      this.#draining = false;
    }
    if (!this.obstacle && this.pending().length > 0) this.#drain();
  }

  async #sendAll() {
    for (let entry = this.pending()[0]; entry; entry = this.pending()[0]) {
      try {
        const path = `assignments/${entry.assignment}/${entry.kind}/`;
        const assignment = await this.api.post(path, entry.body, { keepalive: true });
        this.#remove(this.prefix, entry.key);
        this.#succeeded();
        this.dispatchEvent(new CustomEvent('answered', { detail: { entry, assignment } }));
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.isTransient || error.isSignedOut) return this.#wait(error);
        this.#refuse(entry, error);
      }
    }
  }

  #refuse(entry, error) {
    const refused = { ...entry, refusal: error.message, status: error.status };
    this.#write(this.refusedPrefix, refused);
    this.#remove(this.prefix, entry.key);
    this.#succeeded();
    this.dispatchEvent(new CustomEvent('refused', { detail: { entry: refused } }));
  }

  #succeeded() {
    this.#failures = 0;
    this.obstacle = '';
    this.#changed();
  }

  #wait(error) {
    this.obstacle = error.isSignedOut ? error.code : 'offline';
    const backoff = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)];
    const wait = error.isSignedOut ? SIGNED_OUT_RETRY_MS : Math.max(backoff, error.retryAfterMs);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#drain(), wait * (0.8 + 0.4 * Math.random()));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  #write(prefix, entry) {
    try {
      this.#storage.setItem(prefix + entry.key, JSON.stringify(entry));
    } catch {
      this.#memory.set(prefix + entry.key, entry);
    }
  }

  #remove(prefix, key) {
    this.#memory.delete(prefix + key);
    try {
      this.#storage.removeItem(prefix + key);
    } catch {
      // Storage is forbidden altogether: the entry was in memory only.
    }
  }

  #read(prefix) {
    const found = new Map([...this.#memory].filter(([key]) => key.startsWith(prefix)));
    for (const key of keysOf(this.#storage)) {
      const entry = key.startsWith(prefix) && parse(this.#storage.getItem(key));
      if (entry) found.set(key, entry);
    }
    return [...found.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  }
}

function keysOf(storage) {
  try {
    return Object.keys(storage);
  } catch {
    return [];
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
