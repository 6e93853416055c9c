/**
 * Zoom and pan of every layer on the stage at once. What is looked at is kept as a scale and a place within
 * the image, so it stays for the next image, for the input beside it, and in another window size.
 */
import { refs } from './view.js';

const MOST = 8;
const WHEEL_STEP = 1.0015;
const TAP_PX = 10;
const SWIPE_PX = 50;
const DOUBLE_TAP_MS = 300;

const { stage, outputPane } = refs;
/** CSS pixels per image pixel; null fits the image into its pane. @type {number|null} */
let chosen = null;
/** The place of the image, in fractions, that lies in the pane's middle. */
let centre = { x: 0.5, y: 0.5 };
let size = { x: 1, y: 1 };
let isPannable = false;
/** Fingers on the stage, or the pressed mouse. */
const pointers = new Map();
let gesture = null;
let lastTap = { time: 0, x: 0, y: 0 };

/** @param {(direction: 1|-1) => void} onSwipe for the later item, or the earlier one */
export function listenToPointers(onSwipe) {
  stage.addEventListener('wheel', onWheel, { passive: false });
  stage.addEventListener('pointerdown', onDown);
  stage.addEventListener('pointermove', onMove);
  stage.addEventListener('pointerup', (event) => onUp(event, onSwipe));
  stage.addEventListener('pointercancel', (event) => pointers.delete(event.pointerId));
}

export function setSize({ width, height }) {
  size = { x: width, y: height };
  apply();
}

/** Fit or 100 %, around the place last looked at. */
export function toggle() {
  chosen = chosen === null ? 1 : null;
  apply();
}

/** Lay out every image on the stage. */
export function apply() {
  const box = { x: outputPane.clientWidth, y: outputPane.clientHeight };
  const scaled = { x: size.x * scale(), y: size.y * scale() };
  const offset = {};
  for (const axis of ['x', 'y']) {
    if (chosen !== null) centre[axis] = clampCentre(centre[axis], box[axis] / scaled[axis]);
    offset[axis] = box[axis] / 2 - (chosen === null ? 0.5 : centre[axis]) * scaled[axis];
  }
  for (const { style } of stage.querySelectorAll('[data-layer] img')) {
    style.width = `${scaled.x}px`;
    style.height = `${scaled.y}px`;
    style.transform = `translate(${offset.x}px, ${offset.y}px)`;
  }
  isPannable = scaled.x > box.x + 1 || scaled.y > box.y + 1;
  stage.toggleAttribute('data-pannable', isPannable);
  refs.zoom.textContent = chosen === null ? 'Fit' : `${Math.round(100 * chosen)} %`;
}

function fitScale() {
  return Math.min(outputPane.clientWidth / size.x, outputPane.clientHeight / size.y) || 1;
}

function scale() {
  return chosen ?? fitScale();
}

/** Keep the image's edges out of the pane, a small image in its middle. */
function clampCentre(wanted, share) {
  return share >= 1 ? 0.5 : Math.min(1 - share / 2, Math.max(share / 2, wanted));
}

/** Zoom so that what lies under the place stays there. */
function zoomAt(factor, place, target) {
  const pane = (target.closest('[data-pane]') ?? outputPane).getBoundingClientRect();
  const before = scale();
  const after = Math.min(MOST, before * factor);
  if (chosen === null) centre = { x: 0.5, y: 0.5 };
  if (factor < 1 && after <= Math.min(fitScale(), 1)) {
    chosen = null;
  } else {
    const growth = 1 / before - 1 / after;
    chosen = after;
    centre.x += ((place.x - pane.left - pane.width / 2) / size.x) * growth;
    centre.y += ((place.y - pane.top - pane.height / 2) / size.y) * growth;
  }
  apply();
}

function pan(from, to, share = 1) {
  centre.x -= (share * (to.x - from.x)) / (size.x * scale());
  centre.y -= (share * (to.y - from.y)) / (size.y * scale());
  apply();
}

function onWheel(event) {
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1) * (event.ctrlKey ? 5 : 1);
  zoomAt(WHEEL_STEP ** -Math.max(-400, Math.min(400, pixels)), placeOf(event), event.target);
}

function onDown(event) {
  if (event.button !== 0 || event.target.closest('button, a')) return;
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, placeOf(event));
  if (pointers.size > 1) gesture.wasPinch = true;
  else gesture = { start: placeOf(event), target: event.target, wasPinch: false };
}

function onMove(event) {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const now = placeOf(event);
  pointers.set(event.pointerId, now);
  const [one, two] = pointers.values();
  if (two) {
    const still = one === now ? two : one;
    const middle = { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2 };
    pan(last, now, 0.5);
    zoomAt(distance(now, still) / (distance(last, still) || 1), middle, gesture.target);
  } else if (isPannable) {
    pan(last, now);
  }
}

function onUp(event, onSwipe) {
  if (!pointers.delete(event.pointerId) || pointers.size > 0 || gesture.wasPinch) return;
  const { start, target } = gesture;
  const place = placeOf(event);
  const dx = place.x - start.x;
  const isSideways = Math.abs(dx) > Math.max(SWIPE_PX, 1.5 * Math.abs(place.y - start.y));
  if (distance(place, start) < TAP_PX) onTap(event, place, target);
  else if (isSideways && event.pointerType !== 'mouse' && !isPannable) onSwipe(dx < 0 ? 1 : -1);
}

function onTap({ timeStamp }, place, target) {
  const isDouble = timeStamp - lastTap.time < DOUBLE_TAP_MS && distance(place, lastTap) < 2 * TAP_PX;
  lastTap = { time: isDouble ? 0 : timeStamp, ...place };
  if (!isDouble) return;
  if (chosen === null) zoomAt(1 / fitScale(), place, target);
  else toggle();
}

function placeOf(event) {
  return { x: event.clientX, y: event.clientY };
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
