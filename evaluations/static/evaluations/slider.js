/** The before/after divider: the input on its left, the output on its right. It stays where it was put. */
import { layers, refs } from './view.js';

const KEY_STEP = 2;
const { divider } = refs;
/** In percent of the pane: 0 is all output, 100 all input. */
let position = 50;

export function listenToDivider() {
  divider.addEventListener('pointerdown', (event) => {
    event.stopPropagation();
    divider.setPointerCapture(event.pointerId);
  });
  divider.addEventListener('pointermove', (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = refs.outputPane.getBoundingClientRect();
    moveTo((100 * (event.clientX - box.left)) / box.width);
  });
  divider.addEventListener('keydown', onKey);
  moveTo(position);
}

function moveTo(target) {
  position = Math.min(100, Math.max(0, target));
  divider.style.left = `${position}%`;
  layers.over.style.clipPath = `inset(0 ${100 - position}% 0 0)`;
  divider.setAttribute('aria-valuenow', String(Math.round(position)));
}

function onKey(event) {
  const step = { ArrowLeft: -KEY_STEP, ArrowRight: KEY_STEP, Home: -100, End: 100 }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  // The arrows belong to the divider while it has the focus; elsewhere they walk through the items.
  event.preventDefault();
  event.stopPropagation();
  moveTo(position + step);
}
