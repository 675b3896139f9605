// Connections, and one of them.

import { api, path } from '../core/api.js';
import { charts } from '../core/chart.js';
import { attempt, openDialog } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { form } from '../core/form.js';
import { byteRate, bytes, count, duration, moment } from '../core/format.js';
import { Listing, table } from '../core/listing.js';
import { button, connectionLink, live, pairs, section, state, values } from '../core/parts.js';
import { COLUMNS as CHANNEL_COLUMNS } from './channels.js';

const STATES = { running: 'good', blocked: 'bad', blocking: 'near', flow: 'near', closing: 'near', closed: 'bad' };

export const wordOf = (record) => state(record.state ?? 'starting', STATES[record.state] ?? '');

// What the client calls itself, if it does.
const ownName = (connection) => connection.user_provided_name ?? connection.client_properties?.connection_name;

const client = ({ client_properties: own = {} }) =>
  [own.product ?? own.platform, own.version].filter(Boolean).join(' ');

const tls = (connection) => (connection.ssl ? state('TLS', 'good') : h('span', { class: 'muted' }, 'no'));

const COLUMNS = [
  {
    id: 'name',
    label: 'Name',
    sort: 'name',
    cell: (one) => [connectionLink(one.name), ownName(one) && h('div', { class: 'muted' }, ownName(one))],
  },
  { id: 'vhost', label: 'Virtual host', sort: 'vhost', cell: ({ vhost }) => vhost },
  { id: 'node', label: 'Node', sort: 'node', off: true, cell: ({ node }) => node },
  { id: 'user', label: 'User', sort: 'user', cell: ({ user }) => user },
  { id: 'state', label: 'State', sort: 'state', cell: wordOf },
  { id: 'tls', label: 'TLS', sort: 'ssl', cell: tls },
  { id: 'protocol', label: 'Protocol', sort: 'protocol', cell: ({ protocol }) => protocol },
  { id: 'channels', label: 'Channels', kind: 'number', sort: 'channels', cell: ({ channels }) => count(channels) },
  {
    id: 'channel_max',
    label: 'Channel max',
    kind: 'number',
    sort: 'channel_max',
    off: true,
    cell: (one) => count(one.channel_max),
  },
  {
    id: 'frame_max',
    label: 'Frame max',
    kind: 'number',
    sort: 'frame_max',
    off: true,
    cell: (one) => bytes(one.frame_max),
  },
  { id: 'auth', label: 'Login', sort: 'auth_mechanism', off: true, cell: (one) => one.auth_mechanism },
  { id: 'client', label: 'Client', sort: 'client_properties.product', cell: client },
  {
    id: 'from',
    label: 'From client',
    group: 'Network',
    kind: 'number',
    sort: 'recv_oct_details.rate',
    cell: (one) => byteRate(one.recv_oct_details?.rate),
  },
  {
    id: 'to',
    label: 'To client',
    group: 'Network',
    kind: 'number',
    sort: 'send_oct_details.rate',
    cell: (one) => byteRate(one.send_oct_details?.rate),
  },
  {
    id: 'from_total',
    label: 'Total from',
    group: 'Network',
    kind: 'number',
    sort: 'recv_oct',
    off: true,
    cell: (one) => bytes(one.recv_oct),
  },
  {
    id: 'to_total',
    label: 'Total to',
    group: 'Network',
    kind: 'number',
    sort: 'send_oct',
    off: true,
    cell: (one) => bytes(one.send_oct),
  },
  {
    id: 'heartbeat',
    label: 'Heartbeat',
    group: 'Network',
    kind: 'number',
    sort: 'timeout',
    off: true,
    cell: (one) => `${one.timeout} s`,
  },
  {
    id: 'connected',
    label: 'Connected at',
    group: 'Network',
    sort: 'connected_at',
    off: true,
    cell: (one) => moment(one.connected_at),
  },
];

