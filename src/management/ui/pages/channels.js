// Channels, and one of them.

import { api, path } from '../core/api.js';
import { MESSAGE_RATES, charts } from '../core/chart.js';
import { h } from '../core/dom.js';
import { count, plain, rate, rateOf, yesNo } from '../core/format.js';
import { Listing, countColumn, rateColumn, table } from '../core/listing.js';
import {
  channelLink,
  connectionLink,
  exchangeLink,
  live,
  pairs,
  queueLink,
  section,
  state,
  tag,
} from '../core/parts.js';

const wordOf = (channel) => {
  if (channel.idle_since) return h('span', { title: `since ${channel.idle_since}` }, state('idle', ''));
  return state(channel.state ?? 'running', channel.state === 'flow' ? 'near' : 'good');
};

const mode = (channel) => [
  channel.confirm && tag('C', 'confirm mode'),
  channel.transactional && tag('T', 'transactional'),
];

// Of the consumers one by one, and of all of the channel.
const prefetch = (channel) => {
  const { prefetch_count: each = 0, global_prefetch_count: all = 0 } = channel;
  return [
    each > 0 && count(each),
    all > 0 && ` ${count(all)} (global)`,
    !each && !all && h('span', { class: 'muted' }, 'none'),
  ];
};

export const COLUMNS = [
  { id: 'name', label: 'Channel', sort: 'name', cell: ({ name }) => channelLink(name) },
  { id: 'node', label: 'Node', sort: 'node', off: true, cell: ({ node }) => node },
  { id: 'vhost', label: 'Virtual host', sort: 'vhost', cell: ({ vhost }) => vhost },
  { id: 'user', label: 'User', sort: 'user', cell: ({ user }) => user },
  { id: 'mode', label: 'Mode', cell: mode },
  { id: 'state', label: 'State', sort: 'state', cell: wordOf },
  countColumn('consumer_count', 'Consumers', 'Details'),
  countColumn('messages_unconfirmed', 'Unconfirmed', 'Details'),
  { id: 'prefetch', label: 'Prefetch', group: 'Details', kind: 'number', sort: 'prefetch_count', cell: prefetch },
  countColumn('messages_unacknowledged', 'Unacked', 'Details'),
  countColumn('messages_uncommitted', 'Uncommitted', 'Details', { off: true }),
  countColumn('acks_uncommitted', 'Uncommitted acks', 'Details', { off: true }),
  rateColumn('publish', 'Publish'),
  rateColumn('confirm', 'Confirm'),
  rateColumn('drop_unroutable', 'Unroutable (drop)', { off: true }),
  rateColumn('return_unroutable', 'Unroutable (return)', { off: true }),
  rateColumn('deliver_get', 'Deliver / get'),
  rateColumn('redeliver', 'Redelivered', { off: true }),
  rateColumn('ack', 'Ack'),
];

export function channels(place) {
  const listing = new Listing(place, {
    id: 'channels',
    label: 'Channels',
    columns: COLUMNS,
    url: () => (place.vhost ? path('vhosts', place.vhost, 'channels') : 'channels'),
    rowKey: ({ name }) => name,
    sort: 'name',
    empty: 'No channel is open.',
  });
  return {
    title: 'Channels',
    node: section('All channels', null, listing.node),
    load: (signal) => listing.load(signal),
  };
}

// What a consumer is, on the pages of its channel and of its queue.
export const CONSUMER = {
  channel: { id: 'channel', label: 'Channel', cell: (consumer) => channelLink(consumer.channel_details?.name ?? '') },
  queue: { id: 'queue', label: 'Queue', cell: ({ queue }) => queueLink(queue.vhost, queue.name) },
  common: [
    { id: 'tag', label: 'Consumer tag', cell: (consumer) => consumer.consumer_tag },
    { id: 'ack', label: 'Ack required', cell: (consumer) => yesNo(consumer.ack_required) },
    { id: 'exclusive', label: 'Exclusive', cell: ({ exclusive }) => yesNo(exclusive) },
    { id: 'prefetch', label: 'Prefetch', kind: 'number', cell: (consumer) => count(consumer.prefetch_count) },
    { id: 'active', label: 'Active', cell: ({ active }) => yesNo(active) },
    { id: 'activity', label: 'Activity', cell: (consumer) => consumer.activity_status?.replaceAll('_', ' ') },
    {
      id: 'arguments',
      label: 'Arguments',
      cell: (consumer) =>
        Object.entries(consumer.arguments ?? {}).map(([name, value]) =>
          h('div', { key: name }, `${name}: ${plain(value)}`),
        ),
    },
  ],
};

