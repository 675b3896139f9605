// Forms: labelled fields from a list, errors in words, and an editor for arguments.

import { h } from './dom.js';
import { openDialog, tell } from './dialog.js';

let ids = 0;
const newId = () => `field-${(ids += 1)}`;

// What a field does: it has a node, gives its value, and can be set back.
const KINDS = {
  text: (field, id) => input(field, id, 'text'),
  password: (field, id) => input(field, id, 'password'),
  number: (field, id) => input(field, id, 'number'),
  search: (field, id) => input(field, id, 'search'),
  area: (field, id) => {
    const node = h(
      'textarea',
      { id, rows: field.rows ?? 4, spellcheck: 'false', required: field.required },
      field.value ?? '',
    );
    return { node, value: () => node.value, reset: () => (node.value = field.value ?? '') };
  },
  select: (field, id) => {
    const node = h(
      'select',
      { id, onchange: field.onchange && (() => field.onchange(node.value)) },
      options(field.options, field.value),
    );
    return { node, value: () => node.value, reset: () => node.options.length && setTo(node, field.value) };
  },
  check: (field, id) => {
    const node = h('input', { id, type: 'checkbox', checked: field.value });
    return { node, value: () => node.checked, reset: () => (node.checked = Boolean(field.value)) };
  },
  file: (field, id) => {
    const node = h('input', { id, type: 'file', accept: field.accept, required: field.required });
    return { node, value: () => node.files[0], reset: () => (node.value = '') };
  },
  arguments: (field, id) => argumentsEditor(field, id),
};

function input(field, id, type) {
  const { value = '', placeholder, required, min, max, list, autocomplete = 'off' } = field;
  const node = h('input', {
    id,
    type,
    value,
    placeholder,
    required,
    min,
    max,
    list,
    autocomplete,
    spellcheck: 'false',
  });
  return { node, value: () => node.value, reset: () => (node.value = value) };
}

// Options of a select: values, or `[value, label]`.
export function options(list, selected) {
  return list.map((option) => {
    const [value, label] = Array.isArray(option) ? option : [option, option];
    return h('option', { key: value, value, selected: value === selected }, label);
  });
}

function setTo(select, value) {
  select.value = value ?? select.options[0].value;
}

// A form. `fields`: `{ name, label, kind, ... }`, with `when: [other, value]` if they are there only while another field
// has this value, and `words` that one may choose for a list with commas; `submit`: what the button says; `send(values)`
// does it; `done`: what is told then. Returns the form's element.
export function form({ fields, submit, send, done, danger = false, after, reset = true }) {
  const controls = {};
  const error = h('p', { class: 'error', role: 'alert' });
  const rows = fields.map((field) => {
    const id = newId();
    const control = (controls[field.name] = KINDS[field.kind ?? 'text'](field, id));
    return row(field, id, control);
  });
  const show = () =>
    fields.forEach(({ name, when }, i) => {
      if (!when) return;
      rows[i].hidden = controls[when[0]].value() !== when[1];
      // What is not there need not be filled in.
      controls[name].node.disabled = rows[i].hidden;
    });
  show();
  const button = h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, submit);
  const node = h('form', { class: 'fields', onchange: show }, rows, error, h('div', { class: 'actions' }, button));
  node.onsubmit = async (event) => {
    event.preventDefault();
    error.textContent = '';
    button.disabled = true;
    try {
      const values = Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.value()]));
      const result = await send(values);
      const text = typeof done === 'function' ? done(values, result) : done;
      if (text) tell(text);
      if (reset) Object.values(controls).forEach((control) => control.reset());
      show();
      after?.(values, result);
    } catch (failure) {
      error.textContent = failure.message;
    }
    button.disabled = false;
  };
  return node;
}

function row(field, id, control) {
  const hintId = `${id}-hint`;
  const hint = field.hint && h('p', { class: 'hint', id: hintId }, field.hint);
  if (hint) control.node.setAttribute('aria-describedby', hintId);
  if (field.kind === 'check')
    return h('div', { class: 'field check' }, control.node, h('label', { for: id }, field.label), hint);
  // A group of fields has no field that a label could be for.
  if (field.kind === 'arguments') {
    control.node.setAttribute('aria-label', field.label);
    return h('div', { class: 'field wide' }, h('span', { class: 'label' }, field.label), control.node, hint);
  }
  const isWide = field.kind === 'area' || field.wide;
  const words =
    field.words &&
    h(
      'div',
      { class: 'shortcuts' },
      field.words.map((word) => wordButton(control.node, word)),
    );
  return h(
    'div',
    { class: isWide ? 'field wide' : 'field' },
    h('label', { for: id }, field.label),
    control.node,
    words,
    hint,
  );
}

