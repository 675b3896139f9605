// Tables: long ones that the broker filters, sorts and cuts into pages, and short ones.

import { h, patch } from './dom.js';
import { api, Refused } from './api.js';
import { bytes, count, rate, rateOf } from './format.js';
import { options } from './form.js';
import { choices } from './session.js';

const SIZES = [20, 50, 100, 200, 500];
const TYPING_MS = 300;

// A column of a count that the record has under this name.
export const countColumn = (name, label, group, more) => ({
  id: name,
  label,
  group,
  kind: 'number',
  sort: name,
  cell: (record) => count(record[name]),
  ...more,
});

// The same of bytes, for those who want to see them.
export const bytesColumn = (name, label, group) =>
  countColumn(name, label, group, { off: true, cell: (record) => bytes(record[name]) });

// A column of how fast something of `message_stats` grows.
export const rateColumn = (name, label, more) => ({
  id: `rate_${name}`,
  label,
  group: 'Message rates',
  kind: 'number',
  sort: `message_stats.${name}_details.rate`,
  cell: (record) => rate(rateOf(record.message_stats, name) ?? 0),
  ...more,
});

const isNumber = ({ kind }) => kind === 'number';

// The heads of columns, with a row of groups above if there are any.
function heads(columns, head) {
  const labels = h(
    'tr',
    null,
    columns.map((column) => head(column)),
  );
  if (!columns.some(({ group }) => group)) return h('thead', null, labels);
  const groups = [];
  for (const { group = '' } of columns) {
    if (groups.at(-1)?.group === group) groups.at(-1).span += 1;
    else groups.push({ group, span: 1 });
  }
  const cell = ({ group, span }, i) =>
    group
      ? h('th', { key: `${i}${group}`, scope: 'colgroup', colspan: span, class: 'group' }, group)
      : h('td', { key: `${i}`, colspan: span });
  return h('thead', null, h('tr', { class: 'groups' }, groups.map(cell)), labels);
}

const headed = (column, properties, content) =>
  h('th', { key: column.id, scope: 'col', class: isNumber(column) ? 'number' : null, ...properties }, content);

// Nothing is happening there.
const isStill = (content) => typeof content === 'string' && /^0($|[ /])/.test(content);

function body(columns, items, rowKey) {
  const cell = (column, item, i) => {
    const content = column.cell(item);
    const kind = isNumber(column) ? (isStill(content) ? 'number still' : 'number') : column.kind;
    return i === 0
      ? h('th', { key: column.id, class: kind, scope: 'row' }, content)
      : h('td', { key: column.id, class: kind }, content);
  };
  return h(
    'tbody',
    null,
    items.map((item) =>
      h(
        'tr',
        { key: rowKey(item) },
        columns.map((column, i) => cell(column, item, i)),
      ),
    ),
  );
}

const scroller = (label, ...content) =>
  h('div', { class: 'scroller', role: 'region', 'aria-label': label, tabindex: 0 }, content);

// A short table. `columns`: `{ id, label, cell(item), kind }`.
export function table(label, columns, items, { rowKey = JSON.stringify, empty = 'None' } = {}) {
  if (!items?.length) return h('p', { class: 'empty' }, empty);
  return scroller(
    label,
    h(
      'table',
      null,
      h('caption', { class: 'hidden' }, label),
      heads(columns, (column) => headed(column, null, column.label)),
      body(columns, items, rowKey),
    ),
  );
}

// A long table: `url()` is asked for a page, as sorted and filtered as the user wants. What is wanted stands in the
// address, if it is the main table of its page. `columns` have `sort`, by what the broker sorts, and `off` if they are
// shown only when chosen.
export class Listing {
  constructor(
    page,
    { id, label, columns, url, rowKey, sort = '', hasFilter = true, isMain = true, empty = 'None', rows },
  ) {
    Object.assign(this, { page, id, label, all: columns, url, rowKey, empty, isMain, rows });
    const query = isMain ? page.query : new URLSearchParams();
    this.state = {
      page: Number(query.get('page')) || 1,
      size: Number(query.get('size')) || choices.get(`size.${id}`, 100),
      name: query.get('name') ?? '',
      regex: query.get('regex') === 'true',
      sort: query.get('sort') ?? sort,
      reverse: query.get('reverse') === 'true',
    };
    this.chosen = new Set(
      choices.get(
        `columns.${id}`,
        columns.filter(({ off }) => !off).map((column) => column.id),
      ),
    );
    this.status = h('p', { class: 'status', role: 'status' });
    this.pager = h('div', { class: 'pager' });
    this.rowsArea = h('div');
    this.node = h('div', { class: 'listing' }, this.controls(hasFilter), this.rowsArea);
  }

  get columns() {
    return this.all.filter((column, i) => i === 0 || column.isFixed || this.chosen.has(column.id));
  }

