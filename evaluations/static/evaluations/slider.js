/** The before/after divider: the input on its left, the output on its right. It stays where it was put. */

const KEY_STEP = 0.02;

export class Slider {
  #position = 0.5;

  /** @param {HTMLElement} divider within its pane @param {HTMLElement} layer that lies left of it */
  constructor(divider, layer) {
    this.divider = divider;
    this.layer = layer;
    divider.addEventListener('pointerdown', (event) => {
      event.stopPropagation();
      divider.setPointerCapture(event.pointerId);
    });
    divider.addEventListener('pointermove', (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const box = divider.parentElement.getBoundingClientRect();
      this.moveTo((event.clientX - box.left) / box.width);
    });
    divider.addEventListener('keydown', (event) => this.#key(event));
    this.moveTo(this.#position);
  }

  /** @param {number} position from 0 (all output) to 1 (all input) */
  moveTo(position) {
    this.#position = Math.min(1, Math.max(0, position));
    const percent = 100 * this.#position;
    this.divider.style.left = `${percent}%`;
    this.layer.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
    this.divider.setAttribute('aria-valuenow', String(Math.round(percent)));
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const targets = {
      ArrowLeft: this.#position - KEY_STEP,
      ArrowRight: this.#position + KEY_STEP,
      Home: 0,
      End: 1,
    };
    if (!(event.key in targets)) return;
    // The arrows belong to the divider while it has the focus; elsewhere they walk through the items.
    event.preventDefault();
    event.stopPropagation();
    this.moveTo(targets[event.key]);
  }
}
