/** Notes and flags not rated yet, kept for this tab's life, so that a reload does not lose them. */

const PREFIX = 'mayagen:draft:';
/** @type {Map<string, {note: string, flagged: boolean}>} */
const drafts = new Map();

/** @param {import('./items.js').Item} item @returns what was last written, else what was sent */
export function draftOf({ id, rating }) {
  const { note, flagged } = drafts.get(id) ?? read(id) ?? rating ?? { note: '', flagged: false };
  return { note, flagged };
}

export function keepDraft(id, draft) {
  drafts.set(id, draft);
  try {
    sessionStorage.setItem(PREFIX + id, JSON.stringify(draft));
  } catch {
    // Storage is full or forbidden: the draft lives as long as the page.
  }
}

/** The server has them now. */
export function dropDraft(id) {
  drafts.delete(id);
  try {
    sessionStorage.removeItem(PREFIX + id);
  } catch {
    // As above.
  }
}

function read(id) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + id));
  } catch {
    return null;
  }
}