function wordButton(input, word) {
  const add = () => {
    const words = input.value
      .split(',')
      .map((one) => one.trim())
      .filter(Boolean);
    input.value = words.includes(word) ? words.join(', ') : [...words, word].join(', ');
  };
  return h('button', { type: 'button', class: 'link', onclick: add }, word);
}

// A form in a dialog, which it closes when it is done.
export const formDialog = (title, spec) =>
  openDialog(title, (close) =>
    form({
      ...spec,
      after: (...results) => {
        close();
        spec.after?.(...results);
      },
    }),
  );

// Names of arguments for `shortcuts`, by the type of their value.
export const shortcut = {
  number: (key, label, hint) => ({ key, label, type: 'Number', hint }),
  text: (key, label, hint, preset) => ({ key, label, type: 'String', hint, preset }),
  truth: (key, label, hint) => ({ key, label, type: 'Boolean', hint, preset: 'true' }),
};

const TYPES = ['String', 'Number', 'Boolean', 'List'];

// A value as its type has it; an error in words if it is none.
function typed(name, text, type) {
  if (type === 'Number') {
    const number = Number(text);
    if (text.trim() === '' || !Number.isFinite(number))
      throw new Error(`'${name}' is to be a number, but is '${text}'.`);
    return number;
  }
  if (type === 'Boolean') {
    if (text !== 'true' && text !== 'false') throw new Error(`'${name}' is to be true or false, but is '${text}'.`);
    return text === 'true';
  }
  if (type === 'List') return list(name, text);
  return text;
}

function list(name, text) {
  try {
    const value = JSON.parse(text);
    if (Array.isArray(value)) return value;
  } catch {
    // Told below.
  }
  throw new Error(`'${name}' is to be a list in JSON, such as ["a", 1].`);
}

const typeOf = (value) => {
  if (Array.isArray(value)) return 'List';
  return { number: 'Number', boolean: 'Boolean' }[typeof value] ?? 'String';
};

// Rows of name, value and type. `shortcuts`: lines of names that are often wanted, each a title and then
// `{ key, label, type, hint, preset }`.
function argumentsEditor({ shortcuts = [], value = {} }, id) {
  const rows = h('div', { class: 'rows' });
  const add = (key = '', text = '', type = 'String') => {
    const name = h('input', {
      type: 'text',
      class: 'name',
      value: key,
      'aria-label': 'Name',
      placeholder: 'name',
      spellcheck: 'false',
      autocomplete: 'off',
    });
    const content = h('input', {
      type: 'text',
      class: 'value',
      value: text,
      'aria-label': `Value of ${key || 'the argument'}`,
      placeholder: 'value',
      spellcheck: 'false',
      autocomplete: 'off',
    });
    const kind = h('select', { 'aria-label': 'Type' }, options(TYPES, type));
    const remove = h(
      'button',
      { type: 'button', class: 'quiet icon', 'aria-label': 'Remove this row', onclick: () => row.remove() },
      '✕',
    );
    const row = h('div', { class: 'row' }, name, h('span', { 'aria-hidden': 'true' }, '='), content, kind, remove);
    rows.append(row);
    return { name, content };
  };
  const fill = () => {
    rows.replaceChildren();
    for (const [key, own] of Object.entries(value)) {
      add(key, typeof own === 'object' ? JSON.stringify(own) : String(own), typeOf(own));
    }
  };
  fill();
  const choice = ({ key, label, type, hint, preset = '' }) =>
    h(
      'button',
      { type: 'button', class: 'link', title: hint ?? key, onclick: () => add(key, preset, type).content.focus() },
      label,
    );
  const group = ([title, ...keys]) =>
    h('div', { class: 'shortcuts' }, h('span', { class: 'kind' }, title), keys.map(choice));
  const node = h(
    'div',
    { class: 'arguments', role: 'group', id },
    rows,
    shortcuts.map(group),
    h('div', null, h('button', { type: 'button', class: 'small', onclick: () => add().name.focus() }, 'Add a row')),
  );
  const read = () => {
    const result = {};
    for (const row of rows.children) {
      const [name, content] = row.querySelectorAll('input');
      if (name.value === '' && content.value === '') continue;
      if (name.value === '') throw new Error(`The value '${content.value}' has no name.`);
      result[name.value] = typed(name.value, content.value, row.querySelector('select').value);
    }
    return result;
  };
  return { node, value: read, reset: fill };
}
