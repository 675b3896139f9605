// Virtual hosts, and one of them.

import { api, path } from '../core/api.js';
import { MESSAGE_RATES, QUEUED, charts } from '../core/chart.js';
import { attempt, confirmed } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { formDialog } from '../core/form.js';
import { yesNo } from '../core/format.js';
import { Listing, countColumn, rateColumn, table } from '../core/listing.js';
import { button, live, pairs, section, state, tag, userLink, vhostLink, words } from '../core/parts.js';
import { session } from '../core/session.js';
import { PERMISSION_COLUMNS, TOPIC_COLUMNS, grouped, permissionForms, removal } from './permissions.js';

// The names of all vhosts that the user sees.
export async function allVhosts() {
  const found = await api.get('vhosts?columns=name&sort=name');
  return found.map(({ name }) => name);
}

// A field for the vhost of something new: the one that is looked at, if one is.
export async function vhostField(place) {
  const options = await allVhosts();
  return { name: 'vhost', label: 'Virtual host', kind: 'select', options, value: place.vhost || options[0] };
}

export const QUEUE_TYPES = [
  ['classic', 'Classic'],
  ['quorum', 'Quorum'],
  ['stream', 'Stream'],
];

const COLUMNS = [
  { id: 'name', label: 'Name', sort: 'name', cell: (vhost) => vhostLink(vhost.name) },
  { id: 'description', label: 'Description', cell: (vhost) => vhost.description },
  { id: 'tags', label: 'Tags', kind: 'tags', cell: (vhost) => words(vhost.tags) },
  { id: 'users', label: 'Users', cell: (vhost) => vhost.users.join(', ') || h('span', { class: 'muted' }, 'none') },
  { id: 'type', label: 'Default queue type', cell: (vhost) => vhost.default_queue_type },
  {
    id: 'features',
    label: 'Features',
    kind: 'tags',
    cell: (vhost) => [
      vhost.tracing && tag('Tr', 'traced'),
      vhost.protected_from_deletion && tag('P', 'protected from deletion'),
    ],
  },
  { id: 'state', label: 'State', cell: (vhost) => clusterState(vhost.cluster_state) },
  countColumn('messages_ready', 'Ready', 'Messages'),
  countColumn('messages_unacknowledged', 'Unacked', 'Messages'),
  countColumn('messages', 'Total', 'Messages'),
  rateColumn('publish', 'Publish'),
  rateColumn('deliver_get', 'Deliver / get'),
];

const clusterState = (nodes) =>
  Object.entries(nodes ?? {}).map(([node, word]) =>
    h('span', { key: node, title: node }, state(word, word === 'running' ? 'good' : 'bad')),
  );

const settings = (vhost = {}) => [
  { name: 'description', label: 'Description', value: vhost.description ?? '' },
  { name: 'tags', label: 'Tags', value: vhost.tags?.join(', ') ?? '', hint: 'Separated by commas.' },
  {
    name: 'default_queue_type',
    label: 'Default queue type',
    kind: 'select',
    options: QUEUE_TYPES,
    value: vhost.default_queue_type ?? 'classic',
  },
  {
    name: 'tracing',
    label: 'Tracing: copies of all messages go to amq.rabbitmq.trace',
    kind: 'check',
    value: vhost.tracing,
  },
  {
    name: 'protected_from_deletion',
    label: 'Protected from deletion',
    kind: 'check',
    value: vhost.protected_from_deletion,
  },
];

export function vhosts(place) {
  let users = new Map();
  const listing = new Listing(place, {
    id: 'vhosts',
    label: 'Virtual hosts',
    columns: session.isAdministrator ? COLUMNS : COLUMNS.filter(({ id }) => id !== 'users'),
    url: () => 'vhosts',
    rowKey: (vhost) => vhost.name,
    sort: 'name',
    rows: (items) => items.map((vhost) => ({ ...vhost, users: users.get(vhost.name) ?? [] })),
  });
  const add = () =>
    formDialog('Add a new virtual host', {
      fields: [{ name: 'name', label: 'Name', required: true }, ...settings()],
      submit: 'Add virtual host',
      send: ({ name, ...values }) => api.put(path('vhosts', name), values),
      done: ({ name }) => `The virtual host ${name} was added.`,
      after: () => place.refresh(true),
    });
  const load = async (signal) => {
    // Only administrators see who has permissions.
    if (session.isAdministrator) users = grouped(await api.get('permissions', { signal }), 'vhost', 'user');
    await listing.load(signal);
  };
  return {
    title: 'Virtual Hosts',
    node: section('All virtual hosts', null, listing.node),
    actions: [button('Add a new virtual host', add, 'primary')],
    load,
  };
}

export function vhost(place) {
  const [name] = place.params;
  const own = path('vhosts', name);
  const details = live();
  const permissions = live();
  const topics = live();
  const drawn = charts(
    place.refresh,
    'global',
    { id: 'vhost.queued', title: 'Queued messages', series: QUEUED, read: (record) => record },
    {
      id: 'vhost.rates',
      title: 'Message rates',
      series: MESSAGE_RATES,
      read: (record) => record.message_stats,
      isRate: true,
    },
  );
  const remove = async () => {
    if (
      !(await confirmed('Delete virtual host', `Delete ${name} with all its queues, exchanges and messages?`, 'Delete'))
    )
      return;
    await attempt(async () => {
      await api.delete(own);
      place.refresh(true);
      location.hash = '#/vhosts';
    }, `The virtual host ${name} was deleted.`);
  };
  const edit = async () => {
    const record = await attempt(() => api.get(own));
    if (!record) return;
    formDialog(`Update ${name}`, {
      fields: settings(record),
      submit: 'Update virtual host',
      send: (values) => api.put(own, values),
      done: 'The virtual host was updated.',
      after: () => place.refresh(),
    });
  };
  const userColumn = { id: 'user', label: 'User', cell: ({ user }) => userLink(user) };
  const node = h(
    'div',
    { class: 'stack' },
    section('Messages', drawn.range, drawn.node),
    section('Details', null, details.node),
    section('Permissions', null, permissions.node),
    section('Topic permissions', null, topics.node),
    permissionForms(place, { vhost: name }),
  );
  const load = async (signal) => {
    const [record, allowed, allowedTopics] = await Promise.all([
      api.get(`${own}?${drawn.ages()}`, { signal }),
      api.get(`${own}/permissions`, { signal }),
      api.get(`${own}/topic-permissions`, { signal }),
    ]);
    drawn.update(record, name);
    details.draw(
      pairs(
        ['Description', record.description],
        ['Tags', record.tags?.join(', ')],
        ['Default queue type', record.default_queue_type],
        ['Tracing', yesNo(record.tracing)],
        ['Protected from deletion', yesNo(record.protected_from_deletion)],
        ['State', clusterState(record.cluster_state)],
      ),
    );
    permissions.draw(
      table('Permissions', [userColumn, ...PERMISSION_COLUMNS, removal(place)], allowed, {
        empty: 'No user has permissions here.',
      }),
    );
    topics.draw(
      table('Topic permissions', [userColumn, ...TOPIC_COLUMNS, removal(place, true)], allowedTopics, {
        empty: 'No topic permissions: topics are not restricted.',
      }),
    );
  };
  const actions = session.isAdministrator ? [button('Update', edit), button('Delete', remove, 'danger')] : [];
  return { title: `Virtual host ${name}`, node, actions, load };
}
