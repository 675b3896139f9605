'use strict';
// Runs scenarios one after another and reports each on its own line, as `compat/run` expects; see python/harness.py.

const crypto = require('node:crypto');
const assert = require('node:assert/strict');

const SCENARIO_MS_MAX = 30_000;

const CAPABILITIES = [
  'publisher_confirms', 'exchange_exchange_bindings', 'basic.nack', 'consumer_cancel_notify', 'connection.blocked',
  'consumer_priorities', 'authentication_failure_close', 'per_consumer_qos', 'direct_reply_to',
];

class Suite {
  constructor(client, version) {
    console.log(`client ${client} ${version}`);
    this.url = process.env.AMQP_URL;
    this.vhost = decodeURIComponent(new URL(this.url).pathname.slice(1)) || '/';
    this.prefix = `compat.${client}.${crypto.randomBytes(4).toString('hex')}`;
    this.queues = [];
    this.exchanges = [];
    this.names = 0;
  }

  name(kind) {
    this.names += 1;
    return `${this.prefix}.${kind}${this.names}`;
  }

  /** A fresh queue name, deleted at the end whether or not it was declared. */
  queue() {
    this.queues.push(this.name('q'));
    return this.queues.at(-1);
  }

  exchange() {
    this.exchanges.push(this.name('x'));
    return this.exchanges.at(-1);
  }

  /** `scenarios`: an object of async functions; their names are the scenarios' names. */
  async main(scenarios, cleanup) {
    const chosen = Object.keys(scenarios).filter(isChosen);
    console.log(['plan', ...chosen].join(' '));
    let failed = false;
    for (const name of chosen) {
      const start = performance.now();
      const reason = await outcome(scenarios[name]);
      const seconds = ((performance.now() - start) / 1000).toFixed(2);
      console.log(reason === null ? `ok ${name} ${seconds}` : `FAIL ${name} ${seconds} ${reason}`);
      failed ||= reason !== null;
    }
    const tidy = await outcome(() => cleanup(this.queues, this.exchanges));
    if (tidy !== null) console.error(`cleanup: ${tidy}`);
    process.exit(failed || tidy !== null ? 1 : 0);
  }
}

/** The reason of the failure on one line, or null. */
async function outcome(scenario) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${SCENARIO_MS_MAX / 1000} s`)), SCENARIO_MS_MAX);
  });
  try {
    await Promise.race([scenario(), timeout]);
    return null;
  } catch (error) {
    console.error(error);
    const line = /(?:suite|extensions)\.js:(\d+)/.exec(error.stack ?? '');
    return `${error.message}${line ? ` (line ${line[1]})` : ''}`.replace(/\s+/g, ' ').slice(0, 300);
  } finally {
    clearTimeout(timer);
  }
}

/** COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them. */
function isChosen(name) {
  const [only, skip] = ['COMPAT_ONLY', 'COMPAT_SKIP'].map((key) => (process.env[key] ?? '').split(/\s+/).filter(Boolean));
  return (only.length === 0 || only.includes(name)) && !skip.includes(name);
}

function checkServer(properties) {
  assert.equal(properties.product, 'RabbitMQ', 'product');
  assert.match(properties.version, /^\d+\.\d+\.\d+/, 'version');
  for (const capability of CAPABILITIES) {
    assert.equal(properties.capabilities[capability], true, `capability ${capability}`);
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls `condition`, for what a broker does shortly after it answered. */
async function eventually(condition, what, msMax = 5000) {
  const deadline = performance.now() + msMax;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `${what}, within ${msMax} ms`);
    await sleep(10);
  }
}

/** 5 MiB in which no 256 bytes repeat. */
function fiveMebibytes() {
  const body = Buffer.alloc(5 * 1024 * 1024);
  for (let at = 0; at < body.length; at += 1) body[at] = at & 0xff;
  for (let at = 0; at < body.length; at += 256) body.writeUInt32BE(at / 256, at);
  return body;
}

module.exports = { Suite, checkServer, eventually, fiveMebibytes, sleep };
