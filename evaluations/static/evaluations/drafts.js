/** Notes and flags not rated yet, kept for this tab's life, so that a reload does not lose them. */

import { attempt } from './outbox.js';

const PREFIX = 'mayagen:draft:';
/** @type {Map<string, {note: string, flagged: boolean}>} */
const drafts = new Map();

/** @param {import('./items.js').Item} item @returns what was last written, else what was sent */
export function draftOf({ id, rating }) {
  const stored = drafts.get(id) ?? attempt(() => JSON.parse(sessionStorage.getItem(PREFIX + id)));
  const { note = '', flagged = false } = stored ?? rating ?? {};
  return { note, flagged };
}

export function keepDraft(id, draft) {
  drafts.set(id, draft);
  attempt(() => sessionStorage.setItem(PREFIX + id, JSON.stringify(draft)));
}

/** The server has them now. */
export function dropDraft(id) {
  drafts.delete(id);
  attempt(() => sessionStorage.removeItem(PREFIX + id));
}
