// Bindings as the pages of exchanges and queues list, add and remove them.

import { api, exchangeName, path } from '../core/api.js';
import { attempt } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { form } from '../core/form.js';
import { Listing } from '../core/listing.js';
import { button, exchangeLink, queueLink, values } from '../core/parts.js';

const isToQueue = (binding) => binding.destination_type === 'queue';

const placeOf = ({ vhost, source, destination, destination_type: kind }) =>
  kind === 'queue'
    ? `${path('bindings', vhost, 'e', exchangeName(source), 'q', destination)}`
    : `${path('bindings', vhost, 'e', exchangeName(source), 'e', exchangeName(destination))}`;

const SOURCE = {
  id: 'source',
  label: 'From',
  sort: 'source',
  cell: ({ vhost, source }) =>
    source === '' ? h('span', { class: 'muted' }, 'the default exchange') : exchangeLink(vhost, source),
};
const DESTINATION = {
  id: 'destination',
  label: 'To',
  sort: 'destination',
  cell: (binding) => [
    isToQueue(binding)
      ? queueLink(binding.vhost, binding.destination)
      : exchangeLink(binding.vhost, binding.destination),
    h('span', { class: 'muted' }, ` ${binding.destination_type}`),
  ],
};

// Bindings from or to something. `end`: `source` or `destination`, the one that is not the same in all.
export function bindingList(place, { id, label, end, url, empty }) {
  const unbind = (binding) =>
    attempt(async () => {
      // The key is written as a path has it already.
      await api.delete(`${placeOf(binding)}/${binding.properties_key}`);
      place.refresh();
    }, 'The binding was removed.');
  return new Listing(place, {
    id,
    label,
    columns: [
      end === 'source' ? SOURCE : DESTINATION,
      { id: 'key', label: 'Routing key', sort: 'routing_key', cell: (binding) => h('code', null, binding.routing_key) },
      { id: 'arguments', label: 'Arguments', cell: (binding) => values(binding.arguments, '') },
      // Those of the default exchange are for ever.
      {
        id: 'unbind',
        label: '',
        kind: 'end',
        isFixed: true,
        cell: (binding) => binding.source !== '' && button('Unbind', () => unbind(binding), 'small'),
      },
    ],
    url,
    rowKey: (binding) =>
      `${binding.source} ${binding.destination_type} ${binding.destination} ${binding.properties_key}`,
    hasFilter: false,
    isMain: false,
    empty,
  });
}

const KEY_AND_ARGUMENTS = [
  { name: 'routing_key', label: 'Routing key' },
  {
    name: 'arguments',
    label: 'Arguments',
    kind: 'arguments',
    shortcuts: [
      [
        'Headers exchanges',
        { key: 'x-match', label: 'x-match', type: 'String', preset: 'all', hint: 'all, any, all-with-x or any-with-x' },
      ],
    ],
  },
];

function bindingForm(place, title, fields, toBinding) {
  return h(
    'div',
    null,
    h('h3', null, title),
    form({
      fields: [...fields, ...KEY_AND_ARGUMENTS],
      submit: 'Bind',
      send: (entered) => {
        const { routing_key: routingKey, arguments: own } = entered;
        return api.post(placeOf(toBinding(entered)), { routing_key: routingKey, arguments: own });
      },
      done: 'The binding was added.',
      after: () => place.refresh(),
    }),
  );
}

// Binds a queue to an exchange.
export const bindQueue = (place, vhost, queue) =>
  bindingForm(
    place,
    'Add binding to this queue',
    [{ name: 'source', label: 'From exchange', required: true }],
    ({ source }) => ({
      vhost,
      source,
      destination: queue,
      destination_type: 'queue',
    }),
  );

const TO = [
  {
    name: 'kind',
    label: 'To',
    kind: 'select',
    options: [
      ['queue', 'queue'],
      ['exchange', 'exchange'],
    ],
  },
  { name: 'destination', label: 'Its name', required: true },
];

// Binds something to an exchange.
export const bindFromExchange = (place, vhost, source) =>
  bindingForm(place, 'Add binding from this exchange', TO, ({ kind, destination }) => ({
    vhost,
    source,
    destination,
    destination_type: kind,
  }));