  controls(hasFilter) {
    const { name, regex, size } = this.state;
    const id = `filter-${this.id}`;
    let timer;
    const typed = (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => this.want({ name: event.target.value, page: 1 }), TYPING_MS);
    };
    const filter = hasFilter && [
      h('label', { for: id }, 'Filter'),
      h('input', { id, type: 'search', value: name, spellcheck: 'false', autocomplete: 'off', oninput: typed }),
      h(
        'label',
        { class: 'inline' },
        h('input', {
          type: 'checkbox',
          checked: regex,
          onchange: (event) => this.want({ regex: event.target.checked, page: 1 }),
        }),
        'Regex',
      ),
    ];
    const resize = (event) => {
      choices.set(`size.${this.id}`, Number(event.target.value));
      this.want({ size: Number(event.target.value), page: 1 });
    };
    this.sizes = h(
      'label',
      { class: 'inline' },
      h('select', { onchange: resize }, options(SIZES, SIZES.includes(size) ? size : 100)),
      'a page',
    );
    const chooser = this.all.some((column) => column.group || column.off) && this.chooser();
    return h(
      'div',
      { class: 'controls', role: 'search', 'aria-label': this.label },
      filter,
      this.status,
      h('span', { class: 'gap' }),
      this.pager,
      this.sizes,
      chooser,
    );
  }

  chooser() {
    const toggle = (column) => (event) => {
      if (event.target.checked) this.chosen.add(column.id);
      else this.chosen.delete(column.id);
      choices.set(`columns.${this.id}`, [...this.chosen]);
      this.draw();
    };
    const option = (column) =>
      h(
        'label',
        { class: 'inline' },
        h('input', { type: 'checkbox', checked: this.chosen.has(column.id), onchange: toggle(column) }),
        column.label,
      );
    const groups = [...new Set(this.all.map(({ group = '' }) => group))];
    const of = (wanted) => this.all.filter((column, i) => i > 0 && !column.isFixed && (column.group ?? '') === wanted);
    const details = h(
      'details',
      { class: 'chooser' },
      h('summary', null, 'Columns'),
      h(
        'div',
        { class: 'popup' },
        groups.map((group) => h('fieldset', null, h('legend', null, group || 'General'), of(group).map(option))),
      ),
    );
    details.onkeydown = (event) => {
      if (event.key !== 'Escape') return;
      details.open = false;
      details.querySelector('summary').focus();
    };
    details.addEventListener('focusout', (event) => {
      if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
    });
    return details;
  }

  want(changes) {
    Object.assign(this.state, changes);
    if (this.isMain) {
      const { page, size, name, regex, sort, reverse } = this.state;
      this.page.setQuery({ page: page > 1 && page, size: size !== 100 && size, name, regex, sort, reverse });
    }
    return this.page.refresh();
  }

  async load(signal) {
    const { page, size, name, regex, sort, reverse } = this.state;
    const query = new URLSearchParams({ page, page_size: size, name, use_regex: regex, pagination: true });
    if (sort) query.set('sort', sort);
    if (reverse) query.set('sort_reverse', true);
    const url = this.url();
    try {
      this.found = await api.get(`${url}${url.includes('?') ? '&' : '?'}${query}`, { signal });
    } catch (error) {
      // Fewer are left than there were.
      if (!(error instanceof Refused) || error.error !== 'page_out_of_range' || page === 1) throw error;
      this.state.page = 1;
      return this.load(signal);
    }
    // Some lists are never cut.
    if (Array.isArray(this.found)) {
      const { length } = this.found;
      this.found = { items: this.found, total_count: length, filtered_count: length, page: 1, page_count: 1 };
    }
    if (this.rows) this.found.items = this.rows(this.found.items);
    this.draw();
    return this.found;
  }

  draw() {
    const { found, columns } = this;
    if (!found) return;
    const { items, total_count: total, filtered_count: filtered } = found;
    const status = filtered === total ? count(total) : `${count(filtered)} of ${count(total)}`;
    if (this.status.textContent !== status) this.status.textContent = status;
    this.drawPager();
    this.sizes.hidden = total <= SIZES[0];
    if (items.length === 0) {
      patch(this.rowsArea, h('p', { class: 'empty' }, total > 0 ? 'Nothing fits the filter.' : this.empty));
      return;
    }
    const listed = h(
      'table',
      null,
      h('caption', { class: 'hidden' }, this.label),
      heads(columns, (column) => this.head(column)),
      body(columns, items, this.rowKey),
    );
    patch(this.rowsArea, scroller(this.label, listed));
  }

  head(column) {
    if (!column.sort) return headed(column, null, column.label);
    const isSorted = this.state.sort === column.sort;
    const order = isSorted ? (this.state.reverse ? 'descending' : 'ascending') : 'none';
    // Of numbers the large ones are looked for.
    const reverse = isSorted ? !this.state.reverse : isNumber(column);
    const arrow = isSorted ? (this.state.reverse ? '▼' : '▲') : '';
    const button = h(
      'button',
      { type: 'button', class: 'sort', onclick: () => this.want({ sort: column.sort, reverse, page: 1 }) },
      column.label,
      h('span', { class: 'arrow', 'aria-hidden': 'true' }, arrow),
    );
    return headed(column, { 'aria-sort': order }, button);
  }

  drawPager() {
    const { page, page_count: pages } = this.found;
    if (pages <= 1) {
      patch(this.pager);
      return;
    }
    const step = (label, to, sign) =>
      h(
        'button',
        {
          type: 'button',
          class: 'small icon',
          'aria-label': label,
          disabled: to < 1 || to > pages,
          onclick: () => this.want({ page: to }),
        },
        sign,
      );
    const jump = (event) => {
      const to = Math.min(pages, Math.max(1, Math.trunc(Number(event.target.value)) || 1));
      event.target.value = to;
      this.want({ page: to });
    };
    patch(
      this.pager,
      step('First page', page > 1 ? 1 : 0, '«'),
      step('Previous page', page - 1, '‹'),
      h(
        'label',
        { class: 'inline' },
        'Page',
        h('input', { type: 'number', key: `page ${page}`, min: 1, max: pages, value: page, onchange: jump }),
        `of ${count(pages)}`,
      ),
      step('Next page', page + 1, '›'),
      step('Last page', page < pages ? pages : 0, '»'),
    );
  }
}
