/**
 * Zoom and pan of every layer on the stage at once. What is looked at is kept as a scale and a place
 * within the image, so it stays for the next image, for the input beside it, and when the window changes.
 */

const MOST = 8;
const WHEEL_STEP = 1.0015;
const SWIPE_MIN_PX = 50;
const DOUBLE_TAP_MS = 300;
const DOUBLE_TAP_PX = 24;

export class Zoom {
  /** CSS pixels per image pixel; null fits the image into the pane. @type {number|null} */
  #scale = null;
  /** The place of the image, as fractions, that lies in the pane's middle. */
  #x = 0.5;
  #y = 0.5;
  #width = 1;
  #height = 1;
  /** @type {Map<number, {x: number, y: number}>} fingers or the pressed mouse */
  #pointers = new Map();
  #gesture = null;
  #lastTap = { time: 0, x: 0, y: 0 };

  /**
   * @param {HTMLElement} stage holds panes (`[data-pane]`), which hold layers (`[data-layer]`) with images
   * @param {{onChange: () => void, onSwipe: (direction: 1|-1) => void}} callbacks
   */
  constructor(stage, { onChange, onSwipe }) {
    this.stage = stage;
    this.onChange = onChange;
    this.onSwipe = onSwipe;
    stage.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    stage.addEventListener('pointerdown', (event) => this.#down(event));
    stage.addEventListener('pointermove', (event) => this.#move(event));
    stage.addEventListener('pointerup', (event) => this.#up(event));
    stage.addEventListener('pointercancel', (event) => this.#drop(event));
    new ResizeObserver(() => this.apply()).observe(stage);
  }

  get isFit() {
    return this.#scale === null;
  }

  get percent() {
    return Math.round(100 * this.#effectiveScale());
  }

  /** @param {number} width @param {number} height of the images to be shown, in pixels */
  setSize(width, height) {
    this.#width = width;
    this.#height = height;
    this.apply();
  }

  /** Between fit and 100 %, around the place last looked at. */
  toggle() {
    this.#scale = this.isFit ? 1 : null;
    this.apply();
  }

  /** Lay out every image on the stage. */
  apply() {
    const pane = this.#paneSize();
    const scale = this.#effectiveScale();
    const width = this.#width * scale;
    const height = this.#height * scale;
    this.#x = clampCentre(this.#x, width, pane.width, this.isFit);
    this.#y = clampCentre(this.#y, height, pane.height, this.isFit);
    const x = this.isFit ? 0.5 : this.#x;
    const y = this.isFit ? 0.5 : this.#y;
    for (const image of this.stage.querySelectorAll('[data-layer] img')) {
      image.style.width = `${width}px`;
      image.style.height = `${height}px`;
      image.style.transform = `translate(${pane.width / 2 - x * width}px, ${pane.height / 2 - y * height}px)`;
    }
    this.stage.toggleAttribute('data-pannable', width > pane.width + 1 || height > pane.height + 1);
    this.onChange();
  }

  #paneSize() {
    return this.stage.querySelector('[data-pane="output"]').getBoundingClientRect();
  }

  #fitScale() {
    const pane = this.#paneSize();
    return Math.min(pane.width / this.#width, pane.height / this.#height) || 1;
  }

  #effectiveScale() {
    return this.#scale ?? this.#fitScale();
  }

  /** @param {number} factor @param {{x: number, y: number}} point from the pane's middle, in CSS pixels */
  #zoomAt(factor, point) {
    const before = this.#effectiveScale();
    const fit = this.#fitScale();
    if (this.isFit) [this.#x, this.#y] = [0.5, 0.5];
    const after = Math.min(MOST, before * factor);
    if (after <= Math.min(fit, 1) || (factor < 1 && before > fit && after <= fit)) {
      this.#scale = null;
    } else {
      this.#scale = after;
      this.#x += (point.x / this.#width) * (1 / before - 1 / after);
      this.#y += (point.y / this.#height) * (1 / before - 1 / after);
    }
    this.apply();
  }

  /** From the middle of the pane that lies under the place. */
  #toPoint({ x, y, target }) {
    const pane = target.closest?.('[data-pane]') ?? this.stage.querySelector('[data-pane="output"]');
    const box = pane.getBoundingClientRect();
    return { x: x - box.left - box.width / 2, y: y - box.top - box.height / 2 };
  }

  #wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1) * (event.ctrlKey ? 5 : 1);
    const point = this.#toPoint({ x: event.clientX, y: event.clientY, target: event.target });
    this.#zoomAt(WHEEL_STEP ** -Math.max(-400, Math.min(400, pixels)), point);
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest('button')) return;
    this.stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#pointers.size === 1) {
      this.#gesture = {
        x: event.clientX,
        y: event.clientY,
        target: event.target,
        time: event.timeStamp,
        kind: event.pointerType,
        wasPinch: false,
      };
    } else if (this.#gesture) {
      this.#gesture.wasPinch = true;
    }
  }

  #move(event) {
    const last = this.#pointers.get(event.pointerId);
    if (!last) return;
    const now = { x: event.clientX, y: event.clientY };
    if (this.#pointers.size === 1 && this.stage.hasAttribute('data-pannable')) {
      const scale = this.#effectiveScale();
      this.#x -= (now.x - last.x) / (this.#width * scale);
      this.#y -= (now.y - last.y) / (this.#height * scale);
      this.apply();
    } else if (this.#pointers.size === 2) {
      const [other] = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      this.#x -= (now.x - last.x) / 2 / (this.#width * this.#effectiveScale());
      this.#y -= (now.y - last.y) / 2 / (this.#height * this.#effectiveScale());
      const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2, target: this.#gesture.target };
      this.#zoomAt(distance(now, other) / (distance(last, other) || 1), this.#toPoint(middle));
    }
    this.#pointers.set(event.pointerId, now);
  }

  #up(event) {
    const gesture = this.#gesture;
    this.#drop(event);
    if (!gesture || gesture.wasPinch || this.#pointers.size > 0) return;
    const dx = event.clientX - gesture.x;
    const dy = event.clientY - gesture.y;
    const isSwipe = Math.abs(dx) > SWIPE_MIN_PX && Math.abs(dx) > 1.5 * Math.abs(dy);
    if (isSwipe && gesture.kind !== 'mouse' && !this.stage.hasAttribute('data-pannable')) {
      this.onSwipe(dx < 0 ? 1 : -1);
    } else if (Math.hypot(dx, dy) < 8) {
      this.#tap(event, gesture);
    }
  }

  #tap(event, gesture) {
    const place = { x: event.clientX, y: event.clientY };
    const isSecond = event.timeStamp - this.#lastTap.time < DOUBLE_TAP_MS;
    if (isSecond && distance(place, this.#lastTap) < DOUBLE_TAP_PX) {
      if (this.isFit) this.#zoomAt(1 / this.#fitScale(), this.#toPoint({ ...place, target: gesture.target }));
      else this.toggle();
      this.#lastTap = { time: 0, x: 0, y: 0 };
    } else {
      this.#lastTap = { time: event.timeStamp, ...place };
    }
  }

  #drop(event) {
    this.#pointers.delete(event.pointerId);
    if (this.#pointers.size === 0) this.#gesture = null;
  }
}

/** Keep the image's edge from coming inside the pane; an image smaller than the pane stays centred. */
function clampCentre(centre, size, pane, isFit) {
  if (isFit) return centre;
  if (size <= pane) return 0.5;
  const margin = pane / 2 / size;
  return Math.min(1 - margin, Math.max(margin, centre));
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
