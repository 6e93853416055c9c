/** The review page: what each key, button and answer leads to. */
import { Api } from './api.js';
import { reportDelivery, showSignedOut } from './delivery.js';
import { draftOf, keepDraft } from './drafts.js';
import { Items } from './items.js';
import { listenToKeys } from './keys.js';
import { keepLeases } from './leases.js';
import { Outbox } from './outbox.js';
import { count, showProgress } from './progress.js';
import { listenToDivider } from './slider.js';
import * as view from './view.js';
import * as zoom from './zoom.js';

const GUARD_MS = 200;
const POLL_MS = 15_000;
const RETRY_MS = 5_000;
const QUIET_MS = 150;
const HISTORY_PAGES = 25;

const root = document.querySelector('[data-review]');
const { dataset } = root;
const { queue, person } = dataset;
const { refs } = view;
const api = new Api(dataset);
const outbox = new Outbox({ api, person });
const items = new Items({ api, queue, pendingIds: () => outbox.pending.map((entry) => entry.assignment) });
const page = { api, outbox, items, dataset, goTo, onChange: update };

/** What the evaluator looks at, if anything is due. @type {import('./items.js').Item|undefined} */
let onScreen;
/** When its image was painted, by `performance.now()`; null before that. */
let paintedAt = null;
let shownAt = new Date().toISOString();
let refillTimer = 0;
let loadingTimer = 0;
/** What undo takes back, newest last. */
const steps = [];

const commands = {
  rate({ level, stays }) {
    if (onScreen?.images !== 'ready') return;
    remember(String(level));
    submit(onScreen, level);
    advance(view.describe(onScreen), stays);
  },
  clear() {
    if (onScreen?.state !== 'rated') return;
    remember('clear');
    clear(onScreen);
    update();
    view.announce(view.words('cleared'));
  },
  skip() {
    if (!onScreen) return;
    if (onScreen.state === 'rated') return view.say('skip-rated');
    if (onScreen.state === 'open') {
      remember('skip');
      send(onScreen, 'skip', draftOf(onScreen));
    }
    advance(view.words('skipped'), false);
  },
  undo() {
    const step = steps.pop();
    if (!step) return view.say('no-undo');
    const item = items.find(step.id);
    restore(item, step);
    show(item);
    view.announce(view.words('undone', step.label));
  },
  async back() {
    if (items.index === 0 && items.hasEarlier) await readEarlier();
    if (items.index > 0) show(items.list[items.index - 1]);
    else view.say('first');
  },
  forward() {
    const next = items.list[items.index + 1];
    if (next || !(onScreen?.state === 'open' || items.nextOpen())) show(next);
    else view.say('last');
  },
  continue: () => show(items.nextOpen()),
  note() {
    root.toggleAttribute('data-note-open', true);
    refs.note.focus();
  },
  flag() {
    if (!onScreen) return;
    const draft = draftOf(onScreen);
    keepDraft(onScreen.id, { ...draft, flagged: !draft.flagged });
    revise();
    view.announce(view.words(draft.flagged ? 'unflagged' : 'flagged'));
  },
  zoom: () => zoom.toggle(),
  peek: () => view.peek(true),
  help: () => refs.help.showModal(),
  retry() {
    items.retry(onScreen);
    show(onScreen);
  },
};

/** A second press must not judge the next image, which only just came. */
function isReady() {
  if (!onScreen || onScreen.images === 'broken') return true;
  return paintedAt !== null && performance.now() - paintedAt >= GUARD_MS;
}

/** @param {import('./items.js').Item} [item] without one, nothing is due */
function show(item) {
  clearTimeout(loadingTimer);
  paintedAt = null;
  onScreen = item;
  items.moveTo(item);
  view.showItem(item);
  view.showMessage();
  if (!item) showEnd();
  else if (item.images === 'ready') markPainted(item);
  else loadingTimer = setTimeout(showImageState, QUIET_MS);
  update();
  refill();
}

/** Two frames from now the image has been on the screen for one. */
function markPainted(item) {
  const mark = () => {
    if (onScreen !== item) return;
    paintedAt = performance.now();
    shownAt = new Date().toISOString();
  };
  zoom.setSize(item.assignment.image);
  requestAnimationFrame(() => requestAnimationFrame(mark));
}

function showImageState() {
  if (onScreen?.images === 'loading') view.showMessage(view.words('loading'));
  if (onScreen?.images === 'broken') view.showMessage(view.words('broken'), 'retry');
}

function showEnd() {
  view.showMessage(view.words(outbox.pending.length > 0 ? 'sending' : 'nothing'), 'historyLink');
}

/** Bring what stands around the image up to date. */
function update() {
  view.showState(onScreen, {
    draft: draftOf(onScreen ?? {}),
    canContinue: onScreen && onScreen.state !== 'open' && items.nextOpen(),
    undo: steps.at(-1)?.label,
  });
  if (!onScreen && outbox.pending.length === 0) refill();
}

function advance(said, stays) {
  if (stays) update();
  else show(items.nextOpen());
  view.announce(stays || !onScreen ? said : `${said} ${onScreen.assignment.brief}`);
}

