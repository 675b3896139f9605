// Where a page stands: the names in its address, what is asked for behind them, and the vhost that is looked at.

import { choices } from './session.js';

export class Place {
  constructor(params, query, refresh) {
    Object.assign(this, { params, query, refresh });
  }

  // The vhost chosen for all lists; empty for all.
  get vhost() {
    return choices.get('vhost', '');
  }

  // `kind`, or what of it is in the vhost chosen.
  within(kind) {
    return this.vhost ? `${kind}/${encodeURIComponent(this.vhost)}` : kind;
  }

  // Writes the query into the address, without going there. What is false or empty is left out.
  setQuery(values) {
    const kept = Object.entries(values).filter(([, value]) => value !== false && value !== '');
    this.query = new URLSearchParams(kept);
    const path = location.hash.split('?')[0];
    history.replaceState(null, '', kept.length ? `${path}?${this.query}` : path);
  }
}
