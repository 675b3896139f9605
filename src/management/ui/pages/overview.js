// The broker as a whole: totals, charts, nodes, churn, listeners, definitions.

import { api } from '../core/api.js';
import { MESSAGE_RATES, QUEUED, charts } from '../core/chart.js';
import { h } from '../core/dom.js';
import { bytes, count, duration, yesNo } from '../core/format.js';
import { figure, link, live, section } from '../core/parts.js';
import { session } from '../core/session.js';
import { table } from '../core/listing.js';
import { definitions } from './definitions.js';
import { gaugeCell, nodeState } from './node.js';

const CHURN = [
  ['Connections', ['connection_created', 'Opened'], ['connection_closed', 'Closed']],
  ['Channels', ['channel_created', 'Opened'], ['channel_closed', 'Closed']],
  ['Queues', ['queue_declared', 'Declared'], ['queue_created', 'Created'], ['queue_deleted', 'Deleted']],
];

const NODE_COLUMNS = [
  { id: 'name', label: 'Name', cell: (node) => link(node.name, 'nodes', node.name) },
  { id: 'state', label: 'State', cell: nodeState },
  {
    id: 'memory',
    label: 'Memory',
    cell: (node) => gaugeCell(node.mem_used, node.mem_limit, node.mem_alarm, bytes, 'high watermark'),
  },
  {
    id: 'disk',
    label: 'Free disk space',
    cell: (node) => gaugeCell(node.disk_free, node.disk_free_limit, node.disk_free_alarm, bytes, 'low watermark', true),
  },
  {
    id: 'fd',
    label: 'File descriptors',
    cell: (node) => gaugeCell(node.fd_used, node.fd_total, false, count, 'available'),
  },
  { id: 'uptime', label: 'Uptime', kind: 'number', cell: (node) => duration(node.uptime) },
  { id: 'cores', label: 'Cores', kind: 'number', cell: (node) => count(node.processors) },
];

const LISTENER_COLUMNS = [
  { id: 'protocol', label: 'Protocol', cell: (listener) => listener.protocol },
  { id: 'address', label: 'Bound to', cell: (listener) => listener.ip_address },
  { id: 'port', label: 'Port', kind: 'number', cell: (listener) => listener.port },
  { id: 'tls', label: 'TLS', cell: (listener) => yesNo(listener.tls) },
  { id: 'node', label: 'Node', cell: (listener) => listener.node },
];

const CONTEXT_COLUMNS = [
  { id: 'context', label: 'Context', cell: (context) => context.description },
  { id: 'address', label: 'Bound to', cell: (context) => context.ip },
  { id: 'port', label: 'Port', kind: 'number', cell: (context) => context.port },
  { id: 'tls', label: 'TLS', cell: (context) => yesNo(context.tls) },
  { id: 'path', label: 'Path', cell: (context) => context.path },
];

export function overview(place) {
  const totals = live('div', { class: 'figures' });
  const scope = live();
  const nodes = live();
  const listeners = live();
  const messages = charts(
    place.refresh,
    'global',
    { id: 'queued', title: 'Queued messages', series: QUEUED, read: (record) => record.queue_totals },
    {
      id: 'rates',
      title: 'Message rates',
      series: MESSAGE_RATES,
      read: (record) => record.message_stats,
      isRate: true,
    },
  );
  const churn = charts(
    place.refresh,
    'global',
    ...CHURN.map(([title, ...series]) => ({
      id: `churn.${title}`,
      title,
      series,
      read: (record) => record.churn_rates,
      isRate: true,
    })),
  );
  const node = h(
    'div',
    { class: 'stack' },
    totals.node,
    section('Messages', messages.range, scope.node, messages.node),
    session.isMonitor && section('Nodes', null, nodes.node),
    section('Churn', churn.range, churn.node),
    session.isMonitor && section('Ports and contexts', null, listeners.node),
    session.isAdministrator && definitions(place),
  );

  const load = async (signal) => {
    const { vhost } = place;
    const [whole, all, vhosts] = await Promise.all([
      api.get(`overview?${messages.ages()}`, { signal }),
      session.isMonitor && api.get('nodes', { signal }),
      // What is queued and moved in one vhost is told by the vhost; the list is for all, one alone for administrators.
      vhost && api.get(`vhosts?${messages.ages()}`, { signal }),
    ]);
    const { object_totals: objects = {} } = whole;
    totals.draw(
      ['connections', 'channels', 'exchanges', 'queues'].map((kind) =>
        figure(kind[0].toUpperCase() + kind.slice(1), count(objects[kind]), `#/${kind}`),
      ),
      figure('Consumers', count(objects.consumers)),
    );
    const own = vhosts && vhosts.find(({ name }) => name === vhost);
    scope.draw(own && h('p', { class: 'hint' }, `Messages of the virtual host ${vhost}; all else is of all.`));
    messages.update(own ? { queue_totals: own, message_stats: own.message_stats } : whole, own ? vhost : '');
    churn.update(whole);
    if (!session.isMonitor) return;
    // Only listeners say whether they speak TLS.
    const isTls = ({ ip, port }) =>
      whole.listeners.some((one) => one.tls && one.ip_address === ip && String(one.port) === port);
    const contexts = whole.contexts.map((context) => ({ ...context, tls: isTls(context) }));
    nodes.draw(table('Nodes', NODE_COLUMNS, all, { rowKey: (one) => one.name }));
    listeners.draw(
      h('h3', null, 'Listening ports'),
      table('Listening ports', LISTENER_COLUMNS, whole.listeners),
      h('h3', null, 'Web contexts'),
      table('Web contexts', CONTEXT_COLUMNS, contexts),
    );
  };
  return { title: 'Overview', node, load };
}
