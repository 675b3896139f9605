// The login, by name and password that /api/whoami knows, or at a provider: either begins a session of this tab.

import { api } from '../core/api.js';
import { h } from '../core/dom.js';
import { form } from '../core/form.js';
import { begin } from '../core/oauth.js';
import { basic, session } from '../core/session.js';
import { brand } from '../shell.js';

function atProvider(own) {
  const problem = h('p', { class: 'error', role: 'alert' });
  const go = async () => {
    problem.textContent = '';
    try {
      await begin(own);
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  return h(
    'div',
    { class: 'provider' },
    h('button', { type: 'button', class: 'primary', onclick: go }, `Log in at ${new URL(own.oauth_provider_url).host}`),
    problem,
  );
}

function byPassword(enter) {
  const send = async ({ name, password }) => {
    const authorization = basic(name, password);
    session.begin(authorization, await api.whoami(authorization));
  };
  const fields = [
    { name: 'name', label: 'Username', required: true, autocomplete: 'username' },
    { name: 'password', label: 'Password', kind: 'password', required: true, autocomplete: 'current-password' },
  ];
  return form({ fields, submit: 'Log in', send, reset: false, after: enter });
}

// `enter` is called when somebody is logged in; `reason` says why that is asked for; `own` is what the broker says of the
// provider, if there is one.
export function login(enter, reason, own) {
  return h(
    'main',
    { id: 'main', class: 'login', tabindex: -1 },
    h('h1', null, brand(), 'Lepus'),
    reason && h('p', { class: 'problem', role: 'alert' }, reason),
    own && atProvider(own),
    !own?.oauth_disable_basic_auth && byPassword(enter),
  );
}
