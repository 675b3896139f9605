// One node: its resources, and where its memory is.

import { api, path } from '../core/api.js';
import { bar, charts } from '../core/chart.js';
import { h } from '../core/dom.js';
import { bytes, count, duration } from '../core/format.js';
import { live, pairs, section, state } from '../core/parts.js';
import { table } from '../core/listing.js';

export function nodeState(node) {
  if (!node.running) return state('not running', 'bad');
  const alarms = [
    node.mem_alarm && 'memory alarm',
    node.disk_free_alarm && 'disk alarm',
    node.being_drained && 'in maintenance',
  ];
  const problems = alarms.filter(Boolean);
  return problems.length ? problems.map((problem) => state(problem, 'bad')) : state('running', 'good');
}

// How much of something there is, as a bar with words. `isFloor`: the limit is the least there should be.
export function gaugeCell(value, limit, hasAlarm, format, limitName, isFloor = false) {
  const isNear = isFloor ? value < limit * 2 : value > limit * 0.8;
  const level = hasAlarm ? 'bad' : isNear && limit > 0 ? 'near' : 'good';
  // What is free is a bar that grows short.
  const drawn = isFloor ? bar(value, Math.max(value, limit * 4), level) : bar(value, limit, level);
  return h(
    'div',
    { class: 'gauge' },
    h('span', { class: hasAlarm ? 'amount bad' : 'amount' }, format(value), hasAlarm && ' (alarm)'),
    drawn,
    h('span', { class: 'muted' }, limit > 0 ? `${format(limit)} ${limitName}` : 'no limit'),
  );
}

const MEMORY_COLUMNS = [
  { id: 'kind', label: 'Kind', cell: ([name]) => name.replaceAll('_', ' ') },
  { id: 'bytes', label: 'Size', kind: 'number', cell: ([, amount]) => bytes(amount) },
];

const PART_COLUMNS = [
  { id: 'name', label: 'Name', cell: (part) => part.name },
  { id: 'version', label: 'Version', cell: (part) => part.version },
  { id: 'description', label: 'Description', cell: (part) => part.description },
];

export function node(place) {
  const [name] = place.params;
  const details = live();
  const memory = live();
  const parts = live();
  const drawn = charts(
    place.refresh,
    'global',
    {
      id: 'node.memory',
      title: 'Memory',
      series: [['mem_used', 'Used']],
      read: (record) => record,
      format: bytes,
      tick: bytes,
    },
    {
      id: 'node.disk',
      title: 'Free disk space',
      series: [['disk_free', 'Free']],
      read: (record) => record,
      format: bytes,
      tick: bytes,
    },
    { id: 'node.fd', title: 'File descriptors', series: [['fd_used', 'Used']], read: (record) => record },
  );
  const content = h(
    'div',
    { class: 'stack' },
    section('Node', null, details.node),
    section('Resources', drawn.range, drawn.node),
    section('Memory', null, memory.node),
    section('Applications', null, parts.node),
  );

  const load = async (signal) => {
    const record = await api.get(`${path('nodes', name)}?memory=true&${drawn.ages()}`, { signal });
    details.draw(
      pairs(
        ['State', nodeState(record)],
        ['Uptime', duration(record.uptime)],
        ['Cores', count(record.processors)],
        ['Process', record.os_pid],
        ['Memory', gaugeCell(record.mem_used, record.mem_limit, record.mem_alarm, bytes, 'high watermark')],
        [
          'Free disk space',
          gaugeCell(record.disk_free, record.disk_free_limit, record.disk_free_alarm, bytes, 'low watermark', true),
        ],
        ['File descriptors', gaugeCell(record.fd_used, record.fd_total, false, count, 'available')],
        ['Data directory', record.db_dir],
        ['Persistent messages are confirmed', record.lepus_sync],
        ['Configuration', record.config_files?.join(', ')],
        ['Log', record.log_files?.join(', ')],
        ['Plugins', record.enabled_plugins?.join(', ')],
        ['Login mechanisms', record.auth_mechanisms?.map((mechanism) => mechanism.name).join(', ')],
        ['Exchange types', record.exchange_types?.map((type) => type.name).join(', ')],
      ),
    );
    drawn.update(record, name);
    const { total = {}, strategy, ...kinds } = record.memory ?? {};
    const rows = Object.entries(kinds).filter(([, amount]) => amount > 0);
    memory.draw(
      table(
        'Memory by kind',
        MEMORY_COLUMNS,
        rows.sort(([, a], [, b]) => b - a),
      ),
      h('p', { class: 'hint' }, `In all ${bytes(total.rss ?? total)}, as told by ${strategy ?? 'the system'}.`),
    );
    parts.draw(table('Applications', PART_COLUMNS, record.applications));
  };
  return { title: `Node ${name}`, node: content, load };
}
