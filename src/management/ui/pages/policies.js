// Policies of users and of operators, and one of them.

import { api, path } from '../core/api.js';
import { attempt, confirmed } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { formDialog, shortcut } from '../core/form.js';
import { Listing } from '../core/listing.js';
import { button, link, live, pairs, section, values } from '../core/parts.js';
import { session } from '../core/session.js';
import { vhostField } from './vhosts.js';

const { number, text } = shortcut;

const ALL_QUEUES = [
  'All queues',
  number('max-length', 'Max length', 'messages'),
  number('max-length-bytes', 'Max length bytes', 'bytes of bodies'),
  text('overflow', 'Overflow behaviour', 'drop-head, reject-publish or reject-publish-dlx', 'drop-head'),
  number('expires', 'Auto expire', 'ms without use'),
  number('message-ttl', 'Message TTL', 'ms'),
];

const QUORUM_QUEUES = [
  'Quorum queues',
  number('delivery-limit', 'Delivery limit', 'deliveries of a message'),
  number('target-group-size', 'Target group size', 'members'),
  text('delayed-retry-type', 'Delayed retry', 'all, failed, returned or disabled', 'all'),
  number('delayed-retry-min', 'Delayed retry minimum', 'ms before the first retry'),
  number('delayed-retry-max', 'Delayed retry maximum', 'ms before the last retry'),
];

const USER_KEYS = [
  ALL_QUEUES,
  [
    'Dead letters',
    text('dead-letter-exchange', 'Dead letter exchange'),
    text('dead-letter-routing-key', 'Dead letter routing key'),
    text('dead-letter-strategy', 'Dead letter strategy', 'at-most-once or at-least-once', 'at-least-once'),
  ],
  ['Consumers', number('consumer-timeout', 'Consumer timeout', 'ms to acknowledge a delivery')],
  QUORUM_QUEUES,
  [
    'Streams',
    text('max-age', 'Max age', 'a number and Y, M, D, h, m or s', '7D'),
    number('stream-max-segment-size-bytes', 'Max segment size in bytes'),
    number('stream-filter-size-bytes', 'Filter size in bytes', '16 to 255'),
  ],
  ['Placement', text('queue-leader-locator', 'Leader locator', 'client-local or balanced', 'client-local')],
  ['Exchanges', text('alternate-exchange', 'Alternate exchange')],
];

const OPERATOR_KEYS = [ALL_QUEUES, QUORUM_QUEUES];

const APPLY_TO = [
  ['all', 'Exchanges and queues'],
  ['exchanges', 'Exchanges'],
  ['queues', 'Queues'],
  ['classic_queues', 'Classic queues'],
  ['quorum_queues', 'Quorum queues'],
  ['streams', 'Streams'],
];

// The two kinds of policies: their place in the API, who may change them, and the keys that they know.
const KINDS = {
  policies: { title: 'User policies', add: 'Add a user policy', may: () => session.isPolicymaker, keys: USER_KEYS },
  'operator-policies': {
    title: 'Operator policies',
    add: 'Add an operator policy',
    may: () => session.isAdministrator,
    keys: OPERATOR_KEYS,
  },
};

const definitionFields = (kind, policy = {}) => [
  { name: 'pattern', label: 'Pattern', required: true, value: policy.pattern, hint: 'A regular expression for names.' },
  { name: 'apply-to', label: 'Apply to', kind: 'select', options: APPLY_TO, value: policy['apply-to'] ?? 'all' },
  {
    name: 'priority',
    label: 'Priority',
    kind: 'number',
    value: policy.priority ?? 0,
    hint: 'Of all that match, the highest counts.',
  },
  { name: 'definition', label: 'Definition', kind: 'arguments', shortcuts: KINDS[kind].keys, value: policy.definition },
];

const put = (kind, { vhost, name, priority, ...values }) =>
  api.put(path(kind, vhost, name), { ...values, priority: Number(priority) });

