// Dialogs, which keep the focus inside, and words to say in passing.

import { h } from './dom.js';

let titles = 0;

// Shows a dialog until it is closed; resolves with what `close` was given. The element itself traps the focus, closes
// with Escape, and gives the focus back.
export function openDialog(title, content) {
  return new Promise((resolve) => {
    const id = `dialog-${(titles += 1)}`;
    let result;
    const dialog = h('dialog', { 'aria-labelledby': id });
    const close = (value) => {
      result = value;
      dialog.close();
    };
    dialog.append(
      h(
        'header',
        null,
        h('h2', { id }, title),
        h('button', { type: 'button', class: 'quiet icon', 'aria-label': 'Close', onclick: () => close() }, '✕'),
      ),
      content(close),
    );
    dialog.onclose = () => {
      dialog.remove();
      resolve(result);
    };
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector('form :is(input, select, textarea)')?.focus();
  });
}

// Asks before something that cannot be taken back.
export const confirmed = (title, text, action) =>
  openDialog(title, (close) =>
    h(
      'form',
      {
        onsubmit: (event) => {
          event.preventDefault();
          close(true);
        },
      },
      h('p', null, text),
      h(
        'div',
        { class: 'actions' },
        h('button', { type: 'submit', class: 'danger' }, action),
        h('button', { type: 'button', onclick: () => close(false) }, 'Cancel'),
      ),
    ),
  );

const TOLD_MS = 6000;

// Tells what was done, also to those who listen.
export function tell(text, isError = false) {
  const note = h('p', { class: isError ? 'note bad' : 'note' }, text);
  document.getElementById(isError ? 'errors' : 'notes').append(note);
  setTimeout(() => note.remove(), isError ? 2 * TOLD_MS : TOLD_MS);
}

// Does something, and tells in words why it cannot be done.
export async function attempt(action, done) {
  try {
    const result = await action();
    if (done) tell(done);
    return result;
  } catch (error) {
    tell(error.message, true);
    return undefined;
  }
}
