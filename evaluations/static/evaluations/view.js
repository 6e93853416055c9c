/** The page as the evaluator sees it: everything that writes to the document, and nothing that decides. */

const NOTICE_MS = 7_000;
const WIDE_ENOUGH_FOR_TWO = 1.25;

export class View {
  /** @type {'beside'|'slider'|null} as the evaluator chose; null: by the stage's shape */
  #layout = null;
  #inputIndex = 0;
  /** @type {import('./items.js').Item|null} whose images are on the stage */
  #painted = null;

  constructor() {
    this.refs = Object.fromEntries(
      [...document.querySelectorAll('[data-ref]')].map((element) => [element.dataset.ref, element]),
    );
    this.layers = Object.fromEntries(
      [...document.querySelectorAll('[data-layer]')].map((element) => [element.dataset.layer, element]),
    );
    new ResizeObserver(() => this.#applyLayout()).observe(this.refs.stage);
  }

  /** @param {import('./items.js').Item} item its words at once, its images when they are decoded */
  showItem(item) {
    const { brief, criterion } = item.assignment;
    this.refs.brief.textContent = brief;
    this.refs['brief-box'].scrollTop = 0;
    this.#showScale(criterion);
    this.showState(item);
    if (item.images === 'ready') this.#paint(item);
    else this.#clear();
  }

  /** @param {import('./items.js').Item} item its rating, as far as it goes */
  showState(item) {
    for (const button of this.refs.levels.children) {
      button.setAttribute('aria-pressed', String(Number(button.dataset.level) === item.rating?.level));
    }
  }

  /** @param {{note: string, flagged: boolean}} draft */
  showDraft({ note, flagged }) {
    this.refs.note.value = note;
    this.refs.flag.setAttribute('aria-pressed', String(flagged));
    this.refs['note-box'].toggleAttribute('data-filled', note !== '');
  }

  /** @param {string} text where the evaluator stands when not at an open item; '' hides it */
  showPlace(text, canContinue) {
    this.refs.place.hidden = text === '';
    this.refs['place-text'].textContent = text;
    this.refs.place.querySelector('button').hidden = !canContinue;
  }

  /** @param {string|null} title null: the images speak for themselves */
  showMessage(title, text = '', { canRetry = false, isEnd = false } = {}) {
    this.refs['stage-message'].hidden = title === null;
    this.refs['stage-title'].textContent = title ?? '';
    this.refs['stage-text'].textContent = text;
    this.refs.retry.hidden = !canRetry;
    this.refs['history-link'].hidden = !isEnd;
  }

  /** No item at all: nothing to read, nothing to press. */
  showNothing(text) {
    this.refs.brief.textContent = text;
    this.showPlace('', false);
    this.showDraft({ note: '', flagged: false });
    for (const button of this.refs.levels.children) button.setAttribute('aria-pressed', 'false');
    this.#clear();
  }

  /** @param {boolean} canRate @param {boolean} hasItem */
  enable(canRate, hasItem) {
    for (const button of this.refs.levels.children) button.disabled = !canRate;
    for (const name of ['flag', 'skip', 'zoom']) {
      document.querySelector(`button[data-command="${name}"]`).disabled = !hasItem;
    }
    this.refs.note.disabled = !hasItem;
  }

  /** @param {string|null} step what undo would take back */
  showUndo(step) {
    this.refs.undo.disabled = step === null;
    this.refs.undo.textContent = step ? `Undo ${step}` : 'Undo';
  }

  /** Say something to those who listen instead of looking. */
  announce(text) {
    this.refs.announcer.textContent = text;
  }

  /**
   * @param {string} text
   * @param {{key?: string, kind?: 'info'|'problem', actions?: [string, () => void][]}} options notices of
   *   one key replace each other; one without actions goes by itself
   */
  notify(text, { key = text, kind = 'info', actions = [] } = {}) {
    this.dismiss(key);
    const notice = this.refs['notice-template'].content.cloneNode(true).firstElementChild;
    notice.dataset.key = key;
    notice.classList.add(`notice-${kind}`);
    notice.querySelector('span').textContent = text;
    for (const [label, act] of actions) {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'button button-small';
      button.textContent = label;
      button.addEventListener('click', () => {
        notice.remove();
        act();
      });
      notice.append(button);
    }
    this.refs.notices.append(notice);
    this.announce(text);
    if (actions.length === 0) setTimeout(() => notice.remove(), NOTICE_MS);
  }

  dismiss(key) {
    for (const notice of [...this.refs.notices.children]) if (notice.dataset.key === key) notice.remove();
  }

  /** @param {boolean} isPeeking show the input in the output's place */
  peek(isPeeking) {
    this.refs.stage.toggleAttribute('data-peek', isPeeking && this.#painted?.inputs.length > 0);
  }

  /** @param {'beside'|'slider'} layout */
  chooseLayout(layout) {
    this.#layout = layout;
    this.#applyLayout();
  }

  #showScale(criterion) {
    if (this.refs.levels.dataset.criterion === criterion.id) return;
    this.refs.levels.dataset.criterion = criterion.id;
    this.refs.criterion.textContent = criterion.name;
    this.refs.criterion.title = criterion.description;
    this.refs['scale-title'].textContent = `The scale: ${criterion.name}`;
    const template = this.refs['level-template'].content.firstElementChild;
    this.refs.levels.replaceChildren(...criterion.levels.map((level) => toButton(template, level)));
    this.refs.scale.replaceChildren(...criterion.levels.map(toDefinition));
  }

  #paint(item) {
    this.#painted = item;
    this.#inputIndex = Math.min(this.#inputIndex, Math.max(0, item.inputs.length - 1));
    item.output.alt = 'Output to rate';
    this.layers.output.replaceChildren(item.output);
    this.#paintInput();
    this.refs.compare.hidden = item.inputs.length === 0;
    this.#showInputChoice(item);
    this.#applyLayout();
  }

