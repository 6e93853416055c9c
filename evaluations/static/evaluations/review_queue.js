/** The review page: what each key, button and answer leads to. */
import { Api } from './api.js';
import { Delivery } from './delivery.js';
import { draftOf, keepDraft } from './drafts.js';
import { Items } from './items.js';
import { Leases } from './leases.js';
import { listenToKeys } from './keys.js';
import { Outbox } from './outbox.js';
import { Progress } from './progress.js';
import { Slider } from './slider.js';
import { View } from './view.js';
import { Zoom } from './zoom.js';

const GUARD_MS = 200;
const POLL_MS = 15_000;
const LOADING_SHOWN_AFTER_MS = 150;
const LAYOUT_KEY = 'mayagen:compare-layout';

const RETRY_MS = 5_000;
const HISTORY_PAGES = 25;

const root = document.querySelector('[data-review]');
const { queue, person, csrfToken, apiRoot, signInUrl, queueRoot } = root.dataset;

const view = new View();
const { refs } = view;
const api = new Api({ root: apiRoot, csrfToken, person });
const outbox = new Outbox({ api, person });
const pendingIds = () => new Set(outbox.pending().map((entry) => entry.assignment));
const items = new Items({ api, queue, pendingIds });
const progress = new Progress({ api, queue, refs, isSettled: () => outbox.pending().length === 0 });
const leases = new Leases({ api, queue, items, hasDraft: (item) => draftOf(item).note !== '', onLost: () => afterAnswer() });
const delivery = new Delivery({ outbox, items, view, queue, signInUrl, queueRoot, goTo, onChange: () => afterAnswer() });
const zoom = new Zoom(refs.stage, {
  onChange: () => {
    refs.zoom.textContent = zoom.isFit ? 'Fit' : `${zoom.percent} %`;
  },
  onSwipe: (direction) => run({ name: direction > 0 ? 'forward' : 'back' }),
});
new Slider(refs.divider, view.layers['input-over']);

/** What the evaluator looks at; null while nothing is due. @type {import('./items.js').Item|null} */
let onScreen = null;
/** When the current item's image was painted, by `performance.now()`; null before that. */
let paintedAt = null;
let shownAt = '';
let refillTimer = 0;
let loadingTimer = 0;
/** What undo takes back, newest last. @type {{id: string, label: string, state: string, rating: object|null}[]} */
const steps = [];

const commands = {
  rate({ level, stays }) {
    const item = items.current;
    if (item?.images !== 'ready') return;
    const name = levelName(item, level);
    remember(item, String(level));
    if (item.state !== 'rated') progress.count(1);
    submit(item, level);
    advance(item, `Rated ${level}, ${name}.`, stays);
  },
  clear() {
    const item = items.current;
    if (item?.state !== 'rated') return;
    remember(item, 'clear');
    takeBack(item);
    refresh();
    view.announce('Rating cleared.');
  },
  skip() {
    const item = items.current;
    if (!item) return;
    if (item.state === 'rated') return view.notify('This item is rated. Clear the rating (0) to skip it.');
    if (item.state === 'open') {
      remember(item, 'skip');
      skip(item);
    }
    advance(item, 'Skipped.', false);
  },
  undo() {
    const step = steps.pop();
    if (!step) return view.notify('Nothing to undo. The left arrow walks back through your items.');
    const item = items.find(step.id);
    restore(item, step);
    show(item);
    view.announce(`Undone: ${step.label}.`);
  },
  async back() {
    if (items.index <= 0 && items.hasEarlier) await readEarlier();
    if (items.index > 0) show(items.list[items.index - 1]);
    else view.notify('This is the first of your items.');
  },
  forward() {
    const next = items.list[items.index + 1];
    if (next) show(next);
    else if (items.current) view.notify('This is the last item fetched. Rate or skip the open ones to get more.');
  },
  continue() {
    show(items.nextOpen());
  },
  note() {
    root.toggleAttribute('data-note-open', true);
    refs.note.focus();
  },
  flag() {
    const item = items.current;
    if (!item) return;
    const draft = draftOf(item);
    keepDraft(item.id, { ...draft, flagged: !draft.flagged });
    resubmit(item);
    view.showDraft(draftOf(item));
    view.announce(draft.flagged ? 'Flag removed.' : 'Flagged.');
  },
  zoom: () => zoom.toggle(),
  peek: () => view.peek(true),
  help: () => refs.help.showModal(),
  retry() {
    items.retryImages(items.current);
    show(items.current);
  },
};

