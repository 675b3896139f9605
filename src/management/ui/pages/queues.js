// All queues and streams.

import { attempt } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { shortcut } from '../core/form.js';
import { bytes, count } from '../core/format.js';
import { bytesColumn, countColumn, rateColumn } from '../core/listing.js';
import { queueLink, state } from '../core/parts.js';
import { declareDialog, declaredColumns, declaredPage } from './declared.js';
import { QUEUE_TYPES, vhostField } from './vhosts.js';

// Arguments that have a short word in lists.
export const KNOWN = {
  'x-message-ttl': 'TTL',
  'x-expires': 'Exp',
  'x-max-length': 'Lim',
  'x-max-length-bytes': 'Lim B',
  'x-overflow': 'Ovfl',
  'x-dead-letter-exchange': 'DLX',
  'x-dead-letter-routing-key': 'DLK',
  'x-dead-letter-strategy': 'DLS',
  'x-max-priority': 'Pri',
  'x-single-active-consumer': 'SAC',
  'x-delivery-limit': 'DlL',
  'x-message-deduplication': 'Dedup',
  'x-max-age': 'Age',
};

const STATES = {
  running: 'good',
  idle: '',
  flow: 'near',
  crashed: 'bad',
  down: 'bad',
  minority: 'bad',
  stopped: 'bad',
};

export const queueState = (queue) => {
  const word = queue.idle_since && queue.state === 'running' ? 'idle' : (queue.state ?? 'unknown');
  return h(
    'span',
    { title: queue.idle_since ? `idle since ${queue.idle_since}` : null },
    state(word, STATES[word] ?? ''),
  );
};

const capacity = (queue) =>
  queue.consumers > 0 && typeof queue.consumer_capacity === 'number'
    ? `${Math.round(queue.consumer_capacity * 100)} %`
    : '';

const COLUMNS = [
  ...declaredColumns(queueLink, KNOWN),
  { id: 'node', label: 'Node', sort: 'node', off: true, cell: ({ node }) => node },
  { id: 'state', label: 'State', sort: 'state', cell: queueState },
  {
    id: 'consumers',
    label: 'Consumers',
    kind: 'number',
    sort: 'consumers',
    off: true,
    cell: ({ consumers }) => count(consumers),
  },
  { id: 'capacity', label: 'Consumer capacity', kind: 'number', sort: 'consumer_capacity', off: true, cell: capacity },
  countColumn('messages_ready', 'Ready', 'Messages'),
  countColumn('messages_unacknowledged', 'Unacked', 'Messages'),
  countColumn('messages_ram', 'In memory', 'Messages', { off: true }),
  countColumn('messages_persistent', 'Persistent', 'Messages', { off: true }),
  countColumn('messages', 'Total', 'Messages'),
  bytesColumn('message_bytes_ready', 'Ready', 'Message bytes'),
  bytesColumn('message_bytes_unacknowledged', 'Unacked', 'Message bytes'),
  bytesColumn('message_bytes', 'Total', 'Message bytes'),
  {
    id: 'memory',
    label: 'Process memory',
    group: 'Message bytes',
    kind: 'number',
    sort: 'memory',
    off: true,
    cell: ({ memory }) => bytes(memory),
  },
  rateColumn('publish', 'Incoming'),
  rateColumn('deliver_get', 'Deliver / get'),
  rateColumn('redeliver', 'Redelivered', { off: true }),
  rateColumn('ack', 'Ack'),
];

const { number, text, truth } = shortcut;

const SHORTCUTS = [
  [
    'All',
    number('x-message-ttl', 'Message TTL', 'ms until a message expires'),
    number('x-expires', 'Auto expire', 'ms without use until the queue is deleted'),
    number('x-max-length', 'Max length', 'messages'),
    number('x-max-length-bytes', 'Max length bytes', 'bytes of bodies'),
    text('x-overflow', 'Overflow behaviour', 'drop-head, reject-publish or reject-publish-dlx', 'drop-head'),
    text('x-dead-letter-exchange', 'Dead letter exchange'),
    text('x-dead-letter-routing-key', 'Dead letter routing key'),
    truth('x-single-active-consumer', 'Single active consumer', 'The others wait.'),
  ],
  [
    'Classic',
    number('x-max-priority', 'Maximum priority', '1 to 255'),
    truth('x-message-deduplication', 'Deduplication', 'by the header x-deduplication-header'),
  ],
  [
    'Quorum',
    number('x-delivery-limit', 'Delivery limit', 'deliveries of a message; -1 for no limit'),
    text('x-dead-letter-strategy', 'Dead letter strategy', 'at-most-once or at-least-once', 'at-least-once'),
    text('x-delayed-retry-type', 'Delayed retry', 'all, failed, returned or disabled', 'all'),
    number('x-delayed-retry-min', 'Delayed retry minimum', 'ms'),
    number('x-delayed-retry-max', 'Delayed retry maximum', 'ms'),
    text('x-queue-leader-locator', 'Leader locator', 'client-local or balanced', 'client-local'),
  ],
  [
    'Stream',
    text('x-max-age', 'Max age', 'a number and Y, M, D, h, m or s', '7D'),
    number('x-stream-max-segment-size-bytes', 'Max segment size in bytes'),
    number('x-stream-filter-size-bytes', 'Filter size in bytes', '16 to 255'),
  ],
];

async function add(place) {
  const vhost = await attempt(() => vhostField(place));
  if (!vhost) return;
  await declareDialog(place, {
    kind: 'queues',
    word: 'queue',
    vhost,
    type: { options: [['', 'Default of the virtual host'], ...QUEUE_TYPES] },
    autoDelete: 'goes with its last consumer',
    shortcuts: SHORTCUTS,
    body: ({ type, arguments: given, ...rest }) => ({
      ...rest,
      arguments: type ? { 'x-queue-type': type, ...given } : given,
    }),
  });
}

export const queues = (place) =>
  declaredPage(place, {
    id: 'queues',
    title: 'Queues and Streams',
    label: 'Queues and streams',
    all: 'All queues',
    columns: COLUMNS,
    empty: 'There are no queues.',
    addLabel: 'Add a new queue',
    add,
  });
