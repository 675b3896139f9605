// What exchanges and queues have in common: how all of them are listed, and how one is declared.

import { api, path } from '../core/api.js';
import { formDialog } from '../core/form.js';
import { Listing } from '../core/listing.js';
import { button, declaredTags, policyTags, section } from '../core/parts.js';

// The first columns. `link`: to the page of one; `known`: arguments that have a short word.
export const declaredColumns = (link, known) => [
  { id: 'name', label: 'Name', sort: 'name', cell: ({ vhost, name }) => link(vhost, name) },
  { id: 'vhost', label: 'Virtual host', sort: 'vhost', cell: ({ vhost }) => vhost },
  { id: 'type', label: 'Type', sort: 'type', cell: ({ type }) => type },
  {
    id: 'features',
    label: 'Features',
    kind: 'tags',
    cell: (one) => [declaredTags(one, known), policyTags(one.vhost, one)],
  },
];

// The page of all of a kind; `add` declares one.
export function declaredPage(place, { id, title, label = title, all, columns, empty, addLabel, add }) {
  const listing = new Listing(place, {
    id,
    label,
    columns,
    url: () => place.within(id),
    rowKey: ({ vhost, name }) => `${vhost} ${name}`,
    sort: 'name',
    empty,
  });
  return {
    title,
    node: section(all, null, listing.node),
    actions: [button(addLabel, () => add(place), 'primary')],
    load: (signal) => listing.load(signal),
  };
}

// Asks for what is declared. `kind`: its path, `word`: what it is called, `type`: the field of its type, `autoDelete`: what
// that means, `flags`: more fields; `body`: what is sent, of the values.
export const declareDialog = (place, { kind, word, vhost, type, autoDelete, flags = [], shortcuts, body }) =>
  formDialog(`Add a new ${word}`, {
    fields: [
      vhost,
      { name: 'name', label: 'Name', required: true },
      { name: 'type', label: 'Type', kind: 'select', ...type },
      {
        name: 'durable',
        label: 'Durability',
        kind: 'select',
        options: [
          ['true', 'Durable'],
          ['false', 'Transient'],
        ],
      },
      { name: 'auto_delete', label: `Auto delete: ${autoDelete}`, kind: 'check' },
      ...flags,
      { name: 'arguments', label: 'Arguments', kind: 'arguments', shortcuts },
    ],
    submit: `Add ${word}`,
    send: ({ vhost: own, name, durable, ...rest }) =>
      api.put(path(kind, own, name), { ...body(rest), durable: durable === 'true' }),
    done: ({ name }) => `The ${word} ${name} was added.`,
    after: () => place.refresh(),
  });
