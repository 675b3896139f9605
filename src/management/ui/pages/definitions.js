// Definitions out to a file and in from one.

import { api } from '../core/api.js';
import { h } from '../core/dom.js';
import { form } from '../core/form.js';
import { live, section } from '../core/parts.js';
import { tell } from '../core/dialog.js';
import { allVhosts } from './vhosts.js';

const today = () => new Date().toISOString().slice(0, 10);

function save(text, filename) {
  const address = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  const anchor = h('a', { href: address, download: filename });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const at = (vhost) => (vhost ? `definitions/${encodeURIComponent(vhost)}` : 'definitions');

function forms(place, vhosts) {
  const choice = { name: 'vhost', label: 'Virtual host', kind: 'select', options: [['', 'All'], ...vhosts] };
  const out = form({
    fields: [
      { name: 'filename', label: 'Filename', value: `${location.hostname}_${today()}.json`, required: true },
      choice,
    ],
    submit: 'Download definitions',
    reset: false,
    send: async ({ filename, vhost }) => save(JSON.stringify(await api.get(at(vhost)), null, 2), filename),
    done: ({ filename }) => `The definitions are in ${filename}.`,
  });
  const into = form({
    fields: [
      { name: 'file', label: 'Definitions file', kind: 'file', accept: '.json,application/json', required: true },
      choice,
    ],
    submit: 'Upload definitions',
    send: async ({ file, vhost }) => api.post(at(vhost), await file.text()),
    done: ({ file }) => `The definitions in ${file.name} were imported.`,
    after: () => place.refresh(true),
  });
  return [h('div', null, h('h3', null, 'Export'), out), h('div', null, h('h3', null, 'Import'), into)];
}

export function definitions(place) {
  const area = live('div', { class: 'columns' });
  // Forms stay as they are filled in while the page is loaded again.
  allVhosts().then(
    (vhosts) => area.draw(forms(place, vhosts)),
    (error) => tell(error.message, true),
  );
  return section('Definitions', null, area.node);
}
