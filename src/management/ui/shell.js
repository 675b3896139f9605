// What is around every page: navigation, the vhost looked at, how often to load again, colours, and who is logged in.

import { api } from './core/api.js';
import { h, patch } from './core/dom.js';
import { clock } from './core/format.js';
import { options } from './core/form.js';
import { choices, session } from './core/session.js';

const TABS = [
  ['', 'Overview'],
  ['connections', 'Connections'],
  ['channels', 'Channels'],
  ['exchanges', 'Exchanges'],
  ['queues', 'Queues and Streams'],
];

// Address, label, and whether only administrators have it.
const ADMIN = [
  ['users', 'Users', true],
  ['vhosts', 'Virtual Hosts', true],
  ['feature-flags', 'Feature Flags', true],
  ['deprecated-features', 'Deprecated Features', true],
  ['policies', 'Policies', false],
  ['limits', 'Limits', false],
  ['cluster-name', 'Cluster', true],
];

const REFRESHES = [
  [5000, 'every 5 s'],
  [10000, 'every 10 s'],
  [30000, 'every 30 s'],
  [0, 'not by itself'],
];

const THEMES = [
  ['system', 'Colours: system'],
  ['light', 'Colours: light'],
  ['dark', 'Colours: dark'],
];

// Names of vhosts that the choice among them holds.
const VHOSTS_MAX = 500;

const FRESH_MS = 30_000;

export class Shell {
  constructor(root, { leave, reload }) {
    this.reload = reload;
    this.freshUntil = 0;
    this.refreshMs = choices.get('refresh', 5000);
    this.tabs = h('nav', { class: 'tabs', 'aria-label': 'Main' });
    this.side = h('nav', { class: 'side', 'aria-label': 'Admin' });
    this.trouble = h('p', { class: 'problem', role: 'alert' });
    this.title = h('h1', { tabindex: -1 });
    this.actions = h('div', { class: 'actions' });
    this.place = h('div', { class: 'place' });
    this.main = h(
      'main',
      { id: 'main', tabindex: -1 },
      h('div', { class: 'title' }, this.title, this.actions),
      this.trouble,
      this.place,
    );
    this.cluster = h('span', { class: 'cluster' });
    this.when = h('span', { class: 'when' });
    this.vhosts = h('select', { onchange: () => this.chooseVhost() });
    root.append(this.header(leave), h('div', { class: 'frame' }, this.side, this.main), this.footer());
  }

  header(leave) {
    return h(
      'header',
      { class: 'top' },
      h(
        'div',
        { class: 'bar-top' },
        h('a', { class: 'brand', href: '#/' }, brand(), h('span', null, 'Lepus')),
        this.cluster,
        h('span', { class: 'gap' }),
        h('label', { class: 'inline' }, h('span', null, 'Virtual host'), this.vhosts),
        h(
          'label',
          { class: 'inline' },
          h('span', null, 'Refresh'),
          h('select', { onchange: (event) => this.chooseRefresh(event) }, options(REFRESHES, this.refreshMs)),
        ),
        h('button', { type: 'button', class: 'small', onclick: () => this.reload() }, 'Now'),
        h(
          'label',
          { class: 'inline' },
          h('span', { class: 'hidden' }, 'Colours'),
          h('select', { class: 'theme', onchange: chooseTheme }, options(THEMES, choices.get('theme', 'system'))),
        ),
        h(
          'span',
          { class: 'who' },
          h('span', { class: 'hidden' }, 'Logged in as '),
          h('strong', null, session.name),
          session.tags.length > 0 && h('span', { class: 'muted' }, ` ${session.tags.join(', ')}`),
        ),
        h('button', { type: 'button', class: 'small', onclick: () => leave() }, 'Log out'),
      ),
      this.tabs,
    );
  }

  footer() {
    this.product = h('span');
    return h(
      'footer',
      { class: 'bottom' },
      this.product,
      h('a', { href: 'api/index.html' }, 'HTTP API'),
      h('span', { class: 'gap' }),
      this.when,
    );
  }

  // Puts a page into its place.
  show(page, first) {
    const isAdmin = ADMIN.some(([name]) => name === first);
    const entry = ([name, label], isCurrent) =>
      h('a', { key: name, href: `#/${name}`, 'aria-current': isCurrent && 'page' }, label);
    const allowed = ADMIN.filter(([, , onlyAdministrators]) => session.isAdministrator || !onlyAdministrators);
    const isOn = (name) => name === first || (name === '' && first === 'nodes');
    patch(
      this.tabs,
      TABS.map((tab) => entry(tab, isOn(tab[0]))),
      entry([allowed[0][0], 'Admin'], isAdmin),
    );
    patch(this.side, isAdmin && allowed.map((one) => entry(one, one[0] === first)));
    this.side.hidden = !isAdmin;
    patch(this.title, page.title);
    this.title.classList.toggle('long', page.title.length > 60);
    this.actions.replaceChildren(...(page.actions ?? []));
    this.place.replaceChildren(page.node);
    this.problem('');
    document.title = `${page.title} · Lepus`;
  }

  // What all pages show of the broker. It costs the broker a look at all queues, and hardly ever changes.
  async load(signal) {
    if (Date.now() < this.freshUntil) return;
    const [cluster, version, vhosts] = await Promise.all([
      api.get('cluster-name', { signal }),
      api.get('version', { signal }),
      api.get('vhosts?columns=name&sort=name', { signal }),
    ]);
    this.freshUntil = Date.now() + FRESH_MS;
    patch(this.cluster, cluster.name);
    patch(this.product, `Lepus, compatible with RabbitMQ ${version}`);
    const names = vhosts.map(({ name }) => name);
    const chosen = choices.get('vhost', '');
    // One that is gone hides everything.
    if (chosen && !names.includes(chosen)) choices.set('vhost', '');
    const wanted = [['', 'All'], ...names.slice(0, VHOSTS_MAX)];
    if (JSON.stringify(wanted) === this.known) return;
    this.known = JSON.stringify(wanted);
    this.vhosts.replaceChildren(...options(wanted, choices.get('vhost', '')));
  }

  // A vhost, or the name of the cluster, has changed.
  outdated() {
    this.freshUntil = 0;
  }

  loaded() {
    patch(this.when, `As of ${clock(Date.now())}`);
  }

  problem(text) {
    if (this.trouble.textContent !== text) this.trouble.textContent = text;
  }

  focusMain() {
    this.title.focus();
    window.scrollTo(0, 0);
  }

  chooseVhost() {
    choices.set('vhost', this.vhosts.value);
    this.reload();
  }

  chooseRefresh(event) {
    this.refreshMs = Number(event.target.value);
    choices.set('refresh', this.refreshMs);
    this.reload();
  }
}

function chooseTheme(event) {
  const theme = event.target.value;
  choices.set('theme', theme);
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export const brand = () => h('img', { src: 'icon.svg', width: 28, height: 28, alt: '' });
