/** What the evaluator is told of the outbox: what waits, what was kept as extra or refused. */
import { dropDraft } from './drafts.js';

const QUIET_MS = 1_500;
/** Answers that mean the item is no longer this evaluator's to rate. */
const GONE = [404, 409, 410];

/**
 * @param {{outbox: import('./outbox.js').Outbox, items: import('./items.js').Items,
 *   view: import('./view.js').View, dataset: DOMStringMap, goTo: (id: string) => void,
 *   onChange: () => void}} options
 * @returns {(code: string) => void} to be called when some other request says `signed-out`
 */
export function reportDelivery({ outbox, items, view, dataset, goTo, onChange }) {
  const { waiting } = view.refs;
  let timer = 0;

  function showSignedOut(code) {
    const url = `${dataset.signInUrl}?next=${encodeURIComponent(location.pathname)}`;
    const signIn = () => window.open(url, '_blank', 'noopener');
    view.notify(view.words(code), { key: 'signed-out', actions: [['Sign in', signIn]] });
  }

  function confirm({ entry, assignment }) {
    view.dismiss('signed-out');
    const hasMore = outbox.pending.some((each) => each.assignment === entry.assignment);
    if (!hasMore && ['submit', 'skip'].includes(entry.kind)) dropDraft(entry.assignment);
    items.confirm(assignment);
    if (entry.kind === 'submit' && assignment.rating?.surplus) view.say('surplus');
    onChange();
  }

  function revert(entry) {
    const item = items.find(entry.assignment);
    if (item) items.revert(item);
    if (item && GONE.includes(entry.status)) item.isLapsed = true;
    showRefusal(entry);
    onChange();
  }

  function showRefusal(entry) {
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
  function update() {
    clearTimeout(timer);
    if (outbox.pending.length === 0 || outbox.obstacle) showWaiting();
    else timer = setTimeout(showWaiting, QUIET_MS);
  }

  function showWaiting() {
    const { obstacle, isFragile, pending } = outbox;
    const name = isFragile ? 'waiting-fragile' : obstacle ? `waiting-${obstacle}` : 'waiting';
    waiting.hidden = pending.length === 0;
    waiting.textContent = view.words(name, pending.length);
    if (obstacle && obstacle !== 'offline') showSignedOut(obstacle);
  }

  outbox.addEventListener('change', update);
  outbox.addEventListener('answered', ({ detail }) => confirm(detail));
  outbox.addEventListener('refused', ({ detail }) => revert(detail.entry));
  waiting.addEventListener('click', () => outbox.retry());
  window.addEventListener('beforeunload', (event) => outbox.isFragile && event.preventDefault());
  document.querySelector('[data-sign-out]').addEventListener('submit', (event) => {
    const count = outbox.pending.length;
    if (count > 0 && !window.confirm(view.words('sign-out', count))) event.preventDefault();
  });
  outbox.refused.forEach(showRefusal);
  update();
  return showSignedOut;
}
