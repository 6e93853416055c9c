/** The page as the evaluator sees it: all that writes to the document, nothing that decides. */

const NOTICE_MS = 7_000;
/** A stage this much wider than high has room for two images beside each other. */
const WIDE = 1.25;

export class View {
  refs = elementsBy('ref');
  layers = elementsBy('layer');
  /** By the stage's shape until the evaluator chooses. @type {'beside'|'slider'|null} */
  #layout = null;
  #inputIndex = 0;
  /** Whose images are on the stage. @type {import('./items.js').Item|null} */
  #painted = null;

  constructor() {
    new ResizeObserver(() => this.#arrange()).observe(this.refs.stage);
  }

  /** @returns {string} the page's own sentence of this name, with its gaps filled */
  words(name, ...gaps) {
    const { textContent } = this.refs.words.content.querySelector(`[data-words="${name}"]`);
    return textContent.replaceAll('{}', () => gaps.shift());
  }

  /** @param {import('./items.js').Item} [item] its words at once, its images once they are decoded */
  showItem(item) {
    this.refs.brief.textContent = item?.assignment.brief ?? '';
    this.refs.briefBox.scrollTop = 0;
    if (item) this.#showScale(item.assignment.criterion);
    this.#painted = item?.images === 'ready' ? item : null;
    this.peek(false);
    this.#paint();
  }

  /** @returns {string} what became of the item so far */
  describe({ assignment, isLapsed, rating, state }) {
    if (state === 'skipped') return this.words('is-skipped');
    if (!rating) return isLapsed ? this.words('is-lapsed') : '';
    const { name } = assignment.criterion.levels.find(({ level }) => level === rating.level) ?? {};
    return this.words(rating.surplus ? 'is-extra' : 'is-rated', rating.level, name ?? '');
  }

  /** What was decided of the item, and what can be. */
  showState(item, { draft, canContinue, undo }) {
    const { refs } = this;
    const place = item ? this.describe(item) : '';
    for (const button of refs.levels.children) {
      press(button, Number(button.dataset.level) === item?.rating?.level);
      button.disabled = item?.images !== 'ready';
    }
    for (const name of ['note', 'flag', 'skip', 'zoom']) refs[name].disabled = !item;
    press(refs.flag, draft.flagged);
    if (refs.note !== document.activeElement) refs.note.value = draft.note;
    refs.place.hidden = place === '';
    refs.placeText.textContent = place;
    refs.continue.hidden = !canContinue;
    refs.undo.disabled = !undo;
    refs.undo.textContent = `Undo ${undo ?? ''}`;
  }

  /** @param {string} [text] a title and a sentence, with a bar between; without, the images speak */
  showMessage(text = '', { canRetry = false, isEnd = false } = {}) {
    const [title, sentence = ''] = text.split('|');
    const { refs } = this;
    refs.stageMessage.hidden = text === '';
    refs.stageTitle.textContent = title;
    refs.stageText.textContent = sentence;
    refs.retry.hidden = !canRetry;
    refs.historyLink.hidden = !isEnd;
  }

  /** For those who listen instead of looking. */
  announce(text) {
    this.refs.announcer.textContent = text;
  }

  /**
   * @param {{key?: string, actions?: [string, () => void][]}} options a notice replaces the one of its
   *   key; one without actions goes by itself
   */
  notify(text, { key = text, actions = [] } = {}) {
    this.dismiss(key);
    const notice = Object.assign(document.createElement('li'), { className: 'notice' });
    notice.dataset.key = key;
    const buttons = actions.map(([label, act]) => makeButton(label, 'button button-small', act));
    for (const button of buttons) button.addEventListener('click', () => notice.remove());
    notice.append(text, ...buttons);
    this.refs.notices.append(notice);
    this.announce(text);
    if (actions.length === 0) setTimeout(() => notice.remove(), NOTICE_MS);
  }

  /** Notify in the page's own words. */
  say(name, ...gaps) {
    this.notify(this.words(name, ...gaps));
  }

  dismiss(key) {
    [...this.refs.notices.children].find((notice) => notice.dataset.key === key)?.remove();
  }

  /** Show the input in the output's place. */
  peek(isPeeking) {
    this.refs.stage.toggleAttribute('data-peek', isPeeking && this.#hasInput);
  }

  chooseLayout(layout) {
    this.#layout = layout;
    this.#arrange();
  }

  get #hasInput() {
    return this.#painted?.pictures.length > 1;
  }

  #showScale({ id, name, description, levels }) {
    const { refs } = this;
    if (refs.levels.dataset.criterion === id) return;
    refs.levels.dataset.criterion = id;
    refs.criterion.textContent = name;
    refs.criterion.title = description;
    refs.scaleTitle.textContent = `The scale: ${name}`;
    refs.levels.replaceChildren(...levels.map((level) => fill(refs.levelTemplate, level)));
    refs.scale.replaceChildren(...levels.map((level) => fill(refs.scaleTemplate, level)));
  }

  #paint() {
    const [output, ...inputs] = this.#painted?.pictures ?? [];
    const input = inputs[this.#inputIndex] ?? inputs[0];
    if (output) output.alt = 'Output to rate';
    this.layers.output.replaceChildren(...(output ? [output] : []));
    for (const layer of [this.layers.beside, this.layers.over]) {
      layer.replaceChildren(...(input ? [Object.assign(input.cloneNode(), { alt: 'Input' })] : []));
    }
    const { compare, inputs: choice } = this.refs;
    compare.hidden = !input;
    choice.hidden = inputs.length < 2;
    choice.replaceChildren(...inputs.map((each, index) => this.#toChoice(index, each === input)));
    this.#arrange();
  }

  #toChoice(index, isChosen) {
    const isMask = this.#painted.assignment.inputs[index].role === 'mask';
    const button = makeButton(isMask ? 'Mask' : index + 1, 'button', () => {
      this.#inputIndex = index;
      this.#paint();
    });
    press(button, isChosen);
    return button;
  }

  #arrange() {
    const { stage } = this.refs;
    const byShape = stage.clientWidth > WIDE * stage.clientHeight ? 'beside' : 'slider';
    stage.dataset.shows = this.#hasInput ? (this.#layout ?? byShape) : 'single';
    for (const button of this.refs.compare.querySelectorAll('[data-layout]')) {
      press(button, button.dataset.layout === stage.dataset.shows);
    }
    stage.dispatchEvent(new Event('layout'));
  }
}

function elementsBy(name) {
  const elements = [...document.querySelectorAll(`[data-${name}]`)];
  return Object.fromEntries(elements.map((element) => [element.dataset[name], element]));
}

function press(button, isPressed) {
  button.setAttribute('aria-pressed', String(isPressed));
}

function makeButton(textContent, className, onclick) {
  return Object.assign(document.createElement('button'), { type: 'button', textContent, className, onclick });
}

function fill(template, level) {
  const copy = template.content.firstElementChild.cloneNode(true);
  copy.dataset.level = level.level;
  copy.title = level.description;
  for (const gap of copy.querySelectorAll('[data-fact]')) gap.textContent = level[gap.dataset.fact];
  return copy;
}
