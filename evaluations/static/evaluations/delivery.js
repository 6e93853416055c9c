/** What the evaluator is told of the outbox: what waits, what was kept as extra or refused. */
import { dropDraft } from './drafts.js';

const QUIET_MS = 1_500;
/** Answers that mean the item is no longer this evaluator's to rate. */
const GONE = [404, 409, 410];

export class Delivery {
  #timer = 0;

  /**
   * @param {{outbox: import('./outbox.js').Outbox, items: import('./items.js').Items,
   *   view: import('./view.js').View, queue: string, signInUrl: string, queueRoot: string,
   *   goTo: (id: string) => void, onChange: () => void}} options
   */
  constructor(options) {
    Object.assign(this, options);
  }

  start() {
    const { outbox, view } = this;
    outbox.addEventListener('change', () => this.#update());
    outbox.addEventListener('answered', ({ detail }) => this.#confirm(detail));
    outbox.addEventListener('refused', ({ detail }) => this.#revert(detail.entry));
    view.refs.waiting.addEventListener('click', () => outbox.retry());
    window.addEventListener('beforeunload', (event) => outbox.isFragile && event.preventDefault());
    document.querySelector('[data-sign-out]').addEventListener('submit', (event) => {
      const count = outbox.pending.length;
      if (count > 0 && !window.confirm(view.words('sign-out', count))) event.preventDefault();
    });
    for (const entry of outbox.refused) this.#showRefusal(entry);
    this.#update();
  }

  /** @param {'signed-out'|'other-person'} code */
  showSignedOut(code) {
    const url = `${this.signInUrl}?next=${encodeURIComponent(location.pathname)}`;
    const signIn = () => window.open(url, '_blank', 'noopener');
    this.view.notify(this.view.words(code), { key: 'signed-out', actions: [['Sign in', signIn]] });
  }

  #confirm({ entry, assignment }) {
    const { items, outbox, view } = this;
    view.dismiss('signed-out');
    const hasMore = outbox.pending.some((each) => each.assignment === entry.assignment);
    if (!hasMore && ['submit', 'skip'].includes(entry.kind)) dropDraft(entry.assignment);
    items.confirm(assignment);
    if (entry.kind === 'submit' && assignment.rating?.surplus) view.say('surplus');
    this.onChange();
  }

  #revert(entry) {
    const item = this.items.find(entry.assignment);
    if (item) this.items.revert(item);
    if (item && GONE.includes(entry.status)) item.isLapsed = true;
    this.#showRefusal(entry);
    this.onChange();
  }

  #showRefusal(entry) {
    const dismiss = () => this.outbox.dismiss(entry.key);
    const goBack = () => {
      dismiss();
      if (entry.queue === this.queue) this.goTo(entry.assignment);
      else location.assign(`${this.queueRoot}${entry.queue}/?item=${entry.assignment}`);
    };
    const text = this.view.words(`refused-${entry.kind}`, entry.refusal);
    this.view.notify(text, { key: entry.key, actions: [['Go back to it', goBack], ['Dismiss', dismiss]] });
  }

  /** Sending is quiet: it is spoken of when it takes longer than a moment. */
  #update() {
    const { outbox } = this;
    clearTimeout(this.#timer);
    if (outbox.pending.length === 0 || outbox.obstacle) this.#showWaiting();
    else this.#timer = setTimeout(() => this.#showWaiting(), QUIET_MS);
  }

  #showWaiting() {
    const { obstacle, isFragile, pending } = this.outbox;
    const { waiting } = this.view.refs;
    const name = isFragile ? 'waiting-fragile' : obstacle ? `waiting-${obstacle}` : 'waiting';
    waiting.hidden = pending.length === 0;
    waiting.textContent = this.view.words(name, pending.length);
    if (obstacle && obstacle !== 'offline') this.showSignedOut(obstacle);
  }
}
