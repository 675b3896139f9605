// Begins here: which page stands at which address, what is around all pages, and when they are loaded again.
//
// A page is a function of its place (`core/page.js`) that returns `{ title, node, load(signal) }`: what is on it for
// good, and how it gets and draws what changes.

import { Unreachable, LoggedOut, api } from './core/api.js';
import { forgetSamples, keepSamples } from './core/chart.js';
import { tell } from './core/dialog.js';
import { h, patch } from './core/dom.js';
import { arrived, logoutUrl, provider, renewed } from './core/oauth.js';
import { Place } from './core/page.js';
import { bearer, session } from './core/session.js';
import { Shell } from './shell.js';
import { login } from './pages/login.js';
import { overview } from './pages/overview.js';
import { node } from './pages/node.js';
import { connection, connections } from './pages/connections.js';
import { channel, channels } from './pages/channels.js';
import { exchange, exchanges } from './pages/exchanges.js';
import { queues } from './pages/queues.js';
import { queue } from './pages/queue.js';
import { user, users } from './pages/users.js';
import { vhost, vhosts } from './pages/vhosts.js';
import { policies, policy } from './pages/policies.js';
import { cluster, deprecated, features, limits } from './pages/cluster.js';

// The first name of an address, how many follow, and the page.
const ROUTES = [
  ['', 0, overview],
  ['nodes', 1, node],
  ['connections', 0, connections],
  ['connections', 1, connection],
  ['channels', 0, channels],
  ['channels', 1, channel],
  ['exchanges', 0, exchanges],
  ['exchanges', 2, exchange],
  ['queues', 0, queues],
  ['queues', 2, queue],
  ['users', 0, users],
  ['users', 1, user],
  ['vhosts', 0, vhosts],
  ['vhosts', 1, vhost],
  ['policies', 0, policies],
  ['policies', 2, policy],
  ['limits', 0, limits],
  ['feature-flags', 0, features],
  ['deprecated-features', 0, deprecated],
  ['cluster-name', 0, cluster],
];

// How long to wait for a broker that does not answer.
const RETRY_MS = 2000;
// How long a session may be over before that is seen, in a computer that has slept.
const WATCH_MS = 60_000;
const OVER = 'Your session is over. Log in again.';

const root = document.getElementById('app');
let shell;
let current;
let timer;
let loading;
let over;

// `#/queues/%2F/a?page=2` as its names and its query.
function address() {
  const [names, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const decode = (name) => {
    try {
      return decodeURIComponent(name);
    } catch {
      return name;
    }
  };
  return { names: names.split('/').map(decode), query: new URLSearchParams(query) };
}

function notFound() {
  return { title: 'Not found', node: h('p', { class: 'empty' }, 'There is no such page.'), load: async () => {} };
}

function open() {
  for (const dialog of document.querySelectorAll('dialog')) dialog.close();
  const { names, query } = address();
  const [first, ...params] = names;
  const route = ROUTES.find(([name, count]) => name === first && count === params.length);
  const place = new Place(params, query, reload);
  current = (route?.[2] ?? notFound)(place);
  shell.show(current, first);
  load();
}

// `all`: what is around the pages, too.
const reload = (all = false) => {
  if (all === true) shell.outdated();
  loading?.abort();
  return load();
};

// Loads the page, and again when it is time.
async function load() {
  clearTimeout(timer);
  const page = current;
  const mine = (loading = new AbortController());
  let wait = shell.refreshMs;
  try {
    await renew();
    await Promise.all([page.load(mine.signal), shell.load(mine.signal)]);
    shell.problem('');
    shell.loaded();
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error instanceof LoggedOut) {
      await leave(error.message);
      return;
    }
    shell.problem(error.message);
    if (error instanceof Unreachable) wait = RETRY_MS;
  }
  if (loading !== mine) return;
  if (wait > 0) timer = setTimeout(whenSeen, wait);
}

// Nobody looks at a tab in the background.
function whenSeen() {
  if (!document.hidden) load();
}

// Ends the session, and asks for another.
async function leave(reason = '') {
  clearTimeout(timer);
  clearTimeout(over);
  loading?.abort();
  session.end();
  forgetSamples();
  shell = undefined;
  document.title = 'Lepus';
  // A broker that does not answer says nothing of a provider; who then logs in is told so.
  const own = await provider().catch(() => undefined);
  patch(root);
  root.append(login(enter, reason, own));
  root.querySelector('input, button').focus();
}

// The user wants to leave: the provider's session ends, too, or its page would let in whoever comes next.
async function logOut() {
  const { tokens } = session;
  const own = tokens && (await provider().catch(() => undefined));
  const url = own && logoutUrl(tokens, own.oauth_client_id);
  await leave();
  if (url) location.assign(url);
}

// Ends the session when its time is over, even if nobody looks.
function watch() {
  clearTimeout(over);
  const left = session.until - Date.now();
  if (session.until) over = setTimeout(left > 0 ? watch : () => leave(OVER), Math.min(Math.max(left, 0), WATCH_MS));
}

async function enter() {
  watch();
  try {
    keepSamples((await api.get('overview?columns=sample_retention_policies')).sample_retention_policies);
  } catch (error) {
    if (!(error instanceof Unreachable)) {
      await leave(error.message);
      return;
    }
  }
  root.replaceChildren();
  shell = new Shell(root, { leave: logOut, reload });
  open();
}

const begin = async (authorization, tokens) =>
  session.begin(authorization, await api.whoami(authorization), tokens);

let renewing;

// A token ends with its time, and so would the session. If there is no other to be had, the one that there is may do for
// a while yet; when it does not, the broker says so.
function renew() {
  const { tokens } = session;
  if (!tokens?.refresh || !tokens.renewAt || Date.now() < tokens.renewAt) return renewing;
  renewing ??= renewed(tokens)
    .then((fresh) => begin(bearer(fresh.token), fresh))
    .catch(() => {})
    .finally(() => (renewing = undefined));
  return renewing;
}

async function start() {
  try {
    const tokens = await arrived();
    if (tokens) await begin(bearer(tokens.token), tokens);
    else if (!session.restore() || (session.until && Date.now() > session.until)) {
      await leave(session.until ? OVER : '');
      return;
    } else await begin(session.authorization, session.tokens);
  } catch (error) {
    if (!(error instanceof Unreachable) || !session.authorization) {
      await leave(error.message);
      return;
    }
  }
  await enter();
}

window.addEventListener('hashchange', () => {
  if (!shell || (location.hash && !location.hash.startsWith('#/'))) return;
  loading?.abort();
  open();
  shell.focusMain();
});
document.addEventListener('visibilitychange', () => {
  if (shell && !document.hidden) reload();
});
window.addEventListener('unhandledrejection', ({ reason }) => {
  if (reason?.name !== 'AbortError') tell(String(reason?.message ?? reason), true);
});
// Its target is no page.
document.querySelector('.skip').onclick = (event) => {
  event.preventDefault();
  shell?.focusMain();
};

start();
