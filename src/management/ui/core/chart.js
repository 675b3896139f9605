// Lines over time, as SVG. Each chart has a sentence for those who do not see it, and its legend tells the values.

import { h, patch, svg } from './dom.js';
import { choices } from './session.js';
import { bytes, clock, count, rate } from './format.js';

const HEIGHT = 190;
const MARGIN = { top: 10, right: 12, bottom: 24, left: 58 };

// Seconds, seconds between samples, and what they are called: those of RabbitMQ.
const RANGES = [
  [60, 5, '1 min', 'minute'],
  [600, 5, '10 min', 'ten minutes'],
  [3600, 60, '1 h', 'hour'],
  [28800, 600, '8 h', 'eight hours'],
  [86400, 1800, '1 day', 'day'],
];
const KEPT_MS = 28_800_000;
const KEPT_SAMPLES_MAX = 6000;

// For how many seconds samples are kept: `global` of the broker, its nodes and vhosts, `basic` of what is in them.
const retention = { global: [86400], basic: [3600] };

export const keepSamples = (policies) => Object.assign(retention, policies);

const rangesOf = (kind) => RANGES.filter(([seconds]) => retention[kind].some((kept) => kept >= seconds));

const chosenRange = (kind) => {
  const ranges = rangesOf(kind);
  return ranges.find(([seconds]) => seconds === choices.get(`range.${kind}`, 60)) ?? ranges[0] ?? RANGES[0];
};

// What a request must ask for so that samples of the chosen range come.
function ages(kind) {
  const [seconds, step] = chosenRange(kind);
  const of = (what) => `${what}_age=${seconds}&${what}_incr=${step}`;
  return ['lengths', 'msg_rates', 'data_rates', 'node_stats'].map(of).join('&');
}

// Samples that this page collected itself, for where the broker has none: by what they are of, the newest first.
const collected = new Map();

function collect(name, sample) {
  const samples = collected.get(name) ?? [];
  const timestamp = Date.now();
  if (typeof sample === 'number') samples.unshift({ sample, timestamp });
  while (samples.length > KEPT_SAMPLES_MAX || samples.at(-1)?.timestamp < timestamp - KEPT_MS) samples.pop();
  collected.set(name, samples);
  return samples;
}

export const forgetSamples = () => collected.clear();

const gauge = (samples) => samples.map(({ sample, timestamp }) => [timestamp, sample]).reverse();

// What a counter grew by in each second. One that has been set back counts as still.
function growth(samples) {
  const points = [];
  for (let i = samples.length - 2; i >= 0; i -= 1) {
    const [now, before] = [samples[i], samples[i + 1]];
    const seconds = (now.timestamp - before.timestamp) / 1000;
    if (seconds > 0) points.push([now.timestamp, Math.max(0, now.sample - before.sample) / seconds]);
  }
  return points;
}

// 1, 2, 2.5 or 5 times a power of ten: the step between lines of the grid. Of bytes it is so in their unit.
function gridStep(max, isBytes) {
  const raw = max / 4;
  const unit = isBytes ? 1024 ** Math.max(0, Math.floor(Math.log(raw) / Math.log(1024))) : 1;
  const power = unit * 10 ** Math.floor(Math.log10(raw / unit));
  return power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) ?? 10);
}

const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