  #paintInput() {
    const input = this.#painted.inputs[this.#inputIndex];
    for (const name of ['input-beside', 'input-over']) {
      const copies = input ? [input.cloneNode()] : [];
      for (const copy of copies) copy.alt = name === 'input-beside' ? 'Input' : '';
      this.layers[name].replaceChildren(...copies);
    }
  }

  #showInputChoice(item) {
    const inputs = item.assignment.inputs;
    this.refs.inputs.hidden = inputs.length < 2;
    const buttons = inputs.map(({ role }, index) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'button';
      button.textContent = role === 'mask' ? 'Mask' : String(index + 1);
      button.setAttribute('aria-label', role === 'mask' ? 'Mask' : `Input ${index + 1}`);
      button.setAttribute('aria-pressed', String(index === this.#inputIndex));
      button.addEventListener('click', () => {
        this.#inputIndex = index;
        this.#paint(item);
      });
      return button;
    });
    this.refs.inputs.replaceChildren(...(inputs.length > 1 ? buttons : []));
  }

  #applyLayout() {
    const { stage } = this.refs;
    const byShape = stage.clientWidth / stage.clientHeight > WIDE_ENOUGH_FOR_TWO ? 'beside' : 'slider';
    const layout = this.#painted?.inputs.length ? (this.#layout ?? byShape) : 'single';
    for (const button of document.querySelectorAll('[data-layout]')) {
      if (button !== stage) button.setAttribute('aria-pressed', String(button.dataset.layout === layout));
    }
    stage.dataset.shows = layout;
    stage.dispatchEvent(new Event('layout'));
  }

  #clear() {
    this.#painted = null;
    for (const layer of Object.values(this.layers)) layer.replaceChildren();
    this.refs.compare.hidden = true;
    this.#applyLayout();
  }
}

function toButton(template, level) {
  const button = template.cloneNode(true);
  button.dataset.level = level.level;
  button.querySelector('b').textContent = level.level;
  button.querySelector('span').textContent = level.name;
  button.title = level.description;
  return button;
}

function toDefinition(level) {
  const row = document.createElement('div');
  const term = document.createElement('dt');
  const text = document.createElement('dd');
  term.textContent = `${level.level} ${level.name}`;
  text.textContent = level.description;
  row.append(term, text);
  return row;
}
