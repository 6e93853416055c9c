/** The before/after divider: the input on its left, the output on its right. It stays where it was put. */

const KEY_STEP = 2;

export class Slider {
  /** In percent of the pane: 0 is all output, 100 all input. */
  #position = 50;

  /** @param {HTMLElement} divider @param {HTMLElement} layer what lies left of it */
  constructor(divider, layer) {
    Object.assign(this, { divider, layer });
    divider.addEventListener('pointerdown', (event) => {
      event.stopPropagation();
      divider.setPointerCapture(event.pointerId);
    });
    divider.addEventListener('pointermove', (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const box = divider.parentElement.getBoundingClientRect();
      this.moveTo((100 * (event.clientX - box.left)) / box.width);
    });
    divider.addEventListener('keydown', (event) => this.#key(event));
    this.moveTo(this.#position);
  }

  moveTo(position) {
    this.#position = Math.min(100, Math.max(0, position));
    this.divider.style.left = `${this.#position}%`;
    this.layer.style.clipPath = `inset(0 ${100 - this.#position}% 0 0)`;
    this.divider.setAttribute('aria-valuenow', String(Math.round(this.#position)));
  }

  #key(event) {
    const step = { ArrowLeft: -KEY_STEP, ArrowRight: KEY_STEP, Home: -100, End: 100 }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    // The arrows belong to the divider while it has the focus; elsewhere they walk through the items.
    event.preventDefault();
    event.stopPropagation();
    this.moveTo(this.#position + step);
  }
}
