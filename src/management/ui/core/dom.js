// Builds elements, and brings what is on the page to what it should be. Data becomes text nodes and attributes only:
// nothing here reads HTML, so no name can become markup.

const SVG = 'http://www.w3.org/2000/svg';

// Attributes that stand for what the user has done since: set when they are made, and left alone by `patch`.
const OWN_STATE = { DETAILS: ['open'], DIALOG: ['open'], INPUT: ['value', 'checked'], OPTION: ['selected'] };

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === 'key') element.key = value;
    else if (typeof value === 'function') {
      element[name] = value;
      (element.handlers ??= {})[name] = value;
    } else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...nodes(children));
  return element;
}

// Children as nodes: lists are flattened, nothing stands for nothing, everything else is text.
function nodes(children) {
  const flat = [];
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === '') continue;
    flat.push(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return flat;
}

// An HTML element. `properties`: attributes; functions are handlers (`onclick`); `key` names it among its siblings.
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

// The same in SVG.
export const svg = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

const isSame = (a, b) => a.nodeName === b.nodeName && a.key === b.key && a.type === b.type;

function morph(old, wanted) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  const own = OWN_STATE[old.nodeName] ?? [];
  for (const { name, value } of [...wanted.attributes]) {
    if (!own.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!own.includes(name) && !wanted.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const name of Object.keys({ ...old.handlers, ...wanted.handlers })) old[name] = wanted.handlers?.[name] ?? null;
  old.handlers = wanted.handlers;
  patch(old, ...wanted.childNodes);
}

// Makes the children of `parent` what is wanted. What is there already stays the same element, so that focus,
// selection, scrolling and open details survive a refresh.
export function patch(parent, ...wanted) {
  const keyed = new Map(
    [...parent.childNodes].filter((node) => node.key !== undefined).map((node) => [node.key, node]),
  );
  let at = parent.firstChild;
  for (const node of nodes(wanted)) {
    let match = node.key === undefined ? at : keyed.get(node.key);
    if (match && !isSame(match, node)) match = null;
    if (!match) {
      parent.insertBefore(node, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else parent.insertBefore(match, at);
    if (match !== node) morph(match, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
