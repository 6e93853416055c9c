/** How far the evaluator is: the server's counts, counted on in between. */
import { refs } from './view.js';

const READ_EVERY_MS = 30_000;
const { format } = new Intl.NumberFormat('en');
let counts = null;
/** Ratings given since the counts were read. */
let given = 0;

/**
 * @param {import('./api.js').Api} api
 * @param {string} path of the queue
 * @param {() => boolean} isSettled the server has all that was counted here
 */
export function showProgress(api, path, isSettled) {
  read(api, path);
  setInterval(() => document.visibilityState === 'visible' && isSettled() && read(api, path), READ_EVERY_MS);
}

/** @param {1|-1} step a rating given, or one withdrawn */
export function count(step) {
  given += step;
  show();
}

async function read(api, path) {
  const before = given;
  const answer = await api.get(`${path}/progress/`).catch(() => null);
  if (!answer) return;
  counts = answer;
  count(-before);
}

function show() {
  if (!counts) return;
  const plus = (value, step = given) => Math.max(0, value + step);
  const left = plus(counts.due, -given);
  const mine = plus(counts.rated_by_me);
  const parts = [`${format(plus(counts.rated_by_me_today))} today`];
  if (counts.pace_per_hour !== null) parts.push(`${format(plus(counts.pace_per_hour))} per hour`);
  parts.push(counts.due_is_capped ? `over ${format(counts.due)} due` : `${format(left)} due`);
  refs.progress.hidden = false;
  refs.progressText.textContent = parts.join(' · ');
  refs.progressBar.hidden = Boolean(counts.due_is_capped);
  Object.assign(refs.progressBar, { max: Math.max(1, mine + left), value: mine });
}