/** @param {import('./keys.js').Command} command */
function run(command) {
  commands[command.name](command);
}

/** Nothing acts on an image that was not there, or only just: a late second press must not judge the next one. */
function isReady() {
  const item = items.current;
  if (!item || item.images === 'broken') return true;
  return paintedAt !== null && performance.now() - paintedAt >= GUARD_MS;
}

function show(item) {
  clearTimeout(loadingTimer);
  paintedAt = null;
  view.peek(false);
  items.moveTo(item);
  onScreen = item;
  if (!item) return showNothing();
  if (item.images === 'broken' && !item.wasShown) items.retryImages(item);
  item.wasShown = true;
  view.showItem(item);
  view.showDraft(draftOf(item));
  refresh();
  if (item.images === 'ready') markPainted(item);
  else loadingTimer = setTimeout(() => items.current === item && showImageState(item), LOADING_SHOWN_AFTER_MS);
  view.showMessage(null);
  refill();
}

/** Two frames from now the image has been on the screen for one. */
function markPainted(item) {
  const { width, height } = item.assignment.image;
  zoom.setSize(width, height);
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      if (items.current !== item) return;
      paintedAt = performance.now();
      shownAt = new Date().toISOString();
    }),
  );
}

function showImageState(item) {
  if (item.images === 'loading') view.showMessage('Loading the image…');
  if (item.images === 'broken') {
    view.showMessage('This image could not be loaded.', 'Try again, or skip it (s).', { canRetry: true });
  }
}

function showNothing() {
  const isSending = outbox.pending().length > 0;
  view.showNothing('');
  view.showMessage(
    isSending ? 'Sending your ratings…' : 'Nothing is due.',
    isSending ? 'The next items come when they have arrived.' : 'This page checks again every 15 seconds.',
    { isEnd: true },
  );
  view.enable(false, false);
  refill();
}

/** Bring the words and buttons around the image up to date. */
function refresh() {
  const item = items.current;
  if (!item) return;
  view.showState(item);
  view.showPlace(placeText(item), item.state !== 'open' && items.nextOpen() !== null);
  view.enable(item.images === 'ready', true);
  view.showUndo(steps.at(-1)?.label ?? null);
}

function placeText(item) {
  if (item.state === 'rated') {
    const extra = item.rating.surplus ? ', kept as an extra rating' : '';
    return `Rated ${item.rating.level} ${levelName(item, item.rating.level)}${extra}`;
  }
  if (item.state === 'skipped') return 'Skipped. You can still rate it.';
  return item.isLapsed ? 'The hold on this item ran out. If you rate it, the rating is kept all the same.' : '';
}

function levelName(item, level) {
  return item.assignment.criterion.levels.find((each) => each.level === level)?.name ?? '';
}

function advance(item, said, stays) {
  if (stays) {
    refresh();
    view.announce(said);
    return;
  }
  show(items.nextOpen());
  view.announce(items.current ? `${said} Next: ${items.current.assignment.brief}` : said);
}

function remember(item, label) {
  steps.push({ id: item.id, label, state: item.state, rating: item.rating });
}

/** @param {object} [timing] of the judgement; by default, the one being made now */
function submit(item, level, timing = timingNow()) {
  const rating = { level, ...draftOf(item), ...timing };
  send(item, 'submit', rating, { state: 'rated', rating });
}

function timingNow() {
  const now = performance.now();
  return { shown_at: shownAt || new Date().toISOString(), decided_ms: Math.round(now - (paintedAt ?? now)) };
}

function timingOf(rating) {
  const { shown_at, decided_ms } = rating;
  return shown_at ? { shown_at, decided_ms } : undefined;
}

/** A note or flag changed on a rated item is a revision of its rating. */
function resubmit(item) {
  if (item.state === 'rated') submit(item, item.rating.level, timingOf(item.rating));
}

