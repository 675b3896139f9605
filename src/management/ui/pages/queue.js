// One queue or stream.

import { api, path } from '../core/api.js';
import { MESSAGE_RATES, QUEUED, charts } from '../core/chart.js';
import { attempt, confirmed } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { bytes, count, moment } from '../core/format.js';
import { table } from '../core/listing.js';
import {
  button,
  connectionLink,
  declaredTags,
  live,
  pairs,
  panel,
  policyLink,
  section,
  values,
} from '../core/parts.js';
import { bindQueue, bindingList } from './bindings.js';
import { CONSUMER, ofChannel, toExchange, traffic } from './channels.js';
import { getPanel, movePanel, publishPanel } from './messages.js';
import { KNOWN, queueState } from './queues.js';

const CONSUMERS_SHOWN_MAX = 500;

// Not all kinds of messages have their bodies counted.
const bodies = (sum) => (sum === undefined ? '' : bytes(sum));

const LENGTH_COLUMNS = [
  { id: 'kind', label: 'Messages', cell: ([kind]) => kind },
  { id: 'count', label: 'Count', kind: 'number', cell: ([, field, queue]) => count(queue[`messages${field}`]) },
  { id: 'bytes', label: 'Bodies', kind: 'number', cell: ([, field, queue]) => bodies(queue[`message_bytes${field}`]) },
];

const lengths = (queue) =>
  [
    ['Ready', '_ready', queue],
    ['Unacked', '_unacknowledged', queue],
    ['In memory', '_ram', queue],
    ['Persistent', '_persistent', queue],
    ['Returned, and ready', '_ready_returned', queue],
    ['To be delivered again later', '_delayed', queue],
    ['Dead letters on their way', '_dlx', queue],
    ['Total', '', queue],
  ].filter(([, field]) => queue[`messages${field}`] !== undefined);

function details(queue) {
  const owner = queue.owner_pid_details?.name;
  return pairs(
    ['Virtual host', queue.vhost],
    ['Type', queue.type],
    ['State', queueState(queue)],
    ['Features', declaredTags(queue, KNOWN)],
    ['Arguments', values(queue.arguments)],
    ['Policy', queue.policy && policyLink(queue.vhost, queue.policy)],
    ['Operator policy', queue.operator_policy],
    [
      'Effective policy definition',
      (queue.policy || queue.operator_policy) && values(queue.effective_policy_definition),
    ],
    ['Node', queue.node],
    ['Leader', queue.leader],
    ['Members', queue.members?.join(', ')],
    ['Online', queue.online?.join(', ')],
    ['Delivery limit', queue.delivery_limit],
    ['Exclusive owner', owner && connectionLink(owner)],
    ['Consumers', count(queue.consumers)],
    ['Publishers', typeof queue.publishers === 'number' ? count(queue.publishers) : ''],
    [
      'Consumer capacity',
      queue.consumers > 0 && typeof queue.consumer_capacity === 'number'
        ? `${Math.round(queue.consumer_capacity * 100)} %`
        : '',
    ],
    ['Single active consumer', queue.single_active_consumer_tag],
    ['Exclusive consumer', queue.exclusive_consumer_tag],
    ['Idle since', queue.idle_since],
    ['Oldest message sent', queue.head_message_timestamp && moment(queue.head_message_timestamp * 1000)],
    ['Ready by priority', queue.messages_active_priorities > 1 && values(queue.messages_by_priority)],
    ['Process memory', bytes(queue.memory)],
  );
}

function actions(place, own, { vhost, name }) {
  const purge = async () => {
    if (!(await confirmed('Purge messages', `Remove all messages that are ready in ${name}? They are lost.`, 'Purge')))
      return;
    await attempt(async () => {
      await api.delete(`${own}/contents`);
      place.refresh();
    }, `The queue ${name} was purged.`);
  };
  const remove = async () => {
    if (!(await confirmed('Delete queue', `Delete ${name} of ${vhost} with all its messages?`, 'Delete'))) return;
    await attempt(async () => {
      await api.delete(own);
      location.hash = '#/queues';
    }, `The queue ${name} was deleted.`);
  };
  return [button('Purge', purge), button('Delete', remove, 'danger')];
}

export function queue(place) {
  const [vhost, name] = place.params;
  const own = path('queues', vhost, name);
  const [about, held, consumers, breakdown] = [live(), live(), live(), live()];
  const drawn = charts(
    place.refresh,
    'basic',
    { id: 'queue.queued', title: 'Queued messages', series: QUEUED, read: (record) => record },
    {
      id: 'queue.rates',
      title: 'Message rates',
      series: MESSAGE_RATES,
      read: (record) => record.message_stats,
      isRate: true,
    },
  );
  const bindings = bindingList(place, {
    id: 'to-queue',
    label: 'Bindings to this queue',
    end: 'source',
    url: () => `${own}/bindings`,
    empty: 'Nothing is bound.',
  });
  const node = h(
    'div',
    { class: 'stack' },
    section('Messages', drawn.range, drawn.node),
    h(
      'div',
      { class: 'columns' },
      section('Details', null, about.node),
      section('Contents', null, held.node, breakdown.node),
    ),
    section('Consumers', null, consumers.node),
    section('Bindings', null, bindings.node),
    panel('Add binding', bindQueue(place, vhost, name)),
    publishPanel(place, { vhost, queue: name }),
    getPanel(place, vhost, name),
    movePanel(place, vhost, name),
  );
  const load = async (signal) => {
    const [record] = await Promise.all([api.get(`${own}?${drawn.ages()}`, { signal }), bindings.load(signal)]);
    drawn.update(record, `${vhost} ${name}`);
    about.draw(details(record));
    held.draw(table('Contents', LENGTH_COLUMNS, lengths(record), { rowKey: ([kind]) => kind }));
    const shown = (record.consumer_details ?? []).slice(0, CONSUMERS_SHOWN_MAX);
    consumers.draw(
      table('Consumers', [CONSUMER.channel, ...CONSUMER.common], shown, {
        rowKey: (consumer) => `${consumer.channel_details?.name} ${consumer.consumer_tag}`,
        empty: 'Nobody consumes.',
      }),
      shown.length < record.consumers &&
        shown.length === CONSUMERS_SHOWN_MAX &&
        h('p', { class: 'hint' }, `The first ${CONSUMERS_SHOWN_MAX} of ${count(record.consumers)}.`),
    );
    const hasTraffic = [...(record.incoming ?? []), ...(record.deliveries ?? [])].some(({ stats }) => stats);
    breakdown.draw(
      hasTraffic && [
        traffic('Incoming', [toExchange], record.incoming, [['publish', 'Publish']]),
        traffic('Deliveries', [ofChannel], record.deliveries, [
          ['deliver_get', 'Deliver / get'],
          ['ack', 'Ack'],
        ]),
      ],
    );
  };
  return { title: `Queue ${name}`, node, actions: actions(place, own, { vhost, name }), load };
}