// `read`: from a record of the API to the object with the values; `series`: `[name, label]`, the name with `_details`
// beside it; `isRate`: the values are counters, and what is drawn is their growth.
class Chart {
  constructor(kind, { id, title, series, read, isRate = false, format = isRate ? rate : count, tick = short.format }) {
    Object.assign(this, { kind, id, title, series, read, isRate, format, tick, lines: [], hovered: null });
    this.hidden = new Set(choices.get(`hidden.${id}`, []));
    this.canvas = svg('svg', {
      class: 'plot',
      height: HEIGHT,
      role: 'img',
      onpointermove: (event) => this.hover(event),
    });
    this.canvas.onpointerleave = () => this.hover(null);
    this.legend = h('ul', { class: 'legend' });
    this.node = h('figure', { class: 'chart' }, h('figcaption', null, title), this.canvas, this.legend);
    // A chart is drawn in pixels, so that lines and letters stay what they are at any width.
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  update(record, name) {
    const values = this.read(record) ?? {};
    this.lines = this.series.flatMap(([key, label], color) => {
      const details = values[`${key}_details`];
      if (values[key] === undefined && details === undefined) return [];
      const own = collect(`${this.id} ${name} ${key}`, values[key]);
      const samples = details?.samples?.length ? details.samples : own;
      const points = this.isRate ? growth(samples) : gauge(samples);
      const last = this.isRate ? details?.rate || points.at(-1)?.[1] || 0 : values[key];
      return [{ key, label, color, points, last }];
    });
    this.draw();
  }

  toggle(key) {
    if (!this.hidden.delete(key)) this.hidden.add(key);
    choices.set(`hidden.${this.id}`, [...this.hidden]);
    this.draw();
  }

  hover(event) {
    const [from, to] = this.span ?? [0, 0];
    const left = MARGIN.left + this.canvas.getBoundingClientRect().left;
    const x = event && (event.clientX - left) / (this.width - MARGIN.left - MARGIN.right);
    this.hovered = event && x >= 0 && x <= 1 ? from + x * (to - from) : null;
    this.draw();
  }

  draw() {
    this.width = Math.max(240, Math.floor(this.node.clientWidth));
    const [seconds, , , spoken] = chosenRange(this.kind);
    const shown = this.lines.filter(({ key }) => !this.hidden.has(key));
    const to = Math.max(0, ...this.lines.map(({ points }) => points.at(-1)?.[0] ?? 0)) || Date.now();
    const from = to - seconds * 1000;
    this.span = [from, to];
    for (const line of shown) line.within = line.points.filter(([at]) => at >= from - 1);
    const highest = Math.max(0, ...shown.flatMap(({ within }) => within.map(([, value]) => value)));
    // Whole things are not counted in halves.
    const step = highest > 0 ? Math.max(gridStep(highest, this.tick === bytes), this.isRate ? 0 : 1) : 1;
    const top = Math.max(step, Math.ceil(highest / step - 1e-9) * step);
    const x = (at) => MARGIN.left + ((at - from) / (to - from)) * (this.width - MARGIN.left - MARGIN.right);
    const y = (value) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    this.canvas.setAttribute('viewBox', `0 0 ${this.width} ${HEIGHT}`);
    this.canvas.setAttribute('aria-label', this.sentence(shown, spoken));
    const cross =
      this.hovered &&
      svg('line', { class: 'cross', x1: x(this.hovered), x2: x(this.hovered), y1: MARGIN.top, y2: y(0) });
    const nothing =
      this.lines.length === 0 &&
      svg(
        'text',
        { class: 'nothing', x: (MARGIN.left + this.width) / 2, y: HEIGHT / 2, 'text-anchor': 'middle' },
        'Nothing has happened yet',
      );
    patch(
      this.canvas,
      this.grid(step, top, x, y, from, to),
      [...shown].reverse().map((line) => this.line(line, x, y)),
      cross,
      nothing,
    );
    patch(
      this.legend,
      this.lines.map((line) => this.entry(line)),
    );
  }

  grid(step, top, x, y, from, to) {
    const lines = [];
    for (let value = 0; value <= top + step / 2; value += step) {
      lines.push(
        svg('line', {
          class: value ? 'grid' : 'axis',
          x1: MARGIN.left,
          x2: this.width - MARGIN.right,
          y1: y(value),
          y2: y(value),
        }),
        svg('text', { class: 'tick', x: MARGIN.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, this.tick(value)),
      );
    }
    const times = this.width < 420 ? [from, to] : [from, (from + to) / 2, to];
    const anchor = (i) => (i === 0 ? 'start' : i === times.length - 1 ? 'end' : 'middle');
    lines.push(
      ...times.map((at, i) =>
        svg('text', { class: 'tick', x: x(at), y: HEIGHT - 6, 'text-anchor': anchor(i) }, clock(at)),
      ),
    );
    return lines;
  }

  line({ within, color }, x, y) {
    if (within.length === 0) return null;
    const points = within.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    if (points.length > 1) return svg('polyline', { class: `line c${color}`, points: points.join(' ') });
    const [cx, cy] = points[0].split(',');
    return svg('circle', { class: `dot c${color}`, cx, cy, r: 2.5 });
  }

  entry({ key, label, color, points, last }) {
    const near = (best, point) => (Math.abs(point[0] - this.hovered) < Math.abs(best[0] - this.hovered) ? point : best);
    const value = this.hovered && points.length ? points.reduce(near)[1] : last;
    const isShown = !this.hidden.has(key);
    return h(
      'li',
      { key },
      h(
        'button',
        {
          type: 'button',
          'aria-pressed': String(isShown),
          title: isShown ? 'Hide' : 'Show',
          onclick: () => this.toggle(key),
        },
        svg(
          'svg',
          { class: 'swatch', width: 10, height: 10, 'aria-hidden': 'true' },
          svg('rect', { class: `fill c${color}`, width: 10, height: 10, rx: 3 }),
        ),
        h('span', { class: 'name' }, label),
        h('span', { class: 'value' }, this.format(value)),
      ),
    );
  }

  sentence(lines, spoken) {
    const of = ({ label, within, last }) => {
      const values = within.map(([, value]) => value);
      const extremes = values.length
        ? `, from ${this.format(Math.min(...values))} to ${this.format(Math.max(...values))}`
        : '';
      return `${label} ${this.format(last)}${extremes}`;
    };
    return `${this.title}, the last ${spoken}. ${lines.map(of).join('; ') || 'Nothing is known yet'}.`;
  }
}

// Charts side by side below a choice of their range. `kind`: for how long there are samples.
export function charts(refresh, kind, ...specs) {
  const all = specs.map((spec) => new Chart(kind, spec));
  const choose = (seconds) => {
    choices.set(`range.${kind}`, seconds);
    for (const chart of all) chart.draw();
    refresh();
  };
  const group = `range-${specs[0].id}`;
  const option = ([seconds, , label]) =>
    h(
      'label',
      null,
      h('input', {
        type: 'radio',
        name: group,
        checked: seconds === chosenRange(kind)[0],
        onchange: () => choose(seconds),
      }),
      h('span', null, label),
    );
  const range = h(
    'fieldset',
    { class: 'segments' },
    h('legend', { class: 'hidden' }, 'Range of the charts'),
    rangesOf(kind).map(option),
  );
  return {
    range,
    ages: () => ages(kind),
    node: h(
      'div',
      { class: 'charts' },
      all.map((chart) => chart.node),
    ),
    update: (record, name = '') => all.forEach((chart) => chart.update(record, name)),
  };
}

// A part of a whole as a bar; `level`: `good`, `near` or `bad`.
export function bar(part, whole, level = 'good') {
  const width = whole > 0 ? Math.min(100, Math.max(0, (part / whole) * 100)) : 0;
  return svg(
    'svg',
    { class: `bar ${level}`, viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    svg('rect', { class: 'whole', width: 100, height: 6 }),
    svg('rect', { class: 'part', width: width.toFixed(1), height: 6 }),
  );
}

// What the charts of messages show, in RabbitMQ's names.
export const QUEUED = [
  ['messages_ready', 'Ready'],
  ['messages_unacknowledged', 'Unacked'],
  ['messages', 'Total'],
];

export const MESSAGE_RATES = [
  ['publish', 'Publish'],
  ['publish_in', 'Publish in'],
  ['publish_out', 'Publish out'],
  ['confirm', 'Publisher confirm'],
  ['deliver', 'Deliver (manual ack)'],
  ['deliver_no_ack', 'Deliver (auto ack)'],
  ['ack', 'Consumer ack'],
  ['redeliver', 'Redelivered'],
  ['get', 'Get (manual ack)'],
  ['get_no_ack', 'Get (auto ack)'],
  ['get_empty', 'Get (empty)'],
  ['return_unroutable', 'Unroutable (returned)'],
  ['drop_unroutable', 'Unroutable (dropped)'],
];
