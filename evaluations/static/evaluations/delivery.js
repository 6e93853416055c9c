/** What the evaluator is told of the outbox: what waits, what was kept as extra, what was refused. */
import { dropDraft } from './drafts.js';

const QUIET_MS = 1_500;
/** Answers that mean the item is no longer this evaluator's to rate. */
const GONE = [404, 409, 410];

export class Delivery {
  #timer = 0;

  /**
   * @param {object} options
   * @param {import('./outbox.js').Outbox} options.outbox
   * @param {import('./items.js').Items} options.items
   * @param {import('./view.js').View} options.view
   * @param {string} options.queue
   * @param {string} options.signInUrl
   * @param {string} options.queueRoot under which other queues' pages lie
   * @param {(id: string) => void} options.goTo
   * @param {() => void} options.onChange an item has changed by an answer
   */
  constructor(options) {
    Object.assign(this, options);
  }

  start() {
    this.outbox.addEventListener('change', () => this.#soon());
    this.outbox.addEventListener('answered', ({ detail }) => this.#answered(detail));
    this.outbox.addEventListener('refused', ({ detail }) => this.#refused(detail.entry));
    this.view.refs.waiting.addEventListener('click', () => this.outbox.retry());
    window.addEventListener('beforeunload', (event) => {
      if (this.outbox.isFragile) event.preventDefault();
    });
    document.querySelector('[data-sign-out]')?.addEventListener('submit', (event) => {
      const count = this.outbox.pending().length;
      const warning = `${count} ${count === 1 ? 'answer is' : 'answers are'} not sent yet. They stay on this device until you sign in again. Sign out?`;
      if (count > 0 && !window.confirm(warning)) event.preventDefault();
    });
    for (const entry of this.outbox.refused()) this.#showRefusal(entry);
    this.#soon();
  }

  /** @param {string} code `signed_out` or `other_person` */
  showSignedOut(code) {
    const text =
      code === 'other_person'
        ? 'Somebody else has signed in on this browser. What you rated is kept here until you sign in again.'
        : 'You are signed out. What you rated is kept and goes out when you sign in again.';
    const here = encodeURIComponent(location.pathname);
    const signIn = () => window.open(`${this.signInUrl}?next=${here}`, '_blank', 'noopener');
    this.view.notify(text, { key: 'signed-out', kind: 'problem', actions: [['Sign in', signIn]] });
  }

  #answered({ entry, assignment }) {
    this.view.dismiss('signed-out');
    const isLast = !this.outbox.pending().some((each) => each.assignment === entry.assignment);
    if (isLast && (entry.kind === 'submit' || entry.kind === 'skip')) dropDraft(entry.assignment);
    this.items.confirm(assignment);
    if (entry.kind === 'submit' && assignment.rating?.surplus) {
      this.view.notify('Kept as an extra rating: the item’s place had been filled meanwhile.', { key: 'surplus' });
    }
    this.onChange();
  }

  #refused(entry) {
    const item = this.items.find(entry.assignment);
    this.items.revert(entry.assignment);
    if (item && GONE.includes(entry.status)) item.isLapsed = true;
    this.#showRefusal(entry);
    this.onChange();
  }

  #showRefusal(entry) {
    const what = { submit: 'A rating', clear: 'Clearing a rating', skip: 'A skip', reopen: 'Undoing a skip' }[entry.kind];
    const dismiss = () => this.outbox.dismiss(entry.key);
    const goBack = () => {
      dismiss();
      if (entry.queue === this.queue) this.goTo(entry.assignment);
      else location.assign(`${this.queueRoot}${entry.queue}/?item=${entry.assignment}`);
    };
    this.view.notify(`${what} was not accepted: ${entry.refusal}`, {
      key: entry.key,
      kind: 'problem',
      actions: [
        ['Go back to it', goBack],
        ['Dismiss', dismiss],
      ],
    });
  }

  /** Sending is quiet: it is spoken of when it takes longer than a moment. */
  #soon() {
    clearTimeout(this.#timer);
    const count = this.outbox.pending().length;
    if (count === 0 || this.outbox.obstacle) this.#showWaiting(count);
    else this.#timer = setTimeout(() => this.#showWaiting(this.outbox.pending().length), QUIET_MS);
  }

  #showWaiting(count) {
    const { waiting } = this.view.refs;
    const { obstacle, isFragile } = this.outbox;
    const why = { offline: 'Offline · ', signed_out: 'Signed out · ', other_person: 'Signed out · ' }[obstacle] ?? '';
    waiting.hidden = count === 0;
    waiting.textContent = `${why}${count} waiting to be sent${isFragile ? ' · keep this page open' : ''}`;
    if (obstacle && obstacle !== 'offline') this.showSignedOut(obstacle);
  }
}