function change(place, kind, policy) {
  const { vhost, name } = policy;
  return formDialog(`Update ${name}`, {
    fields: definitionFields(kind, policy),
    submit: 'Update policy',
    send: (values) => put(kind, { ...values, vhost, name }),
    done: `The policy ${name} was updated.`,
    after: () => place.refresh(),
  });
}

async function add(place, kind) {
  const vhost = await attempt(() => vhostField(place));
  if (!vhost) return;
  await formDialog(KINDS[kind].add, {
    fields: [vhost, { name: 'name', label: 'Name', required: true }, ...definitionFields(kind)],
    submit: 'Add policy',
    send: (values) => put(kind, values),
    done: ({ name }) => `The policy ${name} was added.`,
    after: () => place.refresh(),
  });
}

async function remove(kind, { vhost, name }, after) {
  if (!(await confirmed('Delete policy', `Delete the policy ${name} of ${vhost}?`, 'Delete'))) return;
  await attempt(async () => {
    await api.delete(path(kind, vhost, name));
    after();
  }, `The policy ${name} was deleted.`);
}

const nameOf = (kind, { vhost, name }) => (kind === 'policies' ? link(name, 'policies', vhost, name) : name);

function columns(place, kind) {
  const actions = {
    id: 'actions',
    label: '',
    kind: 'end',
    isFixed: true,
    cell: (policy) => [
      button('Update', () => change(place, kind, policy), 'small'),
      button('Delete', () => remove(kind, policy, () => place.refresh()), 'small'),
    ],
  };
  return [
    { id: 'name', label: 'Name', sort: 'name', cell: (policy) => nameOf(kind, policy) },
    { id: 'vhost', label: 'Virtual host', sort: 'vhost', cell: ({ vhost }) => vhost },
    { id: 'pattern', label: 'Pattern', sort: 'pattern', cell: ({ pattern }) => h('code', null, pattern) },
    { id: 'apply', label: 'Apply to', sort: 'apply-to', cell: (policy) => policy['apply-to'] },
    { id: 'definition', label: 'Definition', cell: ({ definition }) => values(definition) },
    { id: 'priority', label: 'Priority', kind: 'number', sort: 'priority', cell: ({ priority }) => priority },
    ...(KINDS[kind].may() ? [actions] : []),
  ];
}

export function policies(place) {
  const lists = Object.entries(KINDS).map(([kind, { title }]) => ({
    title,
    listing: new Listing(place, {
      id: kind,
      label: title,
      columns: columns(place, kind),
      url: () => place.within(kind),
      rowKey: ({ vhost, name }) => `${vhost} ${name}`,
      sort: 'name',
      isMain: kind === 'policies',
      empty: `There are no ${title.toLowerCase()}.`,
    }),
  }));
  const actions = Object.entries(KINDS)
    .filter(([, { may }]) => may())
    .map(([kind, { add: label }], i) => button(label, () => add(place, kind), i === 0 ? 'primary' : ''));
  return {
    title: 'Policies',
    node: h(
      'div',
      { class: 'stack' },
      lists.map(({ title, listing }) => section(title, null, listing.node)),
    ),
    actions,
    load: (signal) => Promise.all(lists.map(({ listing }) => listing.load(signal))),
  };
}

export function policy(place) {
  const [vhost, name] = place.params;
  const details = live();
  let known;
  const load = async (signal) => {
    known = await api.get(path('policies', vhost, name), { signal });
    details.draw(
      pairs(
        ['Virtual host', known.vhost],
        ['Pattern', h('code', null, known.pattern)],
        ['Apply to', known['apply-to']],
        ['Priority', known.priority],
        ['Definition', values(known.definition)],
      ),
    );
  };
  const leave = () => (location.hash = '#/policies');
  const actions = session.isPolicymaker
    ? [
        button('Update', () => known && change(place, 'policies', known)),
        button('Delete', () => remove('policies', { vhost, name }, leave), 'danger'),
      ]
    : [];
  return { title: `Policy ${name}`, node: section('Details', null, details.node), actions, load };
}
