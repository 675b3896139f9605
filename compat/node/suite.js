'use strict';
// The scenarios in amqplib's promise API. It has no transactions.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const amqp = require('amqplib');
const { Suite, checkServer, eventually, fiveMebibytes, sleep } = require('./harness.js');

// The package does not export its package.json.
const { version } = JSON.parse(fs.readFileSync(path.join(path.dirname(require.resolve('amqplib')), 'package.json'), 'utf8'));
const suite = new Suite('amqplib', version);

/** Calls `use` with a connection and closes it after. */
async function connected(use, options = '') {
  const connection = await amqp.connect(suite.url + options);
  connection.on('error', () => {});
  try {
    return await use(connection);
  } finally {
    await connection.close().catch(() => {});
  }
}

/** A channel whose errors are kept as `channel.failure`. */
async function open(connection, confirming = false) {
  const channel = await (confirming ? connection.createConfirmChannel() : connection.createChannel());
  channel.on('error', (error) => { channel.failure = error; });
  return channel;
}

async function refused(code, call) {
  const error = await call().then(() => assert.fail(`refused with ${code}`), (reason) => reason);
  assert.equal(error.code, code, error.message);
  return error.message;
}

async function counts(channel, queue) {
  const ok = await channel.checkQueue(queue);
  return [ok.messageCount, ok.consumerCount];
}

/** A count may overtake the publishes and acks before it, even on one channel of RabbitMQ. */
async function expectCounts(channel, queue, expected, what) {
  await eventually(async () => String(await counts(channel, queue)) === String(expected), `${what}: ${expected}`);
}

async function exists(connection, queue) {
  const channel = await open(connection);
  try {
    await channel.checkQueue(queue);
    await channel.close();
    return true;
  } catch (error) {
    assert.equal(error.code, 404, error.message);
    return false;
  }
}

async function declare(channel) {
  const queue = suite.queue();
  await channel.assertQueue(queue, { durable: true });
  return queue;
}

function send(channel, queue, ...bodies) {
  for (const body of bodies) channel.sendToQueue(queue, Buffer.from(body));
}

async function take(channel, queue, n) {
  const messages = [];
  while (messages.length < n) messages.push(await channel.get(queue));
  return messages;
}

const seen = (messages) => messages.map((m) => `${m.content}${m.fields.redelivered ? 'r' : ''}`).join(' ');

/** Twenty calls to a responder on its own connection; `setUp` gives the reply address and starts consuming. */
async function rpc(setUp) {
  await connected((serving) => connected(async (calling) => {
    const responder = await open(serving);
    const requests = await declare(responder);
    await responder.consume(requests, (message) => {
      const { replyTo, correlationId } = message.properties;
      responder.sendToQueue(replyTo, Buffer.from(String(Number(message.content) ** 2)), { correlationId });
      responder.ack(message);
    });
    const channel = await open(calling);
    const replies = new Map();
    const keep = (message) => replies.set(message.properties.correlationId, String(message.content));
    const replyTo = await setUp(channel, keep);
    for (let i = 0; i < 20; i += 1) channel.sendToQueue(requests, Buffer.from(String(i)), { replyTo, correlationId: `call-${i}` });
    await eventually(() => replies.size === 20, '20 replies');
    for (let i = 0; i < 20; i += 1) assert.equal(replies.get(`call-${i}`), String(i * i), 'reply');
  }));
}

