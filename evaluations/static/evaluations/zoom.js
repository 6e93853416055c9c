/**
 * Zoom and pan of every layer on the stage at once. What is looked at is kept as a scale and a place within
 * the image, so it stays for the next image, for the input beside it, and in another window size.
 */

const MOST = 8;
const WHEEL_STEP = 1.0015;
const TAP_PX = 10;
const SWIPE_PX = 50;
const DOUBLE_TAP_MS = 300;

export class Zoom {
  /** CSS pixels per image pixel; null fits the image into its pane. @type {number|null} */
  #scale = null;
  /** The place of the image, in fractions, that lies in the pane's middle. */
  #centre = { x: 0.5, y: 0.5 };
  #size = { x: 1, y: 1 };
  /** Fingers on the stage, or the pressed mouse. */
  #pointers = new Map();
  #gesture = null;
  #isPannable = false;
  #lastTap = { time: 0, x: 0, y: 0 };

  /**
   * @param {HTMLElement} stage holds panes, which hold layers with images
   * @param {{onChange: () => void, onSwipe: (direction: 1|-1) => void}} callbacks
   */
  constructor(stage, callbacks) {
    Object.assign(this, callbacks);
    this.stage = stage;
    this.pane = stage.querySelector('[data-pane="output"]');
    stage.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    stage.addEventListener('pointerdown', (event) => this.#down(event));
    stage.addEventListener('pointermove', (event) => this.#move(event));
    stage.addEventListener('pointerup', (event) => this.#up(event));
    stage.addEventListener('pointercancel', (event) => this.#pointers.delete(event.pointerId));
  }

  get isFit() {
    return this.#scale === null;
  }

  get percent() {
    return Math.round(100 * this.#effectiveScale);
  }

  setSize({ width, height }) {
    this.#size = { x: width, y: height };
    this.apply();
  }

  /** Fit or 100 %, around the place last looked at. */
  toggle() {
    this.#scale = this.isFit ? 1 : null;
    this.apply();
  }

  /** Lay out every image on the stage. */
  apply() {
    const scale = this.#effectiveScale;
    const box = { x: this.pane.clientWidth, y: this.pane.clientHeight };
    const size = { x: this.#size.x * scale, y: this.#size.y * scale };
    const offset = {};
    for (const axis of ['x', 'y']) {
      if (!this.isFit) this.#centre[axis] = clampCentre(this.#centre[axis], box[axis] / size[axis]);
      offset[axis] = box[axis] / 2 - (this.isFit ? 0.5 : this.#centre[axis]) * size[axis];
    }
    for (const { style } of this.stage.querySelectorAll('[data-layer] img')) {
      style.width = `${size.x}px`;
      style.height = `${size.y}px`;
      style.transform = `translate(${offset.x}px, ${offset.y}px)`;
    }
    this.#isPannable = size.x > box.x + 1 || size.y > box.y + 1;
    this.stage.toggleAttribute('data-pannable', this.#isPannable);
    this.onChange();
  }

  get #fitScale() {
    return Math.min(this.pane.clientWidth / this.#size.x, this.pane.clientHeight / this.#size.y) || 1;
  }

  get #effectiveScale() {
    return this.#scale ?? this.#fitScale;
  }

  /** Zoom so that what lies under the place stays there. */
  #zoomAt(factor, place, target) {
    const pane = (target.closest('[data-pane]') ?? this.pane).getBoundingClientRect();
    const before = this.#effectiveScale;
    const after = Math.min(MOST, before * factor);
    if (this.isFit) this.#centre = { x: 0.5, y: 0.5 };
    if (factor < 1 && after <= Math.min(this.#fitScale, 1)) {
      this.#scale = null;
    } else {
      const growth = 1 / before - 1 / after;
      this.#scale = after;
      this.#centre.x += ((place.x - pane.left - pane.width / 2) / this.#size.x) * growth;
      this.#centre.y += ((place.y - pane.top - pane.height / 2) / this.#size.y) * growth;
    }
    this.apply();
  }

  #pan(from, to) {
    this.#centre.x -= (to.x - from.x) / (this.#size.x * this.#effectiveScale);
    this.#centre.y -= (to.y - from.y) / (this.#size.y * this.#effectiveScale);
    this.apply();
  }

  #wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1) * (event.ctrlKey ? 5 : 1);
    this.#zoomAt(WHEEL_STEP ** -Math.max(-400, Math.min(400, pixels)), placeOf(event), event.target);
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest('button, a')) return;
    this.stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, placeOf(event));
    if (this.#pointers.size > 1) this.#gesture.wasPinch = true;
    else this.#gesture = { start: placeOf(event), target: event.target, wasPinch: false };
  }

  #move(event) {
    const last = this.#pointers.get(event.pointerId);
    if (!last) return;
    const now = placeOf(event);
    this.#pointers.set(event.pointerId, now);
    const [one, two] = this.#pointers.values();
    if (two) {
      const still = one === now ? two : one;
      const middle = { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2 };
      this.#pan({ x: last.x / 2, y: last.y / 2 }, { x: now.x / 2, y: now.y / 2 });
      this.#zoomAt(distance(now, still) / (distance(last, still) || 1), middle, this.#gesture.target);
    } else if (this.#isPannable) {
      this.#pan(last, now);
    }
  }

  #up(event) {
    const gesture = this.#gesture;
    if (!this.#pointers.delete(event.pointerId) || this.#pointers.size > 0 || gesture.wasPinch) return;
    const place = placeOf(event);
    const dx = place.x - gesture.start.x;
    const isSideways = Math.abs(dx) > Math.max(SWIPE_PX, 1.5 * Math.abs(place.y - gesture.start.y));
    const isSwipe = isSideways && event.pointerType !== 'mouse' && !this.#isPannable;
    if (distance(place, gesture.start) < TAP_PX) this.#tap(event, place, gesture.target);
    else if (isSwipe) this.onSwipe(dx < 0 ? 1 : -1);
  }

  #tap({ timeStamp }, place, target) {
    const isDouble =
      timeStamp - this.#lastTap.time < DOUBLE_TAP_MS && distance(place, this.#lastTap) < 2 * TAP_PX;
    this.#lastTap = { time: isDouble ? 0 : timeStamp, ...place };
    if (isDouble && this.isFit) this.#zoomAt(1 / this.#fitScale, place, target);
    else if (isDouble) this.toggle();
  }
}

/** Keep the image's edges out of the pane, a small image in its middle. */
function clampCentre(centre, share) {
  return share >= 1 ? 0.5 : Math.min(1 - share / 2, Math.max(share / 2, centre));
}

function placeOf(event) {
  return { x: event.clientX, y: event.clientY };
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
