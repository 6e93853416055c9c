/** The page as the evaluator sees it: all that writes to the document, nothing that decides. */

const NOTICE_MS = 7_000;
const LAYOUT_KEY = 'mayagen:layout';
/** A stage this much wider than high has room for two images. */
const WIDE = 1.25;

export const refs = elementsBy('ref');
export const layers = elementsBy('layer');
/** By the stage's shape until the evaluator chooses. @type {'beside'|'slider'|null} */
let layout = localStorage.getItem(LAYOUT_KEY);
let inputIndex = 0;
/** Whose images are on the stage. @type {import('./items.js').Item|null} */
let painted = null;

new ResizeObserver(arrange).observe(refs.stage);

/** @returns {string} the page's own sentence of this name, with its gaps filled */
export function words(name, ...gaps) {
  const { textContent } = refs.words.content.querySelector(`[data-words="${name}"]`);
  return textContent.replaceAll('{}', () => gaps.shift());
}

/** @param {import('./items.js').Item} [item] its words at once, its images once they are decoded */
export function showItem(item) {
  refs.brief.textContent = item?.assignment.brief ?? '';
  refs.briefBox.scrollTop = 0;
  if (item) showScale(item.assignment.criterion);
  painted = item?.images === 'ready' ? item : null;
  peek(false);
  paint();
}

/** @returns {string} what became of the item so far */
export function describe({ assignment, isLapsed, rating, state }) {
  if (state === 'skipped') return words('is-skipped');
  if (!rating) return isLapsed ? words('is-lapsed') : '';
  const { name } = assignment.criterion.levels.find(({ level }) => level === rating.level) ?? {};
  return words(rating.surplus ? 'is-extra' : 'is-rated', rating.level, name ?? '');
}

/** What was decided, and what can be. */
export function showState(item, { draft, canContinue, undo }) {
  for (const button of refs.levels.children) {
    press(button, Number(button.dataset.level) === item?.rating?.level);
    button.disabled = item?.images !== 'ready';
  }
  for (const name of ['note', 'flag', 'skip', 'zoom']) refs[name].disabled = !item;
  press(refs.flag, draft.flagged);
  if (refs.note !== document.activeElement) refs.note.value = draft.note;
  refs.placeText.textContent = item ? describe(item) : '';
  refs.place.hidden = refs.placeText.textContent === '';
  refs.continue.hidden = !canContinue;
  refs.undo.disabled = !undo;
  refs.undo.textContent = `Undo ${undo ?? ''}`;
}

/** @param {string} [text] title|sentence; without, the images speak */
export function showMessage(text = '', offer = '') {
  [refs.stageTitle.textContent, refs.stageText.textContent = ''] = text.split('|');
  refs.stageMessage.hidden = text === '';
  for (const name of ['retry', 'historyLink']) refs[name].hidden = name !== offer;
}

/** For those who listen instead of looking. */
export function announce(text) {
  refs.announcer.textContent = text;
}

/**
 * @param {{key?: string, actions?: [string, () => void][]}} options a notice replaces the one of its
 *   key; one without actions goes by itself
 */
export function notify(text, { key = text, actions = [] } = {}) {
  dismiss(key);
  const notice = Object.assign(document.createElement('li'), { className: 'notice' });
  notice.dataset.key = key;
  const buttons = actions.map(([label, act]) => makeButton(label, 'button button-small', act));
  for (const button of buttons) button.addEventListener('click', () => notice.remove());
  notice.append(text, ...buttons);
  refs.notices.append(notice);
  announce(text);
  if (actions.length === 0) setTimeout(() => notice.remove(), NOTICE_MS);
}

export function say(name, ...gaps) {
  notify(words(name, ...gaps));
}

export function dismiss(key) {
  [...refs.notices.children].find((notice) => notice.dataset.key === key)?.remove();
}

/** Show the input in the output's place. */
export function peek(isPeeking) {
  refs.stage.toggleAttribute('data-peek', isPeeking && painted?.pictures.length > 1);
}

export function chooseLayout(chosen) {
  layout = chosen;
  localStorage.setItem(LAYOUT_KEY, chosen);
  arrange();
}

function showScale({ id, name, description, levels }) {
  if (refs.levels.dataset.criterion === id) return;
  refs.levels.dataset.criterion = id;
  refs.criterion.textContent = name;
  refs.criterion.title = description;
  refs.scaleTitle.textContent = `The scale: ${name}`;
  refs.levels.replaceChildren(...levels.map((level) => fill(refs.levelTemplate, level)));
  refs.scale.replaceChildren(...levels.map((level) => fill(refs.scaleTemplate, level)));
}

function paint() {
  const [output, ...inputs] = painted?.pictures ?? [];
  const input = inputs[inputIndex] ?? inputs[0];
  layers.output.replaceChildren(...(output ? [output] : []));
  for (const layer of [layers.beside, layers.over]) {
    layer.replaceChildren(...(input ? [input.cloneNode()] : []));
  }
  refs.compare.hidden = !input;
  refs.inputs.hidden = inputs.length < 2;
  refs.inputs.replaceChildren(...inputs.map((each, index) => toChoice(index, each === input)));
  arrange();
}

function toChoice(index, isChosen) {
  const isMask = painted.assignment.inputs[index].role === 'mask';
  const choose = () => {
    inputIndex = index;
    paint();
  };
  const button = makeButton(isMask ? 'Mask' : index + 1, 'button', choose);
  press(button, isChosen);
  return button;
}

function arrange() {
  const { clientWidth, clientHeight, dataset } = refs.stage;
  const byShape = clientWidth > WIDE * clientHeight ? 'beside' : 'slider';
  dataset.shows = painted?.pictures.length > 1 ? (layout ?? byShape) : 'single';
  for (const button of refs.compare.querySelectorAll('[data-layout]')) {
    press(button, button.dataset.layout === dataset.shows);
  }
  refs.stage.dispatchEvent(new Event('layout'));
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
