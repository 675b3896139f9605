'use strict';
// Scenarios of RabbitMQ's extensions, as applications in Node use them.

const assert = require('node:assert/strict');
const { eventually } = require('./harness.js');

/** `suite`, and the helpers of suite.js. */
module.exports = ({ suite, connected, open, declare, send, expectCounts }) => {
  async function declareWith(channel, options) {
    const queue = suite.queue();
    await channel.assertQueue(queue, { durable: true, ...options });
    return queue;
  }

  /** Waits for a message in the queue and takes it. */
  async function fetch(channel, queue, what) {
    let message;
    await eventually(async () => { message = await channel.get(queue, { noAck: true }); return message; }, what);
    return message;
  }

  const deaths = (message) => message.properties.headers['x-death'].map((death) => [
    death.queue, death.reason, Number(death.count), death.exchange, death['routing-keys'], death['original-expiration']]);

  return {
    async rpc_direct_reply_to_many() {
      await connected((serving) => connected(async (calling) => {
        const responder = await open(serving);
        const requests = await declare(responder);
        await responder.consume(requests, (request) => {
          const { replyTo, correlationId } = request.properties;
          assert.match(replyTo, /^amq\.rabbitmq\.reply-to\./);
          responder.sendToQueue(replyTo, Buffer.from(`re ${request.content}`), { correlationId });
          responder.ack(request);
        });
        // Each channel has its own replies, whatever the other channels call at that time.
        const callers = await Promise.all(Array.from({ length: 4 }, async (_, who) => {
          const channel = await open(calling);
          const pending = new Map();
          await channel.consume('amq.rabbitmq.reply-to', (reply) => {
            assert.equal(reply.fields.exchange, '');
            pending.get(reply.properties.correlationId)(String(reply.content));
            pending.delete(reply.properties.correlationId);
          }, { noAck: true });
          return (i) => new Promise((resolve) => {
            pending.set(`${who}-${i}`, resolve);
            channel.sendToQueue(requests, Buffer.from(`${who}-${i}`), { replyTo: 'amq.rabbitmq.reply-to', correlationId: `${who}-${i}` });
          });
        }));
        const calls = Array.from({ length: 2000 }, (_, i) => callers[i % 4](i));
        assert.deepEqual(await Promise.all(calls), Array.from({ length: 2000 }, (_, i) => `re ${i % 4}-${i}`), 'replies');
      }));
    },

    async priority_queue() {
      await connected(async (connection) => {
        const channel = await open(connection, true);
        const queue = await declareWith(channel, { maxPriority: 5 });
        for (const [i, priority] of [0, 5, 1, undefined, 9, 3, 1].entries()) channel.sendToQueue(queue, Buffer.from(`${i}`), { priority });
        await channel.waitForConfirms();
        const seen = [];
        await channel.consume(queue, (message) => seen.push(`${message.content}`), { noAck: true });
        await eventually(() => seen.length === 7, '7 deliveries');
        // 9 counts as the queue's 5, and none as 0; equal ones stay in order.
        assert.equal(seen.join(' '), '1 4 5 2 6 0 3', 'order of deliveries');
      });
    },

    async message_ttl() {
      await connected(async (connection) => {
        const channel = await open(connection, true);
        const dead = await declare(channel);
        const queue = await declareWith(channel, { deadLetterExchange: '', deadLetterRoutingKey: dead });
        channel.sendToQueue(queue, Buffer.from('short'), { expiration: '50' });
        channel.sendToQueue(queue, Buffer.from('long'), { expiration: '60000' });
        channel.sendToQueue(queue, Buffer.from('none'));
        await channel.waitForConfirms();
        const message = await fetch(channel, dead, 'the short one expires');
        assert.equal(String(message.content), 'short', 'body');
        assert.equal(message.properties.expiration, undefined, 'a dead letter does not expire again');
        assert.deepEqual(deaths(message), [[queue, 'expired', 1, '', [queue], '50']], 'x-death');
        await expectCounts(channel, queue, [2, 0], 'the others stay');
        assert.equal((await fetch(channel, queue, 'the long one')).properties.expiration, '60000', 'expiration');
      });
    },

    async max_length_drop_head() {
      await connected(async (connection) => {
        const channel = await open(connection, true);
        const dead = await declare(channel);
        const queue = await declareWith(channel, { maxLength: 3, overflow: 'drop-head', deadLetterExchange: '', deadLetterRoutingKey: dead });
        send(channel, queue, ...'01234');
        await channel.waitForConfirms();
        await expectCounts(channel, queue, [3, 0], 'the queue is full');
        for (const body of ['0', '1']) {
          const message = await fetch(channel, dead, `dead letter ${body}`);
          assert.equal(String(message.content), body, 'the oldest goes first');
          assert.deepEqual(deaths(message), [[queue, 'maxlen', 1, '', [queue], undefined]], 'x-death');
        }
        for (const body of '234') assert.equal(String((await fetch(channel, queue, body)).content), body, 'the youngest stay');
      });
    },
  };
};