/** Send what leads from the item's state back to the one before the step. */
function restore(item, step) {
  if (step.state === 'rated') {
    const { note, flagged, level } = step.rating;
    keepDraft(item.id, { note, flagged });
    if (item.state !== 'rated') progress.count(1);
    return submit(item, level, timingOf(step.rating));
  }
  if (item.state === 'rated') takeBack(item);
  if (item.state === 'skipped' && step.state === 'open') send(item, 'reopen', {}, { state: 'open', rating: null });
  if (item.state === 'open' && step.state === 'skipped') skip(item);
}

function skip(item) {
  send(item, 'skip', draftOf(item), { state: 'skipped', rating: null });
}

function takeBack(item) {
  keepDraft(item.id, draftOf(item));
  progress.count(-1);
  send(item, 'clear', {}, { state: 'open', rating: null });
}

function send(item, kind, body, outcome) {
  Object.assign(item, outcome, { changedAt: performance.now() });
  outbox.add({ kind, assignment: item.id, queue, body });
}

/** The server has said yes or no to something: the item on screen may read differently now. */
function afterAnswer() {
  refresh();
  if (!onScreen) refill();
}

async function refill() {
  clearTimeout(refillTimer);
  let failure = null;
  try {
    await items.refill();
  } catch (error) {
    failure = error;
    if (error.isSignedOut) delivery.showSignedOut(error.code);
    else if (!onScreen) view.showMessage('The next items cannot be fetched.', `${error.message} Trying again.`);
  }
  const next = items.current ?? items.nextOpen();
  if (!onScreen && next) show(next);
  if (failure || !onScreen) refillTimer = setTimeout(refill, failure ? RETRY_MS : POLL_MS);
}

async function readEarlier() {
  try {
    await items.readEarlier();
  } catch (error) {
    view.notify(`Your earlier items cannot be fetched. ${error.message}`);
  }
}

/** @param {string} id opens one of the evaluator's own items, wherever it is in their history */
async function goTo(id) {
  for (let page = 0; !items.find(id) && items.hasEarlier && page < HISTORY_PAGES; page += 1) await readEarlier();
  const item = items.find(id);
  if (item) show(item);
  else view.notify('That item is not among your latest ones in this queue.', { actions: [['Close', () => {}]] });
}

function listen() {
  listenToKeys({ run, release: () => view.peek(false), isReady });
  root.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    // After a click with the pointer the keys belong to the page again, Space above all.
    if (event.detail > 0) button.blur();
    const { command, level, layout } = button.dataset;
    if (layout) chooseLayout(layout);
    if (command === 'help' || (command && isReady())) run({ name: command });
    if (level && isReady()) run({ name: 'rate', level: Number(level), stays: event.shiftKey });
  });
  refs.peek.addEventListener('pointerdown', () => view.peek(true));
  for (const type of ['pointerup', 'pointercancel', 'pointerleave']) {
    refs.peek.addEventListener(type, () => view.peek(false));
  }
  refs.peek.addEventListener('contextmenu', (event) => event.preventDefault());
  refs.stage.addEventListener('layout', () => zoom.apply());
  listenToNote();
  items.addEventListener('ready', ({ detail: item }) => {
    if (item !== onScreen) return;
    if (item.images === 'ready') show(item);
    else showImageState(item);
    refresh();
  });
  window.addEventListener('online', () => {
    items.list.filter((item) => item.images === 'broken').forEach((item) => items.retryImages(item));
    refill();
  });
}

function listenToNote() {
  const { note } = refs;
  note.addEventListener('input', () => {
    if (onScreen) keepDraft(onScreen.id, { ...draftOf(onScreen), note: note.value });
  });
  note.addEventListener('change', () => onScreen && resubmit(onScreen));
  note.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') note.blur();
  });
  note.addEventListener('blur', () => {
    root.toggleAttribute('data-note-open', false);
    if (onScreen) view.showDraft(draftOf(onScreen));
  });
}

function chooseLayout(layout) {
  view.chooseLayout(layout);
  localStorage.setItem(LAYOUT_KEY, layout);
}

async function start() {
  listen();
  const layout = localStorage.getItem(LAYOUT_KEY);
  if (layout) view.chooseLayout(layout);
  delivery.start();
  outbox.start();
  progress.start();
  leases.start();
  items.moveTo(null);
  const wanted = new URLSearchParams(location.search).get('item');
  if (wanted) {
    history.replaceState(null, '', location.pathname);
    await goTo(wanted);
  }
  await refill();
}

start();
