<?php

// The scenarios in php-amqplib.

declare(strict_types=1);

require_once 'PhpAmqpLib/autoload.php';
require_once __DIR__ . '/harness.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPBasicCancelException;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Package;
use PhpAmqpLib\Wire\AMQPTable;

$suite = new Suite('php-amqplib', Package::VERSION);

/** With the client's own defaults: SASL mechanism AMQPLAIN among them. */
function connect(?string $password = null, int $heartbeat = 0, string $mechanism = 'AMQPLAIN'): AMQPStreamConnection
{
    global $suite;
    $address = $suite->address;
    return new AMQPStreamConnection($address['host'], $address['port'] ?? 5672, rawurldecode($address['user']), $password ?? rawurldecode($address['pass']),
        $suite->vhost, login_method: $mechanism, read_write_timeout: 10.0, heartbeat: $heartbeat);
}

function declareQueue(AMQPChannel $channel): string
{
    global $suite;
    $queue = $suite->queue();
    $channel->queue_declare($queue, durable: true, auto_delete: false);
    return $queue;
}

function send(AMQPChannel $channel, string $queue, string ...$bodies): void
{
    foreach ($bodies as $body) {
        $channel->basic_publish(new AMQPMessage($body), '', $queue);
    }
}

/** A count may overtake the publishes and acks before it, even on one channel of RabbitMQ. */
function expectCounts(AMQPChannel $channel, string $queue, int $messages, int $consumers, string $what): void
{
    eventually(static fn () => array_slice($channel->queue_declare($queue, passive: true), 1) === [$messages, $consumers],
        "$what: $messages messages and $consumers consumers");
}

/** The text with which the broker closed the channel under the call. */
function refused(int $code, callable $call): string
{
    try {
        $call();
    } catch (AMQPProtocolChannelException $error) {
        equal($error->amqp_reply_code, $code, 'reply code');
        return $error->amqp_reply_text;
    }
    throw new Failure("refused with $code");
}

function exists(AMQPStreamConnection $connection, string $queue): bool
{
    $channel = $connection->channel();
    try {
        $channel->queue_declare($queue, passive: true);
        $channel->close();
        return true;
    } catch (AMQPProtocolChannelException $error) {
        equal($error->amqp_reply_code, 404, 'reply code');
        return false;
    }
}

/** Lets the client read on all these channels until the condition holds. */
function pump(array $channels, callable $until, string $what): void
{
    for ($deadline = microtime(true) + 10; !$until();) {
        check(microtime(true) < $deadline, "$what, within 10 s");
        foreach ($channels as $channel) {
            try {
                $channel->wait(null, false, 0.01);
            } catch (AMQPTimeoutException) {
            }
        }
    }
}

/** Up to that many messages as words, an r marking the redelivered. */
function take(AMQPChannel $channel, string $queue, int $count, bool $noAck = false): string
{
    $seen = [];
    while (count($seen) < $count && ($message = $channel->basic_get($queue, $noAck)) !== null) {
        $seen[] = $message->getBody() . ($message->isRedelivered() ? 'r' : '');
    }
    return implode(' ', $seen);
}

$suite->scenario('connect_and_properties', function () {
    foreach (['AMQPLAIN', 'PLAIN'] as $mechanism) {
        $connection = connect(mechanism: $mechanism);
        checkServer($connection->getServerProperties());
        $connection->close();
    }
});

$suite->scenario('declare_and_get_counts', function () use ($suite) {
    $connection = connect();
    $channel = $connection->channel();
    $queue = $suite->queue();
    equal($channel->queue_declare($queue, durable: true, auto_delete: false), [$queue, 0, 0], 'declare-ok');
    send($channel, $queue, '0', '1', '2');
    expectCounts($channel, $queue, 3, 0, 'counts after three publishes');
    $message = $channel->basic_get($queue);
    equal([$message->getMessageCount(), $message->isRedelivered(), $message->getRoutingKey(), $message->getBody()], [2, false, $queue, '0'], 'get-ok');
    expectCounts($channel, $queue, 2, 0, 'an unacked message is not counted');
    $message->ack();
    equal($channel->queue_purge($queue), 2, 'purge-ok');
    equal($channel->basic_get($queue), null, 'get-empty');
    send($channel, $queue, 'last');
    equal($channel->queue_delete($queue), 1, 'delete-ok');
    [$named] = $channel->queue_declare('', exclusive: true);
    check(str_starts_with($named, 'amq.gen-'), "server-named queue: $named");
    $connection->close();
});

