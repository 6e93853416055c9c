/** How far the evaluator is: the server's counts, counted on here in between. */

const READ_EVERY_MS = 30_000;
const number = new Intl.NumberFormat('en');

/**
 * @param {{api: import('./api.js').Api, path: string, refs: object, isSettled: () => boolean}} options
 * @returns {(step: 1|-1) => void} to be called when a rating is given, or withdrawn
 */
export function showProgress({ api, path, refs, isSettled }) {
  let counts = null;
  /** Ratings given since the counts were read. */
  let given = 0;

  function show() {
    if (!counts) return;
    const plus = (count, step = given) => Math.max(0, count + step);
    const left = plus(counts.due, -given);
    const mine = plus(counts.rated_by_me);
    const parts = [`${number.format(plus(counts.rated_by_me_today))} today`];
    if (counts.pace_per_hour !== null) parts.push(`${number.format(plus(counts.pace_per_hour))} per hour`);
    parts.push(counts.due_is_capped ? `over ${number.format(counts.due)} due` : `${number.format(left)} due`);
    refs.progress.hidden = false;
    refs.progressText.textContent = parts.join(' · ');
    refs.progressBar.hidden = Boolean(counts.due_is_capped);
    Object.assign(refs.progressBar, { max: Math.max(1, mine + left), value: mine });
  }

  async function read() {
    const before = given;
    const answer = await api.get(`${path}/progress/`).catch(() => null);
    if (!answer) return;
    counts = answer;
    given -= before;
    show();
  }

  read();
  setInterval(() => document.visibilityState === 'visible' && isSettled() && read(), READ_EVERY_MS);
  return (step) => {
    given += step;
    show();
  };
}
