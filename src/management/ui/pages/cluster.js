// The smaller pages of Admin: limits, the cluster's name, feature flags, deprecated features.

import { api, path } from '../core/api.js';
import { attempt } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { form, formDialog } from '../core/form.js';
import { Listing, table } from '../core/listing.js';
import { button, live, section, state } from '../core/parts.js';
import { session } from '../core/session.js';
import { vhostField } from './vhosts.js';

const LIMITS = {
  'vhost-limits': {
    title: 'Virtual host limits',
    add: 'Set a virtual host limit',
    who: 'vhost',
    names: [
      ['max-connections', 'Connections'],
      ['max-queues', 'Queues'],
    ],
  },
  'user-limits': {
    title: 'User limits',
    add: 'Set a user limit',
    who: 'user',
    names: [
      ['max-connections', 'Connections'],
      ['max-channels', 'Channels'],
    ],
  },
};

function limitTable(place, kind, records) {
  const { title, who } = LIMITS[kind];
  const rows = records.flatMap((record) =>
    Object.entries(record.value).map(([name, value]) => ({ of: record[who], name, value })),
  );
  const clear = ({ of, name }) =>
    attempt(async () => {
      await api.delete(path(kind, of, name));
      place.refresh();
    }, `The limit ${name} of ${of} was cleared.`);
  const columns = [
    { id: 'of', label: who === 'user' ? 'User' : 'Virtual host', cell: ({ of }) => of },
    { id: 'name', label: 'Limit', cell: ({ name }) => name },
    { id: 'value', label: 'Value', kind: 'number', cell: ({ value }) => value },
  ];
  const clearing = { id: 'clear', label: '', kind: 'end', cell: (row) => button('Clear', () => clear(row), 'small') };
  return table(title, session.isAdministrator ? [...columns, clearing] : columns, rows, {
    empty: 'There are no limits.',
  });
}

async function setLimit(place, kind) {
  const { add, who, names } = LIMITS[kind];
  const field = await attempt(async () => {
    if (who === 'vhost') return vhostField(place);
    const users = await api.get('users?columns=name&sort=name');
    return { name: 'user', label: 'User', kind: 'select', options: users.map(({ name }) => name) };
  });
  if (!field) return;
  await formDialog(add, {
    fields: [
      field,
      { name: 'name', label: 'Limit', kind: 'select', options: names },
      { name: 'value', label: 'Value', kind: 'number', required: true, hint: '-1 for no limit, 0 to allow none.' },
    ],
    submit: 'Set limit',
    send: (values) => api.put(path(kind, values[who], values.name), { value: Number(values.value) }),
    done: 'The limit was set.',
    after: () => place.refresh(),
  });
}

export function limits(place) {
  const [ofVhosts, ofUsers] = [live(), live()];
  // Those of others are for monitors.
  const users = () => (session.isMonitor ? 'user-limits' : path('user-limits', session.name));
  const load = async (signal) => {
    const [vhosts, others] = await Promise.all([
      api.get(place.within('vhost-limits'), { signal }),
      api.get(users(), { signal }),
    ]);
    ofVhosts.draw(limitTable(place, 'vhost-limits', vhosts));
    ofUsers.draw(limitTable(place, 'user-limits', others));
  };
  const add = (kind) => button(LIMITS[kind].add, () => setLimit(place, kind), kind === 'vhost-limits' ? 'primary' : '');
  return {
    title: 'Limits',
    node: h(
      'div',
      { class: 'stack' },
      section('Virtual host limits', null, ofVhosts.node),
      section('User limits', null, ofUsers.node),
    ),
    actions: session.isAdministrator ? Object.keys(LIMITS).map(add) : [],
    load,
  };
}

export function cluster(place) {
  const area = live();
  let name;
  const load = async (signal) => {
    const current = (await api.get('cluster-name', { signal })).name;
    if (current === name) return;
    name = current;
    area.draw(
      form({
        fields: [
          {
            name: 'name',
            label: 'Cluster name',
            value: name,
            required: true,
            hint: 'Told to clients when they connect.',
          },
        ],
        submit: 'Change name',
        reset: false,
        send: (values) => api.put('cluster-name', values),
        done: 'The cluster has a new name.',
        after: () => place.refresh(true),
      }),
    );
  };
  return { title: 'Cluster', node: section('Name', null, area.node), load };
}

const WORDS = { enabled: 'good', permitted: 'good', denied: 'bad', disabled: 'near', unavailable: 'bad' };

const FLAG_COLUMNS = [
  { id: 'name', label: 'Name', sort: 'name', cell: ({ name }) => name },
  { id: 'state', label: 'State', sort: 'state', cell: (flag) => state(flag.state, WORDS[flag.state] ?? '') },
  { id: 'stability', label: 'Stability', sort: 'stability', cell: ({ stability }) => stability },
  { id: 'desc', label: 'Description', cell: ({ desc }) => desc },
];

export function features(place) {
  const enable = (flag) =>
    attempt(async () => {
      await api.put(`${path('feature-flags', flag.name)}/enable`);
      place.refresh();
    }, `The feature flag ${flag.name} was enabled.`);
  const enabling = {
    id: 'enable',
    label: '',
    kind: 'end',
    isFixed: true,
    cell: (flag) => flag.state === 'disabled' && button('Enable', () => enable(flag), 'small'),
  };
  const listing = new Listing(place, {
    id: 'flags',
    label: 'Feature flags',
    columns: [...FLAG_COLUMNS, enabling],
    url: () => 'feature-flags',
    rowKey: ({ name }) => name,
    sort: 'name',
  });
  return {
    title: 'Feature Flags',
    node: section('Feature flags', null, listing.node),
    load: (signal) => listing.load(signal),
  };
}

const DEPRECATED_COLUMNS = [
  { id: 'name', label: 'Name', sort: 'name', cell: ({ name }) => name },
  {
    id: 'phase',
    label: 'Deprecation phase',
    sort: 'deprecation_phase',
    cell: (feature) => feature.deprecation_phase?.replaceAll('_', ' '),
  },
  { id: 'state', label: 'State', sort: 'state', cell: (feature) => state(feature.state, WORDS[feature.state] ?? '') },
  { id: 'desc', label: 'Description', cell: ({ desc }) => desc },
];

export function deprecated(place) {
  const used = live();
  const listing = new Listing(place, {
    id: 'deprecated',
    label: 'Deprecated features',
    columns: DEPRECATED_COLUMNS,
    url: () => 'deprecated-features',
    rowKey: ({ name }) => name,
    sort: 'name',
    empty: 'Nothing that this broker has is deprecated.',
  });
  const load = async (signal) => {
    const [inUse] = await Promise.all([api.get('deprecated-features/used', { signal }), listing.load(signal)]);
    used.draw(table('In use', DEPRECATED_COLUMNS, inUse, { rowKey: ({ name }) => name, empty: 'None is in use.' }));
  };
  return {
    title: 'Deprecated Features',
    node: h(
      'div',
      { class: 'stack' },
      section('In use', null, used.node),
      section('All deprecated features', null, listing.node),
    ),
    load,
  };
}