$suite->scenario('publish_consume_ack', function () {
    $connection = connect();
    $channel = $connection->channel();
    $queue = declareQueue($channel);
    $headers = ['text' => 'é', 'int' => -7, 'long' => 1 << 40, 'flag' => true, 'list' => [1, 'two'], 'table' => ['a' => 'b'], 'none' => null];
    $sent = ['content_type' => 'text/plain', 'content_encoding' => 'utf-8', 'delivery_mode' => 2, 'priority' => 3, 'correlation_id' => 'c-1',
        'reply_to' => 'r-1', 'expiration' => '600000', 'message_id' => 'm-1', 'timestamp' => 1700000000, 'type' => 't-1', 'app_id' => 'a-1'];
    for ($i = 0; $i < 1000; ++$i) {
        $channel->basic_publish(new AMQPMessage("message $i", $sent + ['application_headers' => new AMQPTable($headers)]), '', $queue);
    }
    $received = [];
    $channel->basic_consume($queue, callback: function (AMQPMessage $message) use (&$received) {
        $received[] = $message;
        $message->ack();
    });
    pump([$channel], function () use (&$received) {
        return count($received) >= 1000;
    }, '1,000 deliveries');
    equal(array_map(fn (AMQPMessage $m) => [$m->getDeliveryTag(), $m->isRedelivered(), $m->getBody()], $received),
        array_map(fn (int $i) => [$i + 1, false, "message $i"], range(0, 999)), 'deliveries in order');
    $properties = $received[0]->get_properties();
    $table = $properties['application_headers']->getNativeData();
    unset($properties['application_headers']);
    ksort($table);
    ksort($headers);
    ksort($properties);
    ksort($sent);
    equal($table, $headers, 'headers come back unchanged');
    equal($properties, $sent, 'properties come back unchanged');
    $channel->close();
    expectCounts($connection->channel(), $queue, 0, 0, 'counts after all acks');
    $connection->close();
});

$suite->scenario('confirms', function () {
    $connection = connect();
    $channel = $connection->channel();
    $queue = declareQueue($channel);
    $order = [];
    $channel->set_ack_handler(function () use (&$order) {
        $order[] = 'ack';
    });
    $channel->set_nack_handler(function () use (&$order) {
        $order[] = 'nack';
    });
    $channel->set_return_listener(function ($code, $text, $exchange, $key, AMQPMessage $message) use (&$order) {
        $order[] = "$code $text '$exchange' $key {$message->getBody()}";
    });
    $channel->confirm_select();
    for ($i = 0; $i < 1000; ++$i) {
        $channel->basic_publish(new AMQPMessage((string) $i, ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT]), '', $queue);
    }
    $channel->wait_for_pending_acks_returns(10);
    equal($order, array_fill(0, 1000, 'ack'), '1,000 acks');
    expectCounts($channel, $queue, 1000, 0, 'messages after 1,000 confirms');
    $order = [];
    $channel->basic_publish(new AMQPMessage('lost'), '', "$queue.nowhere", true);
    $channel->wait_for_pending_acks_returns(10);
    $channel->basic_publish(new AMQPMessage('lost'), '', "$queue.nowhere");
    $channel->wait_for_pending_acks_returns(10);
    equal($order, ["312 NO_ROUTE '' $queue.nowhere lost", 'ack', 'ack'], 'return, then ack; then ack without mandatory');
    $connection->close();
});

$suite->scenario('requeue_order_and_redelivered', function () {
    $connection = connect();
    $channel = $connection->channel();
    $queue = declareQueue($channel);
    send($channel, $queue, '0', '1', '2', '3', '4');
    equal(take($channel, $queue, 4), '0 1 2 3', 'four messages');
    $channel->basic_nack(3, false, true);
    $channel->basic_reject(2, true);
    equal(take($channel, $queue, 3), '1r 2r 4', 'requeued messages are back in their places');
    $channel->close();
    $channel = $connection->channel();
    equal(take($channel, $queue, 5), '0r 1r 2r 3r 4r', 'a closed channel gives everything back in order');
    $channel->basic_recover(true);
    equal(take($channel, $queue, 5), '0r 1r 2r 3r 4r', 'so does recover');
    $connection->close();
});

