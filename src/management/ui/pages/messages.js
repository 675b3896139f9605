// Publishing, getting and moving messages.

import { api, exchangeName, path } from '../core/api.js';
import { tell } from '../core/dialog.js';
import { h, patch } from '../core/dom.js';
import { form } from '../core/form.js';
import { bytes, count, exchangeTitle, moment, plain } from '../core/format.js';
import { pairs, panel, tag, values } from '../core/parts.js';

const property = (key, label, type = 'String', hint = undefined, preset = '') => ({ key, label, type, hint, preset });

const HEADERS = [
  [
    'Known',
    property('CC', 'CC', 'List', 'more routing keys', '[]'),
    property('BCC', 'BCC', 'List', 'more routing keys, which are not delivered', '[]'),
    property('x-delay', 'x-delay', 'Number', 'ms, for exchanges of type x-delayed-message'),
  ],
];

const PROPERTIES = [
  'Known',
  property('content_type', 'Content type'),
  property('content_encoding', 'Content encoding'),
  property('priority', 'Priority', 'Number', '0 to 255'),
  property('correlation_id', 'Correlation id'),
  property('reply_to', 'Reply to'),
  property('expiration', 'Expiration', 'String', 'ms, as a text'),
  property('message_id', 'Message id'),
  property('timestamp', 'Timestamp', 'Number', 'seconds since 1970'),
  property('type', 'Type'),
  property('user_id', 'User id', 'String', 'who you are logged in as'),
  property('app_id', 'Application id'),
];

const common = [
  {
    name: 'delivery_mode',
    label: 'Delivery mode',
    kind: 'select',
    options: [
      ['1', 'Non-persistent'],
      ['2', 'Persistent'],
    ],
  },
  { name: 'headers', label: 'Headers', kind: 'arguments', shortcuts: HEADERS },
  { name: 'properties', label: 'Properties', kind: 'arguments', shortcuts: [PROPERTIES] },
  { name: 'payload', label: 'Payload', kind: 'area', rows: 5 },
  {
    name: 'payload_encoding',
    label: 'Payload encoding',
    kind: 'select',
    options: [
      ['string', 'Text'],
      ['base64', 'Base64'],
    ],
  },
];

// A form that publishes to an exchange; `queue`: by the default exchange to this queue.
export function publishPanel(place, { vhost, exchange = '', queue }) {
  const fields = queue === undefined ? [{ name: 'routing_key', label: 'Routing key' }, ...common] : common;
  const send = ({
    routing_key: key = queue,
    delivery_mode: mode,
    headers,
    properties,
    payload,
    payload_encoding: encoding,
  }) =>
    api.post(`${path('exchanges', vhost, exchangeName(exchange))}/publish`, {
      routing_key: key,
      properties: { delivery_mode: Number(mode), headers, ...properties },
      payload,
      payload_encoding: encoding,
    });
  const publishing = form({
    fields,
    submit: 'Publish message',
    send,
    reset: false,
    after: (_, { routed }) => {
      if (routed) tell('The message was published.');
      else tell('The message was published, but routed nowhere: nobody has it.', true);
      place.refresh();
    },
  });
  return panel('Publish message', publishing);
}

const ACK_MODES = [
  ['ack_requeue_true', 'Nack: leave it in the queue'],
  ['ack_requeue_false', 'Automatic ack: take it out'],
  ['reject_requeue_true', 'Reject: leave it in the queue'],
  ['reject_requeue_false', 'Reject: take it out, or dead-letter it'],
];

function message(got, i) {
  const { headers, ...properties } = got.properties;
  const shown = properties.timestamp
    ? { ...properties, timestamp: `${properties.timestamp} (${moment(properties.timestamp * 1000)})` }
    : properties;
  const title = got.payload_encoding === 'string' ? 'Payload' : 'Payload in base64';
  return h(
    'article',
    { class: 'message' },
    h(
      'h4',
      null,
      `Message ${i + 1}`,
      got.redelivered && tag('redelivered', 'it was delivered before and not acknowledged'),
    ),
    pairs(
      ['Exchange', exchangeTitle(got.exchange)],
      ['Routing key', h('code', null, got.routing_key)],
      ['Properties', values(shown)],
      ['Headers', headers && values(headers)],
      ['Behind it in the queue', count(got.message_count)],
    ),
    h('h5', null, `${title}, ${bytes(got.payload_bytes)}`),
    h('pre', { tabindex: 0 }, plain(got.payload)),
  );
}

// A form that gets messages from a queue, and shows them.
export function getPanel(place, vhost, queue) {
  const area = h('div', { class: 'messages', role: 'status' });
  const getting = form({
    fields: [
      { name: 'ackmode', label: 'Ack mode', kind: 'select', options: ACK_MODES },
      {
        name: 'encoding',
        label: 'Encoding',
        kind: 'select',
        options: [
          ['auto', 'Text if it is, else base64'],
          ['base64', 'Base64'],
        ],
      },
      { name: 'count', label: 'Messages', kind: 'number', value: 1, min: 1, max: 1000, required: true },
    ],
    submit: 'Get messages',
    reset: false,
    send: ({ count: wanted, ...values }) =>
      api.post(`${path('queues', vhost, queue)}/get`, { ...values, count: Number(wanted), truncate: 50_000 }),
    after: (_, messages) => {
      patch(area, messages.length ? messages.map(message) : h('p', { class: 'empty' }, 'The queue is empty.'));
      place.refresh();
    },
  });
  return panel(
    'Get messages',
    h(
      'p',
      { class: 'hint' },
      'Messages that are left in the queue count as redelivered afterwards. A message of more than 50,000 bytes is shown in part.',
    ),
    getting,
    area,
  );
}

// A form that moves messages to another queue or exchange. The broker confirms each there before it is taken from here.
export function movePanel(place, vhost, queue) {
  const progress = h('p', { class: 'hint', role: 'status' });
  const send = async (entered) => {
    const { kind, destination, routing_key: key, count: wanted } = entered;
    const request = { destination, destination_type: kind };
    if (kind === 'exchange' && key !== '') request.routing_key = key;
    let [moved, left] = [0, wanted === '' ? null : Number(wanted)];
    // The broker moves for some seconds at a time.
    for (;;) {
      const answer = await api.post(
        `${path('queues', vhost, queue)}/move`,
        left === null ? request : { ...request, count: left },
      );
      moved += answer.moved;
      left = answer.remaining;
      progress.textContent = `${count(moved)} moved, ${count(left)} to go.`;
      if (left === 0 || answer.moved === 0) return moved;
    }
  };
  const moving = form({
    fields: [
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
      {
        name: 'routing_key',
        label: 'Routing key',
        when: ['kind', 'exchange'],
        hint: 'Empty: the one that each message has.',
      },
      { name: 'count', label: 'Messages', kind: 'number', min: 1, hint: 'Empty: as many as are ready now.' },
    ],
    submit: 'Move messages',
    send,
    reset: false,
    done: (_, moved) => `${count(moved)} messages were moved.`,
    after: () => {
      progress.textContent = '';
      place.refresh();
    },
  });
  return panel(
    'Move messages',
    h(
      'p',
      { class: 'hint' },
      'A message is taken from this queue when the other has it for certain; after a failure in between it may be in both.',
    ),
    moving,
    progress,
  );
}