export function connections(place) {
  const listing = new Listing(place, {
    id: 'connections',
    label: 'Connections',
    columns: COLUMNS,
    url: () => (place.vhost ? path('vhosts', place.vhost, 'connections') : 'connections'),
    rowKey: ({ name }) => name,
    sort: 'name',
    empty: 'Nobody is connected.',
  });
  return {
    title: 'Connections',
    node: section('All connections', null, listing.node),
    load: (signal) => listing.load(signal),
  };
}

// Asks for the reason, which the client is told.
const close = (name) =>
  openDialog('Close connection', (done) =>
    form({
      fields: [
        {
          name: 'reason',
          label: 'Reason',
          value: 'Closed via management plugin',
          required: true,
          hint: 'The client is told it.',
        },
      ],
      submit: 'Force close',
      danger: true,
      send: ({ reason }) => api.delete(path('connections', name), { headers: { 'X-Reason': headerText(reason) } }),
      done: 'The connection was closed.',
      after: () => {
        done();
        location.hash = '#/connections';
      },
    }),
  );

// A header holds no other letters.
function headerText(text) {
  if (!/^[\x20-\x7e]*$/.test(text)) throw new Error('The reason is to be of plain letters (ASCII).');
  return text;
}

export function connection(place) {
  const [name] = place.params;
  const own = path('connections', name);
  const details = live();
  const channelList = live();
  const properties = live();
  const drawn = charts(place.refresh, 'basic', {
    id: 'connection.data',
    title: 'Data rates',
    series: [
      ['recv_oct', 'From client'],
      ['send_oct', 'To client'],
    ],
    read: (record) => record,
    isRate: true,
    format: byteRate,
    tick: bytes,
  });
  const node = h(
    'div',
    { class: 'stack' },
    section('Data', drawn.range, drawn.node),
    section('Channels', null, channelList.node),
    h(
      'div',
      { class: 'columns' },
      section('Details', null, details.node),
      section('Client properties', null, properties.node),
    ),
  );
  const load = async (signal) => {
    const [record, channels] = await Promise.all([
      api.get(`${own}?${drawn.ages()}`, { signal }),
      api.get(`${own}/channels`, { signal }),
    ]);
    drawn.update(record, name);
    details.draw(
      pairs(
        ['Client-provided name', ownName(record)],
        ['Node', record.node],
        ['Virtual host', record.vhost],
        ['User', record.user],
        ['State', wordOf(record)],
        ['Protocol', record.protocol],
        ['Login mechanism', record.auth_mechanism],
        ['Connected at', moment(record.connected_at)],
        ['For', duration(Date.now() - record.connected_at)],
        ['Heartbeat', record.timeout === 0 ? 'none' : `${record.timeout} s`],
        ['Frame max', bytes(record.frame_max)],
        ['Channel max', record.channel_max === 0 ? 'no limit' : count(record.channel_max)],
        ['From client', bytes(record.recv_oct)],
        ['To client', bytes(record.send_oct)],
        ['TLS', tls(record)],
        ['TLS version', record.ssl_protocol],
        ['Key exchange', record.ssl_key_exchange],
        ['Cipher', record.ssl_cipher],
        ['Hash', record.ssl_hash],
        ['Client certificate', record.peer_cert_subject],
        ['Issuer', record.peer_cert_issuer],
        ['Valid', record.peer_cert_validity],
        ['Serial number', record.peer_cert_serial_number],
      ),
    );
    const columns = CHANNEL_COLUMNS.filter(({ id, off }) => !off && id !== 'vhost' && id !== 'user');
    channelList.draw(
      table('Channels', columns, channels, { rowKey: (channel) => channel.name, empty: 'No channel is open.' }),
    );
    properties.draw(values(record.client_properties));
  };
  return {
    title: `Connection ${name}`,
    node,
    actions: [button('Close', () => attempt(() => close(name)), 'danger')],
    load,
  };
}