$suite->scenario('prefetch_round_robin', function () {
    $connection = connect();
    $publisher = $connection->channel();
    $queue = declareQueue($publisher);
    $log = [];
    $channels = [];
    foreach (['A', 'B'] as $who) {
        $channels[$who] = $connection->channel();
        $channels[$who]->basic_qos(0, 1, false);
        $channels[$who]->basic_consume($queue, callback: function (AMQPMessage $message) use (&$log, $who) {
            $log[] = [$who, $message];
        });
    }
    $delivery = function (int $i) use (&$log, $channels) {
        pump($channels, function () use (&$log, $i) {
            return count($log) > $i;
        }, "delivery $i");
        return $log[$i];
    };
    for ($i = 0; $i < 2; ++$i) {
        send($publisher, $queue, (string) $i);
        $delivery($i);
    }
    send($publisher, $queue, '2', '3', '4', '5');
    expectCounts($publisher, $queue, 4, 2, 'the rest waits for credit');
    for ($i = 0; $i < 16; ++$i) {
        if ($i >= 6) {
            send($publisher, $queue, (string) $i);
        }
        [$who, $message] = $delivery($i);
        $message->ack();
        // A round trip, so that the acks of both channels reach the queue in this order.
        $channels[$who]->basic_qos(0, 1, false);
        // The next one for who has acked, while there is a backlog.
        $delivery(min($i + 2, max($i, 5)));
    }
    $turns = implode('', array_column($log, 0));
    // Which of the two is next when both have waited for credit is the broker's choice.
    check(preg_match('/^ABABAB((AB){5}|(BA){5})$/', $turns) === 1, "consumers take turns: $turns");
    equal(array_map(fn (array $entry) => $entry[1]->getBody(), $log), array_map('strval', range(0, 15)), 'order over both consumers');
    $connection->close();
});

$suite->scenario('exchanges', function () use ($suite) {
    $connection = connect();
    $channel = $connection->channel();
    foreach (['direct' => 'direct', 'fanout' => 'fanout', 'topic' => 'topic', 'headers' => 'headers', 'match' => 'headers'] as $name => $kind) {
        $channel->exchange_declare("amq.$name", $kind, passive: true);
    }
    $queues = [declareQueue($channel), declareQueue($channel), declareQueue($channel)];
    $make = function (string $kind, array ...$bindings) use ($channel, $suite, $queues) {
        $exchange = $suite->exchange();
        $channel->exchange_declare($exchange, $kind, durable: true, auto_delete: false);
        foreach ($bindings as $i => [$key, $arguments]) {
            $channel->queue_bind($queues[$i], $exchange, $key, false, new AMQPTable($arguments));
        }
        return $exchange;
    };
    $arrive = function (string $exchange, string $what, array $messages, array $expected) use ($channel, $queues) {
        foreach ($messages as $message) {
            [$body, $key, $headers] = [...$message, []];
            $channel->basic_publish(new AMQPMessage($body, ['application_headers' => new AMQPTable($headers)]), $exchange, $key);
        }
        equal(array_map(fn (string $queue) => take($channel, $queue, 100, true), $queues), $expected, $what);
    };
    $direct = $make('direct', ['a', []], ['b', []], ['a', []]);
    $arrive($direct, 'direct', [['1', 'a'], ['2', 'b'], ['3', 'c']], ['1', '2', '1']);
    $channel->queue_unbind($queues[2], $direct, 'a');
    $arrive($direct, 'direct after unbind', [['4', 'a']], ['4', '', '']);
    $fanout = $make('fanout', ['', []], ['x', []], ['', []]);
    $arrive($fanout, 'fanout', [['1', 'y']], ['1', '1', '1']);
    $topic = $make('topic', ['a.*.c', []], ['a.#', []], ['#.c', []]);
    $arrive($topic, 'topic', [['1', 'a.b.c'], ['2', 'a'], ['3', 'c'], ['4', 'a.b.b.c'], ['5', 'b']], ['1', '1 2 4', '1 3 4']);
    $headers = $make('headers', ['', ['x-match' => 'all', 'k' => 'v', 'n' => 1]], ['', ['x-match' => 'any', 'k' => 'v', 'n' => 1]], ['', ['k' => 'v']]);
    $arrive($headers, 'headers', [['1', '', ['k' => 'v', 'n' => 1]], ['2', '', ['k' => 'w', 'n' => 1]], ['3', '', ['k' => 'v']], ['4', '']],
        ['1', '1 2 3', '1 3']);
    $source = $make('topic');
    $channel->exchange_bind($direct, $source, '#');
    $channel->exchange_bind($fanout, $source, 'all.*');
    $arrive($source, 'exchange to exchange', [['1', 'b'], ['2', 'all.b']], ['2', '1 2', '2']);
    $channel->exchange_unbind($fanout, $source, 'all.*');
    $arrive($source, 'exchange to exchange after unbind', [['3', 'b'], ['4', 'all.b']], ['', '3', '']);
    $connection->close();
});

