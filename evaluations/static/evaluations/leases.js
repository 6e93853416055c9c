/** Keeps the leases of an evaluator at work alive, and gives back what they leave unseen. */
import { draftOf } from './drafts.js';

const BEAT_MS = 45_000;
/** Whoever has not touched the page for this long is away: their leases lapse. */
const AWAY_MS = 10 * 60_000;
let lastActivity = Date.now();
let lastBeat = Date.now();

/** @param page what `reportDelivery` takes */
export function keepLeases(page) {
  setInterval(() => beat(page), BEAT_MS);
  for (const type of ['keydown', 'pointerdown', 'wheel', 'visibilitychange']) {
    document.addEventListener(type, () => noteActivity(page), { passive: true });
  }
  window.addEventListener('pagehide', () => giveBack(page));
  // A page out of the browser's back/forward cache has given its items back.
  window.addEventListener('pageshow', (event) => event.persisted && location.reload());
}

function noteActivity(page) {
  lastActivity = Date.now();
  if (lastActivity - lastBeat > BEAT_MS + 5_000) beat(page);
}

async function beat({ api, items, onChange }) {
  const { held, current, path } = items;
  if (Date.now() - lastActivity > AWAY_MS || held.length === 0) return;
  lastBeat = Date.now();
  const body = { assignments: held.map(({ id }) => id), shown: held.includes(current) ? current.id : null };
  // Without an answer the next beat is soon enough: leases outlast three.
  const answer = await api.post(`${path}/heartbeat/`, body).catch(() => null);
  if (!answer?.lost.length) return;
  items.lose(answer.lost);
  onChange();
}

/** The item on screen and those with a note stay ours for a reload. */
function giveBack({ api, items }) {
  const { held, current, path } = items;
  const unseen = held.filter((item) => item !== current && !draftOf(item).note);
  if (unseen.length === 0) return;
  api.post(`${path}/return/`, { assignments: unseen.map(({ id }) => id) }, true).catch(() => {});
}
