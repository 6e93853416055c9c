/**
 * What the keyboard means here. Digits go by their place on the keyboard (so AZERTY and the number pad
 * work), letters by what is printed on them (by place where the script is not Latin).
 *
 * @typedef {{name: string, level?: number, stays?: boolean}} Command
 */

const LETTERS = { u: 'undo', s: 'skip', n: 'note', f: 'flag', z: 'zoom', c: 'peek' };
const NAMED = { ArrowLeft: 'back', ArrowRight: 'forward', Backspace: 'undo', ' ': 'zoom' };

/** @param {KeyboardEvent} event @returns {Command|null} */
function commandOf(event) {
  if (event.isComposing || event.altKey || event.getModifierState('AltGraph')) return null;
  if (event.ctrlKey || event.metaKey) {
    return letterOf(event) === 'z' && !event.shiftKey ? { name: 'undo' } : null;
  }
  const digit = /^(?:Digit|Numpad)([0-5])$/.exec(event.code);
  if (digit) return digitCommand(Number(digit[1]), event);
  if (event.key === '?') return { name: 'help' };
  if (event.shiftKey) return null;
  const name = NAMED[event.key] ?? LETTERS[letterOf(event)];
  return name ? { name } : null;
}

function digitCommand(level, event) {
  // Windows hides Shift from the number pad: with NumLock on, Shift+1 arrives as a bare End.
  const stays = event.shiftKey || (event.key.length > 1 && event.getModifierState('NumLock'));
  if (level > 0) return { name: 'rate', level, stays };
  return stays ? null : { name: 'clear' };
}

function letterOf(event) {
  const printed = event.key.toLowerCase();
  if (/^[a-z]$/.test(printed)) return printed;
  const isOtherScript = event.key.length === 1 && event.key.charCodeAt(0) > 127;
  return isOtherScript && event.code.startsWith('Key') ? event.code.slice(3).toLowerCase() : '';
}

/**
 * @param {{run: (command: Command) => void, release: () => void, isReady: () => boolean}} options
 *   `release`: the peek key was let go
 */
export function listenToKeys({ run, release, isReady }) {
  document.addEventListener('keydown', (event) => {
    const command = commandOf(event);
    if (!command || event.defaultPrevented || belongsElsewhere(event)) return;
    event.preventDefault();
    if (event.repeat || (command.name !== 'help' && !isReady())) return;
    run(command);
  });
  document.addEventListener('keyup', (event) => {
    if (letterOf(event) === 'c') release();
  });
  window.addEventListener('blur', release);
}

function belongsElsewhere(event) {
  if (document.querySelector('dialog[open]')) return true;
  const { target } = event;
  if (target.isContentEditable || target.matches('input, textarea, select')) return true;
  return event.key === ' ' && target.closest('button, a, summary, [role="slider"]') !== null;
}