$suite->scenario('errors_close_channel_only', function () use ($suite) {
    $connection = connect();
    $missing = $suite->name('missing');
    $noExchange = "NOT_FOUND - no exchange '$missing' in vhost '$suite->vhost'";
    $text = refused(404, fn () => $connection->channel()->queue_declare($missing, passive: true));
    equal($text, "NOT_FOUND - no queue '$missing' in vhost '$suite->vhost'", 'text');
    $channel = $connection->channel();
    $queue = declareQueue($channel);
    equal(refused(406, fn () => $channel->queue_declare($queue, durable: true, auto_delete: true)),
        "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '$queue' in vhost '$suite->vhost': "
        . "received 'true' but current is 'false'", 'text');
    equal(refused(404, fn () => $connection->channel()->exchange_declare($missing, 'direct', passive: true)), $noExchange, 'text');
    $channel = $connection->channel();
    $channel->basic_publish(new AMQPMessage('lost'), $missing, 'key');
    equal(refused(404, fn () => $channel->wait(null, false, 10)), $noExchange, 'text');
    $channel = $connection->channel();
    $channel->basic_ack(99);
    equal(refused(406, fn () => $channel->wait(null, false, 10)), 'PRECONDITION_FAILED - unknown delivery tag 99', 'text');
    expectCounts($connection->channel(), $queue, 0, 0, 'the connection goes on');
    $connection->close();
});

