// The login. A name and password that /api/whoami knows begin a session of this tab.

import { api } from '../core/api.js';
import { h } from '../core/dom.js';
import { form } from '../core/form.js';
import { encoded, session } from '../core/session.js';
import { brand } from '../shell.js';

// `enter` is called when somebody is logged in; `reason` says why that is asked for.
export function login(enter, reason) {
  const send = async ({ name, password }) => {
    const credentials = encoded(name, password);
    session.begin(credentials, await api.whoami(credentials));
  };
  const fields = [
    { name: 'name', label: 'Username', required: true, autocomplete: 'username' },
    { name: 'password', label: 'Password', kind: 'password', required: true, autocomplete: 'current-password' },
  ];
  return h(
    'main',
    { id: 'main', class: 'login', tabindex: -1 },
    h('h1', null, brand(), 'Lepus'),
    reason && h('p', { class: 'problem', role: 'alert' }, reason),
    form({ fields, submit: 'Log in', send, reset: false, after: enter }),
  );
}
