// What many pages have: sections, pairs of name and value, tags, links to objects.

import { h, patch } from './dom.js';
import { exchangeTitle, plain, UNKNOWN } from './format.js';

// The address of a page of this application.
export const href = (...names) => `#/${names.map(encodeURIComponent).join('/')}`;

export const link = (label, ...names) => h('a', { href: href(...names) }, label);

export const queueLink = (vhost, name) => link(name, 'queues', vhost, name);
export const exchangeLink = (vhost, name) => link(exchangeTitle(name), 'exchanges', vhost, name || 'amq.default');
export const connectionLink = (name) => link(name, 'connections', name);
export const channelLink = (name) => link(name, 'channels', name);
export const vhostLink = (name) => link(name, 'vhosts', name);
export const userLink = (name) => link(name, 'users', name);
export const policyLink = (vhost, name) => link(name, 'policies', vhost, name);

// A titled part of a page; `side` stands beside the title.
export const section = (title, side, ...content) =>
  h('section', { class: 'card' }, h('header', null, h('h2', null, title), side), content);

// The same, to be opened.
export const panel = (title, ...content) =>
  h(
    'details',
    { class: 'card panel' },
    h('summary', null, h('h2', null, title)),
    h('div', { class: 'inside' }, content),
  );

// A place that is drawn anew with every refresh.
export function live(tag = 'div', properties = null) {
  const node = h(tag, properties);
  return { node, draw: (...content) => patch(node, ...content) };
}

// Names with their values. What has no value is left out.
export const pairs = (...list) =>
  h(
    'dl',
    { class: 'pairs' },
    list
      .filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false)
      .map(([name, value]) => h('div', { key: name }, h('dt', null, name), h('dd', null, value))),
  );

// An object of JSON as names with values; an empty one of Erlang is a list.
export function values(object, empty = UNKNOWN) {
  const entries = Object.entries(object ?? {});
  if (entries.length === 0) return h('span', { class: 'muted' }, empty);
  const shown = (value) => (value && typeof value === 'object' && !Array.isArray(value) ? values(value) : plain(value));
  return h(
    'dl',
    { class: 'values' },
    entries.map(([name, value]) =>
      h('div', { key: name }, h('dt', null, `${name}:`), ' ', h('dd', null, shown(value))),
    ),
  );
}

// A short word with its meaning. The space keeps it apart from the next where there is no layout, as when it is read out.
export const tag = (word, meaning, kind = '') => [h('abbr', { class: `tag ${kind}`, title: meaning }, word), ' '];

export const words = (list) => (list ?? []).map((word) => [h('span', { class: 'tag' }, word), ' ']);

// A large figure with its name.
export const figure = (label, value, address) => {
  const content = [h('span', { class: 'amount' }, value), h('span', { class: 'label' }, label)];
  return address ? h('a', { class: 'figure', href: address }, content) : h('div', { class: 'figure' }, content);
};

export const state = (word, kind) => h('span', { class: `state ${kind}` }, word);

export const button = (label, onclick, kind = '') => h('button', { type: 'button', class: kind, onclick }, label);

// What is set for a thing when it is declared.
export function declaredTags({ durable, auto_delete: autoDelete, internal, exclusive, arguments: own = {} }, known) {
  const tags = [
    durable && tag('D', 'durable'),
    autoDelete && tag('AD', 'auto-delete'),
    internal && tag('I', 'internal'),
    exclusive && tag('Excl', 'exclusive'),
  ];
  const others = [];
  for (const [name, value] of Object.entries(own)) {
    if (known[name]) tags.push(tag(known[name], `${name}: ${plain(value)}`));
    else if (name !== 'x-queue-type') others.push(`${name}: ${plain(value)}`);
  }
  if (others.length > 0) tags.push(tag('Args', others.join('\n')));
  return tags;
}

export function policyTags(vhost, { policy, operator_policy: operator, effective_policy_definition: definition }) {
  const meaning = Object.entries(definition ?? {}).map(([name, value]) => `${name}: ${plain(value)}`);
  return [
    policy &&
      h(
        'a',
        { class: 'tag policy', href: href('policies', vhost, policy), title: ['policy', ...meaning].join('\n') },
        policy,
      ),
    ' ',
    operator && tag(operator, ['operator policy', ...meaning].join('\n'), 'policy'),
  ];
}