function remember(label) {
  const { id, state, rating } = onScreen;
  steps.push({ id, label, state, rating });
}

/** @param {object} [judged] a rating already given, whose judgement this repeats */
function submit(item, level, judged) {
  const elapsed = paintedAt === null ? 0 : performance.now() - paintedAt;
  const now = { shown_at: shownAt, decided_ms: Math.round(elapsed) };
  const { shown_at, decided_ms } = judged?.shown_at ? judged : now;
  const rating = { level, ...draftOf(item), shown_at, decided_ms };
  if (item.state !== 'rated') count(1);
  send(item, 'submit', rating);
}

function clear(item) {
  keepDraft(item.id, draftOf(item));
  count(-1);
  send(item, 'clear');
}

/** Send what leads from the item's state back to the one before the step. */
function restore(item, { state, rating }) {
  if (state === 'rated') {
    keepDraft(item.id, { note: rating.note, flagged: rating.flagged });
    return submit(item, rating.level, rating);
  }
  if (item.state === 'rated') clear(item);
  if (item.state === 'open' && state === 'skipped') send(item, 'skip', draftOf(item));
  if (item.state === 'skipped' && state === 'open') send(item, 'reopen');
}

function send(item, kind, body = {}) {
  items.apply(item, kind, body);
  outbox.add({ kind, assignment: item.id, queue, body });
}

/** What another tab did need not be done here. */
function takeOver({ assignment, kind, body }) {
  const item = items.find(assignment);
  if (!item) return;
  items.apply(item, kind, body);
  if (item === onScreen && item.state !== 'open') show(items.nextOpen());
  update();
}

/** A note or flag changed on a rated item is a revision of its rating. */
function revise() {
  if (onScreen?.state === 'rated') submit(onScreen, onScreen.rating.level, onScreen.rating);
  update();
}

async function refill() {
  clearTimeout(refillTimer);
  let failure = null;
  try {
    await items.refill();
  } catch (error) {
    failure = error;
    if (error.isSignedOut) showSignedOut(page, error.code);
    else if (!onScreen) view.showMessage(view.words('unreachable', error.message));
  }
  const next = items.current ?? items.nextOpen();
  if (!onScreen && next) {
    view.announce(next.assignment.brief);
    return show(next);
  }
  if (onScreen) update();
  else if (!failure) showEnd();
  clearTimeout(refillTimer);
  if (failure || !items.nextOpen()) refillTimer = setTimeout(refill, failure ? RETRY_MS : POLL_MS);
}

async function readEarlier() {
  try {
    await items.readEarlier();
  } catch (error) {
    view.say('no-history', error.message);
  }
}

/** Show one of the evaluator's own items. */
async function goTo(id) {
  for (let n = 0; n < HISTORY_PAGES && !items.find(id) && items.hasEarlier; n += 1) await readEarlier();
  const item = items.find(id);
  if (item) show(item);
  else view.say('not-found');
}

function listen() {
  const release = () => view.peek(false);
  listenToKeys({ run: (command) => commands[command.name](command), release, isReady });
  root.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    // After a click with the pointer the keys, Space above all, are the page's again.
    if (event.detail > 0) button.blur();
    const { command, level, layout } = button.dataset;
    if (layout) view.chooseLayout(layout);
    if (command && (command === 'help' || isReady())) commands[command]();
    if (level && isReady()) commands.rate({ level: Number(level), stays: event.shiftKey });
  });
  refs.peek.addEventListener('pointerdown', () => view.peek(true));
  for (const type of ['pointerup', 'pointercancel', 'pointerleave']) refs.peek.addEventListener(type, release);
  refs.peek.addEventListener('contextmenu', (event) => event.preventDefault());
  refs.stage.addEventListener('layout', () => zoom.apply());
  outbox.addEventListener('change', () => onScreen || update());
  outbox.addEventListener('elsewhere', ({ detail }) => takeOver(detail.entry));
  items.addEventListener('images', ({ detail: item }) => {
    if (item !== onScreen) return;
    if (item.images === 'ready') show(item);
    else showImageState();
  });
  window.addEventListener('online', () => {
    for (const item of items.list) if (item.images === 'broken') items.retry(item);
    refill();
  });
}

function listenToNote() {
  const { note } = refs;
  note.addEventListener('input', () => keepDraft(onScreen.id, { ...draftOf(onScreen), note: note.value }));
  note.addEventListener('change', revise);
  note.addEventListener('keydown', ({ key }) => key === 'Escape' && note.blur());
  note.addEventListener('blur', () => root.toggleAttribute('data-note-open', false));
}

async function start() {
  listen();
  listenToNote();
  listenToDivider();
  zoom.listenToPointers((direction) => isReady() && (direction > 0 ? commands.forward() : commands.back()));
  reportDelivery(page);
  keepLeases(page);
  showProgress(api, items.path, () => outbox.pending.length === 0);
  outbox.start();
  const wanted = new URLSearchParams(location.search).get('item');
  history.replaceState(null, '', location.pathname);
  if (wanted) await goTo(wanted);
  refill();
}

start();
