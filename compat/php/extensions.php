<?php

// Scenarios of RabbitMQ's extensions, with the queues that Symfony Messenger makes for delays and retries.

declare(strict_types=1);

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

/** The exchanges and queues of one transport: its own, its delays, and where failed messages end. */
final class Transport
{
    public readonly string $exchange;
    public readonly string $queue;
    public readonly string $delays;
    public readonly string $failed;

    public function __construct(public readonly AMQPChannel $channel)
    {
        global $suite;
        [$this->exchange, $this->delays] = [$suite->exchange(), $suite->exchange()];
        foreach ([$this->exchange => 'fanout', $this->delays => 'direct'] as $name => $kind) {
            $channel->exchange_declare($name, $kind, durable: true, auto_delete: false);
        }
        $this->queue = declareQueue($channel);
        $this->failed = declareQueue($channel);
        $channel->queue_bind($this->queue, $this->exchange);
        $channel->confirm_select();
    }

    /** Publishes by way of a queue named by the delay, which is made for it and goes when it is no longer used. */
    public function later(string $body, int $milliseconds, string $key = '', array $headers = []): string
    {
        global $suite;
        $name = sprintf('%s_%s_%d_delay', $this->delays, $key, $milliseconds);
        if (!in_array($name, $suite->queues, true)) {
            $suite->queues[] = $name;
        }
        $this->channel->queue_declare($name, durable: true, auto_delete: false, arguments: new AMQPTable([
            'x-message-ttl' => $milliseconds, 'x-expires' => $milliseconds + 500,
            'x-dead-letter-exchange' => $this->exchange, 'x-dead-letter-routing-key' => $key,
        ]));
        $this->channel->queue_bind($name, $this->delays, $name);
        $this->channel->basic_publish(
            new AMQPMessage($body, ['delivery_mode' => 2, 'application_headers' => new AMQPTable($headers)]), $this->delays, $name);
        $this->channel->wait_for_pending_acks(10);
        return $name;
    }

    /** Waits for a message in the transport's queue and takes it without acking. */
    public function fetch(string $what): AMQPMessage
    {
        $message = null;
        eventually(function () use (&$message) {
            return ($message = $this->channel->basic_get($this->queue)) !== null;
        }, $what);
        return $message;
    }
}

function headersOf(AMQPMessage $message): array
{
    return $message->get('application_headers')->getNativeData();
}

/** Queue, reason, count, exchange and routing keys of each entry of x-death. */
function deaths(AMQPMessage $message): array
{
    return array_map(static fn (array $death) => [$death['queue'], $death['reason'], $death['count'], $death['exchange'], $death['routing-keys']],
        headersOf($message)['x-death']);
}

$suite->scenario('delay_queues', function () {
    $connection = connect();
    $transport = new Transport($connection->channel());
    $slow = $transport->later('slow', 300, 'key');
    $fast = $transport->later('fast', 60, 'key');
    // The same queue once more, with the same arguments.
    equal($transport->later('fast again', 60, 'key'), $fast, 'name of the delay');
    foreach (['fast' => $fast, 'fast again' => $fast, 'slow' => $slow] as $body => $delay) {
        $message = $transport->fetch("message '$body'");
        equal($message->getBody(), $body, 'messages come in the order of their times');
        equal([$message->getExchange(), $message->getRoutingKey(), $message->isRedelivered()], [$transport->exchange, 'key', false], 'envelope');
        equal(deaths($message), [[$delay, 'expired', 1, $transport->delays, [$delay]]], 'x-death');
        $headers = headersOf($message);
        equal([$headers['x-first-death-queue'], $headers['x-first-death-reason'], $headers['x-first-death-exchange']],
            [$delay, 'expired', $transport->delays], 'first death');
        $message->ack();
    }
    // Asked for by publishes: to declare it again, even passively, would be a use of the queue.
    $returned = false;
    $transport->channel->set_return_listener(function () use (&$returned) {
        $returned = true;
    });
    eventually(function () use ($transport, $fast, &$returned) {
        $transport->channel->basic_publish(new AMQPMessage('probe'), $transport->delays, $fast, true);
        $transport->channel->wait_for_pending_acks_returns(10);
        return $returned;
    }, 'an unused delay queue expires');
    $connection->close();
});

$suite->scenario('retry_with_growing_delay', function () {
    $connection = connect();
    $transport = new Transport($connection->channel());
    $transport->channel->basic_publish(new AMQPMessage('task', ['application_headers' => new AMQPTable(['attempt' => 0])]), $transport->exchange);
    $started = [];
    $delays = [];
    for ($attempt = 0; $attempt <= 3; ++$attempt) {
        $message = $transport->fetch("attempt $attempt");
        $started[] = microtime(true);
        $headers = headersOf($message);
        equal($headers['attempt'], $attempt, 'attempt');
        // A retry is a new publish with the headers of the message that failed, without its history.
        equal(isset($headers['x-death']) ? deaths($message) : [],
            $attempt === 0 ? [] : [[end($delays), 'expired', 1, $transport->delays, [end($delays)]]], 'x-death');
        if ($attempt < 3) {
            $delays[] = $transport->later($message->getBody(), 40 * 2 ** $attempt, '', ['attempt' => $attempt + 1]);
        } else {
            $transport->channel->basic_publish(new AMQPMessage($message->getBody(), ['application_headers' => new AMQPTable($headers)]),
                '', $transport->failed);
            $transport->channel->wait_for_pending_acks(10);
        }
        $message->ack();
    }
    for ($i = 0; $i < 3; ++$i) {
        $waited = ($started[$i + 1] - $started[$i]) * 1000;
        check($waited >= 40 * 2 ** $i - 5, sprintf('retry %d not before its time: %.0f ms', $i, $waited));
    }
    $message = $transport->channel->basic_get($transport->failed);
    equal([$message->getBody(), headersOf($message)['attempt']], ['task', 3], 'failed message');
    equal(deaths($message), [[$delays[2], 'expired', 1, $transport->delays, [$delays[2]]]], 'x-death is kept by a publisher that sends it along');
    expectCounts($transport->channel, $transport->queue, 0, 0, 'nothing is left');
    $connection->close();
});
