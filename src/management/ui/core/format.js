// Numbers, times and names as people read them.

const integers = new Intl.NumberFormat('en');
const decimals = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const coarse = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export const UNKNOWN = '–';

const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

export const count = (value) => (isNumber(value) ? integers.format(value) : UNKNOWN);

// A rate that is not zero is never shown as zero.
export function rate(value) {
  if (!isNumber(value)) return UNKNOWN;
  if (value > 0 && value < 0.1) return '< 0.1/s';
  return `${(value < 100 ? decimals : coarse).format(value)}/s`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  let power = 0;
  while (Math.abs(value) >= 1024 && power < UNITS.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${(value < 100 && power ? decimals : coarse).format(value)} ${UNITS[power]}`;
}

export const byteRate = (value) => (isNumber(value) ? `${bytes(value)}/s` : UNKNOWN);

export const yesNo = (value) => (value ? 'yes' : 'no');

// Milliseconds as days, hours and minutes, the two largest that are not zero.
export function duration(ms) {
  if (!isNumber(ms)) return UNKNOWN;
  const seconds = Math.floor(ms / 1000);
  const parts = [
    [Math.floor(seconds / 86400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0 s';
  const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return shown.map(([amount, unit]) => `${amount} ${unit}`).join(' ');
}

const two = (value) => String(value).padStart(2, '0');

export const clock = (ms) => {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
};

export const moment = (ms) => {
  const date = new Date(ms);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(ms)}`;
};

// A value of JSON in a line: texts as they are.
export function plain(value) {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

export const rateOf = (stats, name) => stats?.[`${name}_details`]?.rate;

export const exchangeTitle = (name) => name || '(AMQP default)';
