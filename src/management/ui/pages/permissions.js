// Permissions of a user in a vhost, as the pages of both show and set them.

import { api, path } from '../core/api.js';
import { attempt } from '../core/dialog.js';
import { h } from '../core/dom.js';
import { form } from '../core/form.js';
import { exchangeTitle } from '../core/format.js';
import { button, live, section } from '../core/parts.js';

const code = (text) => (text === '' ? h('span', { class: 'muted' }, 'nothing') : h('code', null, text));

export const PERMISSION_COLUMNS = [
  { id: 'configure', label: 'Configure regexp', cell: ({ configure }) => code(configure) },
  { id: 'write', label: 'Write regexp', cell: ({ write }) => code(write) },
  { id: 'read', label: 'Read regexp', cell: ({ read }) => code(read) },
];

export const TOPIC_COLUMNS = [
  { id: 'exchange', label: 'Exchange', cell: ({ exchange }) => exchangeTitle(exchange) },
  { id: 'write', label: 'Write regexp', cell: ({ write }) => code(write) },
  { id: 'read', label: 'Read regexp', cell: ({ read }) => code(read) },
];

// Who has permissions where; `from` and `to` are `user` and `vhost`, or the other way round.
export function grouped(permissions, from, to) {
  const found = new Map();
  for (const { [from]: one, [to]: other } of permissions) found.set(one, [...(found.get(one) ?? []), other]);
  return found;
}

// The column that takes a permission away.
export function removal(place, isTopic = false) {
  const clear = ({ user, vhost, exchange }) =>
    attempt(
      async () => {
        await api.delete(
          isTopic
            ? path('topic-permissions', vhost, user, exchange || 'amq.default')
            : path('permissions', vhost, user),
        );
        place.refresh();
      },
      `The ${isTopic ? 'topic permission' : 'permissions'} of ${user} in ${vhost} were cleared.`,
    );
  return { id: 'clear', label: '', kind: 'end', cell: (one) => button('Clear', () => clear(one), 'small') };
}

const regexp = (name, label) => ({ name, label, value: '.*' });

// Forms that set permissions. `known`: the user or the vhost that the page is of; the other is chosen.
export function permissionForms(place, known) {
  const area = live('div', { class: 'columns' });
  const other = known.vhost === undefined ? 'vhost' : 'user';
  const draw = async () => {
    const [names, exchanges] = await Promise.all([
      api.get(`${other}s?columns=name&sort=name`),
      known.vhost === undefined
        ? []
        : api.get(`${path('exchanges', known.vhost)}?columns=name,type&disable_stats=true`),
    ]);
    const choice = {
      name: other,
      label: other === 'user' ? 'User' : 'Virtual host',
      kind: 'select',
      options: names.map(({ name }) => name),
    };
    const topics = exchanges.filter(({ type }) => type === 'topic').map(({ name }) => name);
    const exchange = topics.length
      ? { name: 'exchange', label: 'Exchange', kind: 'select', options: topics }
      : { name: 'exchange', label: 'Exchange', required: true, value: 'amq.topic' };
    const spec = { after: () => place.refresh(), reset: false };
    area.draw(
      h(
        'div',
        null,
        h('h3', null, 'Set permissions'),
        form({
          ...spec,
          fields: [
            choice,
            regexp('configure', 'Configure regexp'),
            regexp('write', 'Write regexp'),
            regexp('read', 'Read regexp'),
          ],
          submit: 'Set permission',
          send: (values) => {
            const { user, vhost, configure, write, read } = { ...known, ...values };
            return api.put(path('permissions', vhost, user), { configure, write, read });
          },
          done: 'The permissions were set.',
        }),
      ),
      h(
        'div',
        null,
        h('h3', null, 'Set topic permissions'),
        form({
          ...spec,
          fields: [choice, exchange, regexp('write', 'Write regexp'), regexp('read', 'Read regexp')],
          submit: 'Set topic permission',
          send: (values) => {
            const { user, vhost, exchange: name, write, read } = { ...known, ...values };
            return api.put(path('topic-permissions', vhost, user), { exchange: name, write, read });
          },
          done: 'The topic permission was set.',
        }),
      ),
    );
  };
  attempt(draw);
  return section('Change permissions', null, area.node);
}
