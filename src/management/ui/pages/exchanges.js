// Exchanges, and one of them.

import { api, exchangeName, path } from '../core/api.js';
import { MESSAGE_RATES, charts } from '../core/chart.js';
import { attempt, confirmed } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { exchangeTitle } from '../core/format.js';
import { rateColumn } from '../core/listing.js';
import {
  button,
  declaredTags,
  exchangeLink,
  live,
  pairs,
  panel,
  policyLink,
  section,
  values,
} from '../core/parts.js';
import { bindFromExchange, bindingList } from './bindings.js';
import { ofChannel, toQueue, traffic } from './channels.js';
import { declareDialog, declaredColumns, declaredPage } from './declared.js';
import { publishPanel } from './messages.js';
import { vhostField } from './vhosts.js';

const KNOWN = { 'alternate-exchange': 'AE' };

const COLUMNS = [
  ...declaredColumns(exchangeLink, KNOWN),
  rateColumn('publish_in', 'In'),
  rateColumn('publish_out', 'Out'),
];

const SHORTCUTS = [
  [
    'All',
    {
      key: 'alternate-exchange',
      label: 'Alternate exchange',
      type: 'String',
      hint: 'Gets what this one cannot route.',
    },
  ],
  ['Delayed messages', { key: 'x-delayed-type', label: 'Delayed type', type: 'String', preset: 'direct' }],
];

async function add(place) {
  const prepared = await attempt(() =>
    Promise.all([
      vhostField(place),
      api.get('overview?columns=exchange_types').then((overview) => overview.exchange_types ?? []),
    ]),
  );
  if (!prepared) return;
  const [vhost, types] = prepared;
  await declareDialog(place, {
    kind: 'exchanges',
    word: 'exchange',
    vhost,
    type: { options: types.map(({ name }) => name), value: 'direct' },
    autoDelete: 'goes with its last binding',
    flags: [{ name: 'internal', label: 'Internal: only exchanges publish to it', kind: 'check' }],
    shortcuts: SHORTCUTS,
    body: (values) => values,
  });
}

export const exchanges = (place) =>
  declaredPage(place, {
    id: 'exchanges',
    title: 'Exchanges',
    all: 'All exchanges',
    columns: COLUMNS,
    addLabel: 'Add a new exchange',
    add,
  });

async function remove(own, name) {
  if (!(await confirmed('Delete exchange', `Delete ${name} with its bindings?`, 'Delete'))) return;
  await attempt(async () => {
    await api.delete(own);
    location.hash = '#/exchanges';
  }, `The exchange ${name} was deleted.`);
}

export function exchange(place) {
  const [vhost, given] = place.params;
  const name = given === 'amq.default' ? '' : given;
  const own = path('exchanges', vhost, exchangeName(name));
  const details = live();
  const breakdown = live();
  const drawn = charts(place.refresh, 'basic', {
    id: 'exchange.rates',
    title: 'Message rates',
    series: MESSAGE_RATES,
    read: (record) => record.message_stats,
    isRate: true,
  });
  const incoming = bindingList(place, {
    id: 'to-exchange',
    label: 'Bindings to this exchange',
    end: 'source',
    url: () => `${own}/bindings/destination`,
    empty: 'Nothing is bound to come here.',
  });
  const outgoing = bindingList(place, {
    id: 'from-exchange',
    label: 'Bindings from this exchange',
    end: 'destination',
    url: () => `${own}/bindings/source`,
    empty: 'Nothing is bound: what is published here goes nowhere.',
  });
  const isOwn = name !== '';
  const node = h(
    'div',
    { class: 'stack' },
    section('Messages', drawn.range, drawn.node, breakdown.node),
    section('Details', null, details.node),
    // The default exchange is bound to every queue by its name, and to nothing else.
    isOwn
      ? section(
          'Bindings',
          null,
          h('h3', null, 'To this exchange'),
          incoming.node,
          h('h3', null, 'From this exchange'),
          outgoing.node,
        )
      : section(
          'Bindings',
          null,
          h(
            'p',
            { class: 'hint' },
            'The default exchange is bound to every queue, with the name of the queue as routing key. It can be neither bound nor deleted.',
          ),
        ),
    isOwn && panel('Add binding', bindFromExchange(place, vhost, name)),
    publishPanel(place, { vhost, exchange: name }),
  );
  const load = async (signal) => {
    const [record] = await Promise.all([
      api.get(`${own}?${drawn.ages()}`, { signal }),
      isOwn && incoming.load(signal),
      isOwn && outgoing.load(signal),
    ]);
    drawn.update(record, `${vhost} ${name}`);
    details.draw(
      pairs(
        ['Virtual host', record.vhost],
        ['Type', record.type],
        ['Features', declaredTags(record, KNOWN)],
        ['Arguments', values(record.arguments)],
        ['Policy', record.policy && policyLink(vhost, record.policy)],
        ['Effective policy definition', record.policy && values(record.effective_policy_definition)],
        ['Held back', record.messages_delayed],
      ),
    );
    const rows = [...(record.incoming ?? []), ...(record.outgoing ?? [])].some(({ stats }) => stats);
    breakdown.draw(
      rows && [
        traffic('Incoming', [ofChannel], record.incoming, [['publish', 'Publish']]),
        traffic('Outgoing', [toQueue], record.outgoing, [['publish', 'Publish']]),
      ],
    );
  };
  const isBuiltIn = !isOwn || name.startsWith('amq.');
  const actions = isBuiltIn ? [] : [button('Delete', () => remove(own, exchangeTitle(name)), 'danger')];
  return { title: `Exchange ${exchangeTitle(name)}`, node, actions, load };
}