const scenarios = {
  async connect_and_properties() {
    await connected(async (connection) => checkServer(connection.connection.serverProperties));
  },

  async declare_and_get_counts() {
    await connected(async (connection) => {
      const channel = await open(connection);
      const queue = suite.queue();
      assert.deepEqual({ ...await channel.assertQueue(queue) }, { queue, messageCount: 0, consumerCount: 0 }, 'declare-ok');
      send(channel, queue, '0', '1', '2');
      await expectCounts(channel, queue, [3, 0], 'counts after three publishes');
      const message = await channel.get(queue);
      assert.deepEqual([message.fields.messageCount, message.fields.redelivered, message.fields.routingKey, String(message.content)],
        [2, false, queue, '0'], 'get-ok');
      await expectCounts(channel, queue, [2, 0], 'an unacked message is not counted');
      channel.ack(message);
      assert.equal((await channel.purgeQueue(queue)).messageCount, 2, 'purge-ok');
      assert.equal(await channel.get(queue), false, 'get-empty');
      send(channel, queue, 'last');
      assert.equal((await channel.deleteQueue(queue)).messageCount, 1, 'delete-ok');
      assert.match((await channel.assertQueue('', { exclusive: true })).queue, /^amq\.gen-/, 'server-named queue');
    });
  },

  async publish_consume_ack() {
    await connected(async (connection) => {
      const channel = await open(connection);
      const queue = await declare(channel);
      const headers = { text: 'é', int: -7, long: 2 ** 40, flag: true, list: [1, 'two'], table: { a: {} }, none: null };
      const sent = {
        contentType: 'text/plain', contentEncoding: 'utf-8', headers, deliveryMode: 2, priority: 3, correlationId: 'c-1', replyTo: 'r-1',
        expiration: '600000', messageId: 'm-1', timestamp: 1700000000, type: 't-1', appId: 'a-1',
      };
      for (let i = 0; i < 1000; i += 1) channel.sendToQueue(queue, Buffer.from(`message ${i}`), sent);
      const received = [];
      await channel.consume(queue, (message) => {
        received.push(message);
        channel.ack(message);
      });
      await eventually(() => received.length >= 1000, '1,000 deliveries', 10_000);
      assert.deepEqual(received.map((m) => m.fields.deliveryTag), Array.from({ length: 1000 }, (_, i) => i + 1), 'delivery tags');
      assert.deepEqual(received.map((m) => String(m.content)), Array.from({ length: 1000 }, (_, i) => `message ${i}`), 'bodies in order');
      assert.ok(!received.some((m) => m.fields.redelivered), 'nothing is redelivered');
      const { headers: returned, ...properties } = received[0].properties;
      assert.deepEqual({ ...returned }, headers, 'headers come back unchanged');
      for (const [field, value] of Object.entries(sent)) if (field !== 'headers') assert.equal(properties[field], value, field);
      await channel.close();
      await expectCounts(await open(connection), queue, [0, 0], 'counts after all acks');
    });
  },

  async confirms() {
    await connected(async (connection) => {
      const channel = await open(connection, true);
      const queue = await declare(channel);
      const confirmed = Array.from({ length: 1000 }, (_, i) => new Promise((resolve, reject) => {
        channel.sendToQueue(queue, Buffer.from(String(i)), { persistent: true }, (error) => (error ? reject(error) : resolve()));
      }));
      await Promise.all(confirmed);
      await expectCounts(channel, queue, [1000, 0], 'messages after 1,000 confirms');
      const order = [];
      channel.on('return', ({ fields, content }) => order.push([fields.replyCode, fields.replyText, fields.exchange, fields.routingKey, String(content)]));
      const publish = (options) => new Promise((resolve) => {
        channel.sendToQueue(`${queue}.nowhere`, Buffer.from('lost'), options, (error) => resolve(order.push(error ? 'nack' : 'ack')));
      });
      await publish({ mandatory: true });
      await publish({});
      assert.deepEqual(order, [[312, 'NO_ROUTE', '', `${queue}.nowhere`, 'lost'], 'ack', 'ack'], 'return, then ack; then ack without mandatory');
    });
  },

  async requeue_order_and_redelivered() {
    await connected(async (connection) => {
      const channel = await open(connection);
      const queue = await declare(channel);
      send(channel, queue, ...'01234');
      const held = await take(channel, queue, 4);
      channel.nack(held[2], false, true);
      channel.reject(held[1], true);
      assert.equal(seen(await take(channel, queue, 3)), '1r 2r 4', 'requeued messages are back in their places');
      await channel.close();
      assert.equal(seen(await take(await open(connection), queue, 5)), '0r 1r 2r 3r 4r', 'a closed channel gives everything back in order');
    });
  },

  async prefetch_round_robin() {
    await connected(async (connection) => {
      const publisher = await open(connection);
      const queue = await declare(publisher);
      const log = [];
      const channels = {};
      for (const who of ['A', 'B']) {
        channels[who] = await open(connection);
        await channels[who].prefetch(1);
        await channels[who].consume(queue, (message) => log.push({ who, message }));
      }
      const ack = async (i) => {
        await eventually(() => log.length > i, `delivery ${i}`);
        channels[log[i].who].ack(log[i].message);
        // A round trip, so that the acks of both channels reach the queue in this order.
        await channels[log[i].who].prefetch(1);
      };
      for (let i = 0; i < 2; i += 1) {
        send(publisher, queue, String(i));
        await eventually(() => log.length > i, 'one delivery for each consumer');
      }
      send(publisher, queue, ...'2345');
      await expectCounts(publisher, queue, [4, 2], 'the rest waits for credit');
      for (let i = 0; i < 6; i += 1) {
        await ack(i);
        await eventually(() => log.length > Math.min(i + 2, 5), 'the next one for who has acked');
      }
      for (let i = 6; i < 16; i += 1) {
        send(publisher, queue, String(i));
        await ack(i);
      }
      const turns = log.map((entry) => entry.who).join('');
      assert.equal(turns.slice(0, 6), 'ABABAB', 'the backlog goes to whoever has acked');
      // Which of the two is next when both have waited for credit is the broker's choice.
      assert.match(turns.slice(6), /^((AB){5}|(BA){5})$/, 'consumers take turns');
      assert.deepEqual(log.map((entry) => String(entry.message.content)), Array.from({ length: 16 }, (_, i) => String(i)), 'order');
    });
  },

  async exchanges() {
    await connected(async (connection) => {
      const channel = await open(connection);
      for (const name of ['direct', 'fanout', 'topic', 'headers', 'match']) await channel.checkExchange(`amq.${name}`);
      const queues = [await declare(channel), await declare(channel), await declare(channel)];
      const make = async (kind, ...bindings) => {
        const exchange = suite.exchange();
        await channel.assertExchange(exchange, kind, { durable: true });
        for (const [i, [key, table]] of bindings.entries()) await channel.bindQueue(queues[i], exchange, key, table);
        return exchange;
      };
      const drain = async (queue) => {
        const found = [];
        for (let message = await channel.get(queue, { noAck: true }); message; message = await channel.get(queue, { noAck: true })) found.push(String(message.content));
        return found.join(' ');
      };
      const arrive = async (exchange, publishes, expected, what) => {
        for (const [body, key, headers] of publishes) channel.publish(exchange, key, Buffer.from(body), { headers });
        const found = [];
        for (const queue of queues) found.push(await drain(queue));
        assert.deepEqual(found, expected, what);
      };
      const direct = await make('direct', ['a'], ['b'], ['a']);
      await arrive(direct, [['1', 'a'], ['2', 'b'], ['3', 'c']], ['1', '2', '1'], 'direct');
      await channel.unbindQueue(queues[2], direct, 'a');
      await arrive(direct, [['4', 'a']], ['4', '', ''], 'direct after unbind');
      const fanout = await make('fanout', [''], ['x'], ['']);
      await arrive(fanout, [['1', 'y']], ['1', '1', '1'], 'fanout');
      const topic = await make('topic', ['a.*.c'], ['a.#'], ['#.c']);
      await arrive(topic, [['1', 'a.b.c'], ['2', 'a'], ['3', 'c'], ['4', 'a.b.b.c'], ['5', 'b']], ['1', '1 2 4', '1 3 4'], 'topic');
      const headers = await make('headers', ['', { 'x-match': 'all', k: 'v', n: 1 }], ['', { 'x-match': 'any', k: 'v', n: 1 }], ['', { k: 'v' }]);
      await arrive(headers, [['1', '', { k: 'v', n: 1 }], ['2', '', { k: 'w', n: 1 }], ['3', '', { k: 'v' }], ['4', '', {}]],
        ['1', '1 2 3', '1 3'], 'headers');
      const source = await make('topic');
      await channel.bindExchange(direct, source, '#');
      await channel.bindExchange(fanout, source, 'all.*');
      await arrive(source, [['1', 'b'], ['2', 'all.b']], ['2', '1 2', '2'], 'exchange to exchange');
      await channel.unbindExchange(fanout, source, 'all.*');
      await arrive(source, [['3', 'b'], ['4', 'all.b']], ['', '3', ''], 'exchange to exchange after unbind');
    });
  },

  async errors_close_channel_only() {
    await connected(async (connection) => {
      const missing = suite.name('missing');
      const noQueue = `404 (NOT-FOUND) with message "NOT_FOUND - no queue '${missing}' in vhost '${suite.vhost}'"`;
      const noExchange = `404 (NOT-FOUND) with message "NOT_FOUND - no exchange '${missing}' in vhost '${suite.vhost}'"`;
      const doomed = [];
      for (let i = 0; i < 5; i += 1) doomed.push(await open(connection));
      assert.ok((await refused(404, () => doomed[0].checkQueue(missing))).endsWith(noQueue), 'text');
      const queue = await declare(doomed[1]);
      assert.ok((await refused(406, () => doomed[1].assertQueue(queue, { durable: true, autoDelete: true }))).endsWith(
        `406 (PRECONDITION-FAILED) with message "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '${queue}' `
        + `in vhost '${suite.vhost}': received 'true' but current is 'false'"`), 'text');
      assert.ok((await refused(404, () => doomed[2].checkExchange(missing))).endsWith(noExchange), 'text');
      doomed[3].publish(missing, 'key', Buffer.from('lost'));
      await eventually(() => doomed[3].failure, 'publishing to a missing exchange closes the channel');
      assert.ok(doomed[3].failure.message.endsWith(noExchange), doomed[3].failure.message);
      doomed[4].ack({ fields: { deliveryTag: 99 } });
      await eventually(() => doomed[4].failure, 'acking what was not delivered closes the channel');
      assert.match(doomed[4].failure.message, /"PRECONDITION_FAILED - unknown delivery tag 99"$/, 'text');
      await expectCounts(await open(connection), queue, [0, 0], 'the connection goes on');
    });
  },

  async exclusive_and_auto_delete() {
    const [exclusive, autoDelete] = [suite.queue(), suite.queue()];
    await connected(async (other) => {
      await connected(async (owner) => {
        await (await open(owner)).assertQueue(exclusive, { exclusive: true });
        const locked = await open(other);
        const text = await refused(405, () => locked.checkQueue(exclusive));
        assert.ok(text.includes(`RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${exclusive}'`), text);
      });
      assert.ok(!await exists(other, exclusive), 'an exclusive queue is gone with close-ok');
      const channel = await open(other);
      await channel.assertQueue(autoDelete, { autoDelete: true });
      assert.ok(await exists(other, autoDelete), 'an auto-delete queue waits for its first consumer');
      const first = await channel.consume(autoDelete, () => {});
      const second = await channel.consume(autoDelete, () => {});
      await channel.cancel(first.consumerTag);
      assert.ok(await exists(other, autoDelete), 'an auto-delete queue stays while it has a consumer');
      await channel.cancel(second.consumerTag);
      await eventually(async () => !await exists(other, autoDelete), 'an auto-delete queue goes with its last consumer');
    });
  },

  async large_body() {
    await connected(async (connection) => {
      const channel = await open(connection, true);
      const queue = await declare(channel);
      const body = fiveMebibytes();
      channel.sendToQueue(queue, body, { persistent: true });
      await channel.waitForConfirms();
      const message = await channel.get(queue);
      assert.ok(message.content.equals(body), 'got equals published');
      channel.nack(message);
      const delivered = await new Promise((resolve) => { channel.consume(queue, resolve, { noAck: true }); });
      assert.ok(delivered.content.equals(body), 'delivered equals published');
    });
  },

  async rpc_reply_queue() {
    await rpc(async (channel, keep) => {
      const { queue } = await channel.assertQueue('', { exclusive: true });
      await channel.consume(queue, keep, { noAck: true });
      return queue;
    });
  },

  async rpc_direct_reply_to() {
    await rpc(async (channel, keep) => {
      await channel.consume('amq.rabbitmq.reply-to', keep, { noAck: true });
      return 'amq.rabbitmq.reply-to';
    });
  },

  async consumer_cancel_notification() {
    await connected((connection) => connected(async (other) => {
      const channel = await open(connection);
      const queue = await declare(channel);
      let cancelled = 0;
      // amqplib calls the consumer with null.
      await channel.consume(queue, (message) => { cancelled += message === null ? 1 : 0; });
      await (await open(other)).deleteQueue(queue);
      await eventually(() => cancelled === 1, 'basic.cancel');
      assert.equal((await channel.assertQueue(queue, { durable: true })).consumerCount, 0, 'the channel goes on');
    }));
  },

  async wrong_password_refused() {
    const url = new URL(suite.url);
    url.password = 'not-the-password';
    const error = await amqp.connect(url.href).then(() => assert.fail('a wrong password is refused'), (reason) => reason);
    assert.match(error.message, /403 \(ACCESS-REFUSED\) with message "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN\. For details see the broker logfile\."/);
  },

  async heartbeat_idle() {
    await connected(async (connection) => {
      // The client gives up after two silent intervals, the broker after three.
      await sleep(7000);
      await open(connection);
    }, '?heartbeat=2');
  },
};

Object.assign(scenarios, require('./extensions.js')({ suite, connected, open, declare, send, expectCounts }));
suite.main(scenarios, (queues, exchanges) => connected(async (connection) => {
  const channel = await open(connection);
  for (const queue of queues) await channel.deleteQueue(queue);
  for (const exchange of exchanges) await channel.deleteExchange(exchange);
}));
