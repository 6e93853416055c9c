/** What the evaluator is told of the outbox: what waits, what was kept as extra or refused. */
import { dropDraft } from './drafts.js';
import * as view from './view.js';

const QUIET_MS = 1_500;
let timer = 0;

/**
 * @param {{outbox: import('./outbox.js').Outbox, items: import('./items.js').Items,
 *   dataset: DOMStringMap, goTo: (id: string) => void, onChange: () => void}} page
 */
export function reportDelivery(page) {
  const { outbox } = page;
  outbox.addEventListener('change', () => update(page));
  outbox.addEventListener('answered', ({ detail }) => confirm(page, detail));
  outbox.addEventListener('refused', ({ detail }) => revert(page, detail.entry));
  view.refs.waiting.addEventListener('click', () => outbox.retry());
  window.addEventListener('beforeunload', (event) => outbox.isFragile && event.preventDefault());
  document.querySelector('[data-sign-out]').addEventListener('submit', (event) => {
    const { length } = outbox.pending;
    if (length > 0 && !window.confirm(view.words('sign-out', length))) event.preventDefault();
  });
  for (const entry of outbox.refused) showRefusal(page, entry);
  update(page);
}

/** @param {string} code `signed-out` or `other-person` */
export function showSignedOut({ dataset }, code) {
  const url = `${dataset.signInUrl}?next=${encodeURIComponent(location.pathname)}`;
  const signIn = () => window.open(url, '_blank', 'noopener');
  view.notify(view.words(code), { key: 'signed-out', actions: [['Sign in', signIn]] });
}

function confirm({ outbox, items, onChange }, { entry, assignment }) {
  view.dismiss('signed-out');
  const hasMore = outbox.pending.some((each) => each.assignment === entry.assignment);
  if (!hasMore && ['submit', 'skip'].includes(entry.kind)) dropDraft(entry.assignment);
  items.confirm(assignment);
  if (entry.kind === 'submit' && assignment.rating?.surplus) view.say('surplus');
  onChange();
}

function revert(page, entry) {
  const item = page.items.find(entry.assignment);
  if (item) page.items.revert(item);
  if (item && [404, 409].includes(entry.status)) item.isLapsed = true;
  showRefusal(page, entry);
  page.onChange();
}

function showRefusal({ outbox, dataset, goTo }, entry) {
  const dismiss = () => outbox.dismiss(entry.key);
  const goBack = () => {
    dismiss();
    if (entry.queue === dataset.queue) goTo(entry.assignment);
    else location.assign(`${dataset.queueRoot}${entry.queue}/?item=${entry.assignment}`);
  };
  const text = view.words(`refused-${entry.kind}`, entry.refusal);
  view.notify(text, { key: entry.key, actions: [['Go back to it', goBack], ['Dismiss', dismiss]] });
}

/** Sending is quiet: it is spoken of when it takes longer than a moment. */
function update(page) {
  const { pending, obstacle } = page.outbox;
  clearTimeout(timer);
  if (pending.length === 0 || obstacle) showWaiting(page);
  else timer = setTimeout(() => showWaiting(page), QUIET_MS);
}

function showWaiting(page) {
  const { obstacle, isFragile, pending } = page.outbox;
  const { waiting } = view.refs;
  const name = isFragile ? 'waiting-fragile' : obstacle ? `waiting-${obstacle}` : 'waiting';
  waiting.hidden = pending.length === 0;
  waiting.textContent = view.words(name, pending.length);
  if (obstacle && obstacle !== 'offline') showSignedOut(page, obstacle);
}
