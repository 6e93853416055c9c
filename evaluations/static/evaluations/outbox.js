/**
 * What the evaluator did and the server has not confirmed yet: sent in order, one at a time, and kept in
 * localStorage until then, so that neither a dead network nor a closed tab loses a rating. Every entry has
 * a key of its own, so two tabs never overwrite each other's.
 *
 * @typedef {{key: string, kind: 'submit'|'clear'|'skip'|'reopen', assignment: string, queue: string,
 *   body: object, refusal?: string, status?: number}} Entry keys sort by time; `refusal`: the server's sentence
 */
import { ApiError } from './api.js';

const BACKOFF_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000];
const SIGNED_OUT_RETRY_MS = 30_000;

/**
 * Fires `change`, and with an `entry` in its detail `answered` (also `assignment`), `refused`, and `elsewhere`
 * (added by another tab).
 */
export class Outbox extends EventTarget {
  /** Entries that storage would not take (full, or forbidden). */
  #memory = new Map();
  #isDraining = false;
  #failures = 0;
  #timer = 0;
  #lastTime = 0;
  /** Why sending waits. @type {''|'offline'|'signed-out'|'other-person'} */
  obstacle = '';

  /** @param {{api: import('./api.js').Api, person: string}} options */
  constructor({ api, person }) {
    super();
    this.api = api;
    this.prefix = `mayagen:outbox:${person}:`;
    this.refusedPrefix = `mayagen:refused:${person}:`;
  }

  /** Begin with what an earlier page left. */
  start() {
    for (const type of ['online', 'focus']) window.addEventListener(type, () => this.retry());
    window.addEventListener('storage', ({ key, newValue }) => {
      const entry = newValue && key.startsWith(this.prefix) && JSON.parse(newValue);
      if (entry) this.#tell('elsewhere', { entry });
      this.#changed();
      this.#drain();
    });
    this.#drain();
  }

  retry() {
    this.#failures = 0;
    this.#drain();
  }

  /** @param {Omit<Entry, 'key'>} entry */
  add(entry) {
    this.#lastTime = Math.max(Date.now(), this.#lastTime + 1);
    const key = `${String(this.#lastTime).padStart(15, '0')}-${Math.random().toString(36).slice(2, 8)}`;
    this.#write(this.prefix, { ...entry, key });
    this.#changed();
    this.#drain();
  }

  /** @returns {Entry[]} */
  get pending() {
    return this.#read(this.prefix);
  }

  /** @returns {Entry[]} what the evaluator has not dismissed yet */
  get refused() {
    return this.#read(this.refusedPrefix);
  }

  dismiss(key) {
    this.#remove(this.refusedPrefix, key);
  }

  /** Closing the browser now would lose something. */
  get isFragile() {
    return this.#memory.size > 0;
  }

  async #drain() {
    if (this.#isDraining) return;
    this.#isDraining = true;
    clearTimeout(this.#timer);
    try {
      const send = () => this.#sendAll();
      // Only one tab sends at a time. Without locks (plain http) two may: a repeated body is harmless.
      await (navigator.locks ? navigator.locks.request(this.prefix, send) : send());
    } finally {
      this.#isDraining = false;
    }
    if (!this.obstacle && this.pending.length > 0) this.#drain();
  }

  async #sendAll() {
    for (let [entry] = this.pending; entry; [entry] = this.pending) {
      try {
        const path = `assignments/${entry.assignment}/${entry.kind}/`;
        const assignment = await this.api.post(path, entry.body, true);
        this.#settle(entry, 'answered', { entry, assignment });
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.isTransient || error.isSignedOut) return this.#wait(error);
        const refused = { ...entry, refusal: error.message, status: error.status };
        this.#write(this.refusedPrefix, refused);
        this.#settle(entry, 'refused', { entry: refused });
      }
    }
  }

  #settle(entry, type, detail) {
    this.#remove(this.prefix, entry.key);
    this.#failures = 0;
    this.obstacle = '';
    this.#tell(type, detail);
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
    this.#tell('change');
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #write(prefix, entry) {
    const key = prefix + entry.key;
    attempt(() => localStorage.setItem(key, JSON.stringify(entry)) ?? true) ?? this.#memory.set(key, entry);
  }

  #remove(prefix, key) {
    this.#memory.delete(prefix + key);
    attempt(() => localStorage.removeItem(prefix + key));
  }

  #read(prefix) {
    const found = new Map(this.#memory);
    for (const key of attempt(() => Object.keys(localStorage)) ?? []) {
      const entry = key.startsWith(prefix) && attempt(() => JSON.parse(localStorage.getItem(key)));
      if (entry) found.set(key, entry);
    }
    const keys = [...found.keys()].filter((key) => key.startsWith(prefix)).sort();
    return keys.map((key) => found.get(key));
  }
}

/** Storage may be full, forbidden altogether, or hold what is not ours: then null. */
export function attempt(action) {
  try {
    return action();
  } catch {
    return null;
  }
}