const statRate = (name, label) => ({
  id: name,
  label,
  kind: 'number',
  cell: ({ stats }) => rate(rateOf(stats, name) ?? 0),
});

const NO_TRAFFIC =
  'By exchange and queue nothing is known: it is counted only with management.rates_mode = detailed, from when the broker starts.';

// Publishes by exchange and deliveries by queue, as far as the broker counts them.
export function traffic(label, ends, records, names) {
  const rows = records.filter(({ stats }) => stats);
  return [h('h3', null, label), table(label, [...ends, ...names.map(([name, title]) => statRate(name, title))], rows)];
}

export const toExchange = {
  id: 'exchange',
  label: 'Exchange',
  cell: ({ exchange }) => exchangeLink(exchange.vhost, exchange.name),
};
export const toQueue = { id: 'queue', label: 'Queue', cell: ({ queue }) => queueLink(queue.vhost, queue.name) };
export const ofChannel = {
  id: 'channel',
  label: 'Channel',
  cell: (record) => channelLink(record.channel_details?.name ?? ''),
};

export function channel(place) {
  const [name] = place.params;
  const details = live();
  const consumers = live();
  const breakdown = live();
  const drawn = charts(place.refresh, 'basic', {
    id: 'channel.rates',
    title: 'Message rates',
    series: MESSAGE_RATES,
    read: (record) => record.message_stats,
    isRate: true,
  });
  const node = h(
    'div',
    { class: 'stack' },
    section('Messages', drawn.range, drawn.node),
    section('Details', null, details.node),
    section('Consumers', null, consumers.node),
    section('Message rates breakdown', null, breakdown.node),
  );
  const load = async (signal) => {
    const record = await api.get(`${path('channels', name)}?${drawn.ages()}`, { signal });
    drawn.update(record, name);
    details.draw(
      pairs(
        ['Connection', connectionLink(record.connection_details?.name ?? '')],
        ['Node', record.node],
        ['Virtual host', record.vhost],
        ['User', record.user],
        ['State', wordOf(record)],
        ['Mode', record.confirm ? 'confirm' : record.transactional ? 'transactional' : 'plain'],
        ['Prefetch', prefetch(record)],
        ['Consumers', count(record.consumer_count)],
        ['Messages unacknowledged', count(record.messages_unacknowledged)],
        ['Messages unconfirmed', count(record.messages_unconfirmed)],
        ['Messages uncommitted', count(record.messages_uncommitted)],
        ['Acks uncommitted', count(record.acks_uncommitted)],
      ),
    );
    consumers.draw(
      table('Consumers', [CONSUMER.queue, ...CONSUMER.common], record.consumer_details, {
        rowKey: (consumer) => consumer.consumer_tag,
        empty: 'Nothing is consumed.',
      }),
    );
    const hasTraffic = [...(record.publishes ?? []), ...(record.deliveries ?? [])].some(({ stats }) => stats);
    breakdown.draw(
      hasTraffic
        ? [
            traffic('Publishes', [toExchange], record.publishes, [
              ['publish', 'Publish'],
              ['confirm', 'Confirm'],
            ]),
            traffic('Deliveries', [toQueue], record.deliveries, [
              ['deliver_get', 'Deliver / get'],
              ['ack', 'Ack'],
            ]),
          ]
        : h('p', { class: 'hint' }, NO_TRAFFIC),
    );
  };
  return { title: `Channel ${name}`, node, load };
}
