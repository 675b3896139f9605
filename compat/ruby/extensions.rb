# frozen_string_literal: true

# Scenarios of RabbitMQ's extensions, with the queues that Sneakers and Hutch make for retries.

def declare_with(channel, **arguments)
  channel.queue(SUITE.queue, durable: true, arguments: arguments.transform_keys { |key| "x-#{key.to_s.tr('_', '-')}" })
end

# Queue, reason, count and exchange of each entry of x-death.
def deaths(properties)
  (properties.headers || {}).fetch('x-death', []).map { |death| death.values_at('queue', 'reason', 'count', 'exchange') }
end

SUITE.scenario('retry_exchange_and_error_queue') do
  connect do |connection|
    channel = connection.create_channel
    channel.prefetch(1)
    work, back, failed = Array.new(3) { Bunny::Exchange.new(channel, :topic, SUITE.exchange, durable: true) }
    name = SUITE.queue
    retries = declare_with(channel, dead_letter_exchange: back.name, message_ttl: 40)
    errors = declare(channel)
    retry_exchange = Bunny::Exchange.new(channel, :topic, SUITE.exchange, durable: true)
    tasks = channel.queue(name, durable: true, arguments: { 'x-dead-letter-exchange' => retry_exchange.name })
    retries.bind(retry_exchange, routing_key: '#')
    tasks.bind(work, routing_key: 'task.#').bind(back, routing_key: '#')
    errors.bind(failed, routing_key: '#')
    seen = Thread::Queue.new
    tasks.subscribe(manual_ack: true) do |info, properties, body|
      history = deaths(properties)
      rejected = history.find { |queue, reason, *| queue == name && reason == 'rejected' }
      seen << [body, info.exchange, info.routing_key, info.redelivered?, history]
      if rejected.nil? || rejected[2] < 3
        channel.reject(info.delivery_tag, false)
      else
        failed.publish(body, routing_key: info.routing_key, headers: { 'retries' => rejected[2] })
        channel.ack(info.delivery_tag)
      end
    end
    work.publish('job', routing_key: 'task.mail')
    result = nil
    eventually('the error queue has it') { (result = errors.pop)[2] }
    equal([result[2], result[1].headers, result[0].routing_key], ['job', { 'retries' => 3 }, 'task.mail'], 'in the error queue')
    attempts = Array.new(seen.size) { seen.pop }
    equal(attempts.size, 4, 'attempts')
    attempts.each_with_index do |(body, exchange, key, redelivered, history), i|
      equal([body, exchange, key, redelivered], ['job', i.zero? ? work.name : back.name, 'task.mail', false], "envelope of attempt #{i}")
      # The work queue's entry is about two exchanges: the first death names the first.
      equal(history.map { |queue, reason, count, _| [queue, reason, count] },
            i.zero? ? [] : [[retries.name, 'expired', i], [name, 'rejected', i]], "x-death of attempt #{i}")
    end
    equal(attempts[1][4].map(&:last), [retry_exchange.name, work.name], 'exchanges in x-death')
  end
end

SUITE.scenario('reject_publish') do
  connect do |connection|
    channel = connection.create_channel
    dead = declare(channel)
    plain = declare_with(channel, max_length: 2, overflow: 'reject-publish')
    lettered = declare_with(channel, max_length: 2, overflow: 'reject-publish-dlx', dead_letter_exchange: '', dead_letter_routing_key: dead.name)
    verdicts = []
    channel.confirm_select(->(tag, multiple, nack) { verdicts << [tag, multiple, nack] })
    [plain, lettered].each do |queue|
      publish(channel, queue, 'kept', 'kept')
      check(channel.wait_for_confirms, 'what fits is acked')
      verdicts.clear
      publish(channel, queue, 'refused')
      check(!channel.wait_for_confirms, 'what does not fit is nacked')
      equal(verdicts.map(&:last), [true], 'one nack')
      channel.nacked_set.clear
      equal(queue.pop[2], 'kept', 'the head stays')
      publish(channel, queue, 'fits')
      check(channel.wait_for_confirms, 'there is room again')
      equal([queue.pop[2], queue.pop[2], queue.pop[2]], ['kept', 'fits', nil], 'what the queue took')
    end
    result = nil
    eventually('the dead letter') { (result = dead.pop)[2] }
    equal([result[2], deaths(result[1])], ['refused', [[lettered.name, 'maxlen', 1, '']]], 'the refused one as dead letter')
    equal(dead.pop[2], nil, 'reject-publish alone dead-letters nothing')
  end
end

SUITE.scenario('single_active_consumer') do
  connect do |connection|
    publisher = connection.create_channel
    queue = declare_with(publisher, single_active_consumer: true)
    seen = Thread::Queue.new
    channels = %w[A B].map do |who|
      channel = connection.create_channel
      channel.queue(queue.name, durable: true, passive: true).subscribe(manual_ack: true) do |info, _, body|
        seen << [who, body, info.redelivered?]
        channel.ack(info.delivery_tag) unless body == 'held'
      end
      channel
    end
    publish(publisher, queue, '1', '2', 'held')
    equal(Array.new(3) { seen.pop }, [['A', '1', false], ['A', '2', false], ['A', 'held', false]], 'only the first consumer is served')
    expect_counts(publisher, queue.name, [0, 2], 'both consumers are counted')
    channels[0].close
    equal(seen.pop, ['B', 'held', true], 'the next one takes over, with what the first held')
    publish(publisher, queue, '3')
    equal(seen.pop, ['B', '3', false], 'and gets what comes')
  end
end
