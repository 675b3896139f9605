// Users, and one of them.

import { api, path } from '../core/api.js';
import { attempt, confirmed } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { formDialog } from '../core/form.js';
import { Listing, table } from '../core/listing.js';
import { button, live, pairs, section, userLink, values, vhostLink, words } from '../core/parts.js';
import { session } from '../core/session.js';
import { PERMISSION_COLUMNS, TOPIC_COLUMNS, grouped, permissionForms, removal } from './permissions.js';

// What a tag gives, as whoever sets one wants to know.
const TAGS = [
  ['administrator', 'Everything.'],
  ['monitoring', 'Sees all virtual hosts, connections and nodes.'],
  ['policymaker', 'Makes policies and parameters where it has permissions.'],
  ['management', 'Uses this UI where it has permissions.'],
  ['impersonator', 'May publish with the user-id of others.'],
];

const tagsOf = ({ tags }) => (typeof tags === 'string' ? tags.split(',').filter(Boolean) : (tags ?? []));

const COLUMNS = [
  { id: 'name', label: 'Name', sort: 'name', cell: (user) => userLink(user.name) },
  { id: 'tags', label: 'Tags', kind: 'tags', sort: 'tags', cell: (user) => words(tagsOf(user)) },
  {
    id: 'vhosts',
    label: 'Can access virtual hosts',
    cell: (user) => user.vhosts.join(', ') || h('span', { class: 'muted' }, 'none'),
  },
  { id: 'limits', label: 'Limits', cell: (user) => values(user.limits) },
  { id: 'password', label: 'Has password', cell: (user) => (user.password_hash ? 'yes' : 'no') },
];

const NO_PASSWORD = 'none';

// Fields of what a user is; of a new one if none is given.
function fields(user) {
  const tags = user ? tagsOf(user) : [];
  const ways = [
    ['password', 'Password'],
    ['hash', 'Hashed password'],
    [NO_PASSWORD, 'No password: certificates only'],
  ];
  return [
    { name: 'way', label: 'Login', kind: 'select', options: user ? [['keep', 'Password as it is'], ...ways] : ways },
    {
      name: 'password',
      label: 'Password',
      kind: 'password',
      autocomplete: 'new-password',
      required: true,
      when: ['way', 'password'],
    },
    {
      name: 'confirm',
      label: 'Password again',
      kind: 'password',
      autocomplete: 'new-password',
      required: true,
      when: ['way', 'password'],
    },
    {
      name: 'hash',
      label: 'Hashed password',
      required: true,
      when: ['way', 'hash'],
      hint: 'As the API or an export shows it.',
    },
    { name: 'tags', label: 'Tags', value: tags.join(', '), words: TAGS.map(([tag]) => tag) },
  ];
}

function request({ way, password, confirm, hash, tags }, user) {
  if (way === 'hash') return { tags, password_hash: hash };
  if (way === NO_PASSWORD) return { tags, password_hash: '' };
  if (way === 'keep') return { tags, password_hash: user.password_hash, hashing_algorithm: user.hashing_algorithm };
  if (password !== confirm) throw new Error('The two passwords differ.');
  return { tags, password };
}

export function users(place) {
  let access = new Map();
  const listing = new Listing(place, {
    id: 'users',
    label: 'Users',
    columns: COLUMNS,
    url: () => 'users',
    rowKey: (user) => user.name,
    sort: 'name',
    rows: (items) => items.map((user) => ({ ...user, vhosts: access.get(user.name) ?? [] })),
  });
  const add = () =>
    formDialog('Add a user', {
      fields: [{ name: 'name', label: 'Username', required: true, autocomplete: 'off' }, ...fields()],
      submit: 'Add user',
      send: async ({ name, ...own }) => api.put(path('users', name), request(own)),
      done: ({ name }) => `The user ${name} was added.`,
      after: () => place.refresh(),
    });
  const load = async (signal) => {
    const permissions = await api.get('permissions', { signal });
    access = grouped(permissions, 'user', 'vhost');
    await listing.load(signal);
  };
  return {
    title: 'Users',
    node: section('All users', null, listing.node),
    actions: [button('Add a user', add, 'primary')],
    load,
  };
}

export function user(place) {
  const [name] = place.params;
  const own = path('users', name);
  const details = live();
  const permissions = live();
  const topics = live();
  let known;
  const remove = async () => {
    if (!(await confirmed('Delete user', `Delete ${name}?`, 'Delete'))) return;
    await attempt(async () => {
      await api.delete(own);
      location.hash = '#/users';
    }, `The user ${name} was deleted.`);
  };
  const edit = () =>
    formDialog(`Update ${name}`, {
      fields: fields(known),
      submit: 'Update user',
      send: async (changed) => api.put(own, request(changed, known)),
      done: 'The user was updated.',
      after: () => place.refresh(),
    });
  const vhostColumn = { id: 'vhost', label: 'Virtual host', cell: ({ vhost }) => vhostLink(vhost) };
  const node = h(
    'div',
    { class: 'stack' },
    section('Details', null, details.node),
    section('Permissions', null, permissions.node),
    section('Topic permissions', null, topics.node),
    permissionForms(place, { user: name }),
    section('Meaning of the tags', null, pairs(...TAGS)),
  );
  const load = async (signal) => {
    const [record, allowed, allowedTopics] = await Promise.all([
      api.get(own, { signal }),
      api.get(`${own}/permissions`, { signal }),
      api.get(`${own}/topic-permissions`, { signal }),
    ]);
    known = record;
    details.draw(
      pairs(
        ['Tags', tagsOf(record).join(', ') || 'none: no use of this UI'],
        ['Can log in with password', record.password_hash ? 'yes' : 'no'],
        ['Hashing', record.hashing_algorithm],
        ['Limits', values(record.limits)],
        ['You', record.name === session.name && 'this is who you are logged in as'],
      ),
    );
    permissions.draw(
      table('Permissions', [vhostColumn, ...PERMISSION_COLUMNS, removal(place)], allowed, {
        empty: 'No permissions: the user cannot use any virtual host.',
      }),
    );
    topics.draw(
      table('Topic permissions', [vhostColumn, ...TOPIC_COLUMNS, removal(place, true)], allowedTopics, {
        empty: 'No topic permissions: topics are not restricted.',
      }),
    );
  };
  return { title: `User ${name}`, node, actions: [button('Update', edit), button('Delete', remove, 'danger')], load };
}