$suite->scenario('exclusive_and_auto_delete', function () use ($suite) {
    [$exclusive, $autoDelete] = [$suite->queue(), $suite->queue()];
    [$other, $owner] = [connect(), connect()];
    $owner->channel()->queue_declare($exclusive, exclusive: true);
    $text = refused(405, fn () => $other->channel()->queue_declare($exclusive, passive: true));
    check(str_starts_with($text, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '$exclusive'"), $text);
    $owner->close();
    check(!exists($other, $exclusive), 'an exclusive queue is gone with close-ok');
    $channel = $other->channel();
    $channel->queue_declare($autoDelete, durable: true, auto_delete: true);
    check(exists($other, $autoDelete), 'an auto-delete queue waits for its first consumer');
    $tags = [$channel->basic_consume($autoDelete), $channel->basic_consume($autoDelete)];
    $channel->basic_cancel($tags[0]);
    check(exists($other, $autoDelete), 'an auto-delete queue stays while it has a consumer');
    $channel->basic_cancel($tags[1]);
    eventually(fn () => !exists($other, $autoDelete), 'an auto-delete queue goes with its last consumer');
    $other->close();
});

$suite->scenario('large_body', function () {
    $connection = connect();
    $channel = $connection->channel();
    $queue = declareQueue($channel);
    $body = fiveMebibytes();
    send($channel, $queue, $body);
    $message = $channel->basic_get($queue);
    check($message->getBody() === $body, 'got equals published');
    $message->nack(true);
    $received = null;
    $channel->basic_consume($queue, no_ack: true, callback: function (AMQPMessage $message) use (&$received) {
        $received = $message->getBody();
    });
    pump([$channel], function () use (&$received) {
        return $received !== null;
    }, 'delivery');
    check($received === $body, 'delivered equals published');
    $connection->close();
});

$suite->scenario('tx_commit_rollback', function () {
    $connection = connect();
    [$channel, $other] = [$connection->channel(), $connection->channel()];
    $queue = declareQueue($channel);
    $channel->tx_select();
    send($channel, $queue, 'kept');
    expectCounts($other, $queue, 0, 0, 'nothing is visible before commit');
    $channel->tx_commit();
    expectCounts($other, $queue, 1, 0, 'messages after commit');
    send($channel, $queue, 'dropped');
    $channel->tx_rollback();
    $channel->tx_commit();
    expectCounts($other, $queue, 1, 0, 'messages after rollback');
    $message = $channel->basic_get($queue);
    equal($message->getBody(), 'kept', 'body');
    $channel->basic_ack($message->getDeliveryTag());
    $channel->tx_rollback();
    $channel->basic_ack($message->getDeliveryTag());
    $channel->tx_commit();
    $channel->close();
    expectCounts($other, $queue, 0, 0, 'a rolled back ack can be given again');
    $connection->close();
});

$suite->scenario('rpc_reply_queue', function () {
    [$serving, $calling] = [connect(), connect()];
    [$responder, $channel] = [$serving->channel(), $calling->channel()];
    $requests = declareQueue($responder);
    $responder->basic_consume($requests, callback: function (AMQPMessage $request) use ($responder) {
        $reply = new AMQPMessage((string) ((int) $request->getBody() ** 2), ['correlation_id' => $request->get('correlation_id')]);
        $responder->basic_publish($reply, '', $request->get('reply_to'));
        $request->ack();
    });
    [$replyQueue] = $channel->queue_declare('', exclusive: true);
    $replies = [];
    $channel->basic_consume($replyQueue, no_ack: true, callback: function (AMQPMessage $reply) use (&$replies) {
        $replies[$reply->get('correlation_id')] = $reply->getBody();
    });
    for ($i = 0; $i < 20; ++$i) {
        $channel->basic_publish(new AMQPMessage((string) $i, ['reply_to' => $replyQueue, 'correlation_id' => "call-$i"]), '', $requests);
    }
    pump([$responder, $channel], function () use (&$replies) {
        return count($replies) === 20;
    }, '20 replies');
    for ($i = 0; $i < 20; ++$i) {
        equal($replies["call-$i"], (string) ($i * $i), 'reply');
    }
    $calling->close();
    $serving->close();
});

$suite->scenario('consumer_cancel_notification', function () {
    [$connection, $other] = [connect(), connect()];
    $channel = $connection->channel();
    $queue = declareQueue($channel);
    $tag = $channel->basic_consume($queue, callback: fn () => null);
    $other->channel()->queue_delete($queue);
    try {
        $channel->wait(null, false, 10);
        throw new Failure('the client hears of the cancel');
    } catch (AMQPBasicCancelException $cancel) {
        equal($cancel->consumerTag, $tag, 'cancelled tag');
    }
    equal($channel->queue_declare($queue, durable: true, auto_delete: false), [$queue, 0, 0], 'the channel goes on');
    $other->close();
    $connection->close();
});

$suite->scenario('wrong_password_refused', function () {
    foreach (['AMQPLAIN', 'PLAIN'] as $mechanism) {
        try {
            connect('not-the-password', mechanism: $mechanism);
            throw new Failure('a wrong password is refused');
        } catch (AMQPConnectionClosedException $error) {
            equal($error->getMessage(), "ACCESS_REFUSED - Login was refused using authentication mechanism $mechanism. "
                . 'For details see the broker logfile.(0, 0)', 'text');
            equal($error->getCode(), 403, 'reply code');
        }
    }
});

$suite->scenario('heartbeat_idle', function () {
    $connection = connect(heartbeat: 2);
    $channel = $connection->channel();
    // checkHeartBeat sends, and throws after two silent intervals; the broker gives up after three.
    for ($end = microtime(true) + 7; microtime(true) < $end;) {
        $connection->checkHeartBeat();
        try {
            $channel->wait(null, false, 0.5);
        } catch (AMQPTimeoutException) {
        }
    }
    $connection->channel();
    $connection->close();
});

require __DIR__ . '/extensions.php';

$suite->main(function (array $queues, array $exchanges) {
    $connection = connect();
    $channel = $connection->channel();
    array_map(fn (string $queue) => $channel->queue_delete($queue), $queues);
    array_map(fn (string $exchange) => $channel->exchange_delete($exchange), $exchanges);
    $connection->close();
});
