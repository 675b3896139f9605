# frozen_string_literal: true

# The scenarios in bunny.

require 'bunny'
require 'logger'
require 'stringio'
require_relative 'harness'

SUITE = Suite.new('bunny', Bunny::VERSION)

# With a block, closes the connection after it.
def connect(url = SUITE.url, logger: Logger.new(File::NULL), **options)
  connection = Bunny.new(url, automatically_recover: false, logger: logger, **options)
  connection.start
  return connection unless block_given?

  begin
    yield connection
  ensure
    connection.close if connection.open?
  end
end

def declare(channel)
  channel.queue(SUITE.queue, durable: true)
end

def publish(channel, queue, *bodies)
  bodies.each { |body| channel.default_exchange.publish(body, routing_key: queue.name) }
end

def counts(channel, name)
  ok = channel.queue_declare(name, passive: true)
  [ok.message_count, ok.consumer_count]
end

# A count may overtake the publishes and acks before it, even on one channel of RabbitMQ.
def expect_counts(channel, name, expected, what)
  eventually("#{what}: #{expected}") { counts(channel, name) == expected }
end

# The text with which the broker closed the channel under the block.
def refused(error)
  yield
rescue error => e
  equal(e.channel_close.reply_code, { Bunny::NotFound => 404, Bunny::ResourceLocked => 405, Bunny::PreconditionFailed => 406 }[error], 'reply code')
  e.channel_close.reply_text
else
  raise Failure, "refused with #{error}"
end

# The text that bunny raises for any further use of a closed channel, or ''.
def reason_of_closed(channel)
  return '' if channel.open?

  channel.basic_get('unused')
rescue Bunny::ChannelAlreadyClosed => e
  e.message
end

def exists?(connection, name)
  channel = connection.create_channel
  channel.queue_declare(name, passive: true)
  channel.close
  true
rescue Bunny::NotFound
  false
end

# Gets without acking; an r marks the redelivered.
def take(channel, queue, count)
  Array.new(count) { channel.basic_get(queue.name, manual_ack: true) }.map { |get_ok, _, body| "#{body}#{'r' if get_ok.redelivered}" }.join(' ')
end

SUITE.scenario('connect_and_properties') do
  connect { |connection| check_server(connection.server_properties) }
end

SUITE.scenario('declare_and_get_counts') do
  connect do |connection|
    channel = connection.create_channel
    name = SUITE.queue
    declared = channel.queue_declare(name, durable: true)
    equal([declared.queue, declared.message_count, declared.consumer_count], [name, 0, 0], 'declare-ok')
    queue = channel.queue(name, durable: true)
    publish(channel, queue, '0', '1', '2')
    expect_counts(channel, name, [3, 0], 'counts after three publishes')
    get_ok, _, body = channel.basic_get(name, manual_ack: true)
    equal([get_ok.message_count, get_ok.redelivered, get_ok.routing_key, body], [2, false, name, '0'], 'get-ok')
    expect_counts(channel, name, [2, 0], 'an unacked message is not counted')
    channel.ack(get_ok.delivery_tag)
    equal(channel.queue_purge(name).message_count, 2, 'purge-ok')
    equal(queue.pop, [nil, nil, nil], 'get-empty')
    publish(channel, queue, 'last')
    equal(queue.delete.message_count, 1, 'delete-ok')
    named = channel.queue('', exclusive: true).name
    check(named.start_with?('amq.gen-'), "server-named queue: #{named}")
  end
end

SUITE.scenario('publish_consume_ack') do
  connect do |connection|
    channel = connection.create_channel
    queue = declare(channel)
    sent = { content_type: 'text/plain', content_encoding: 'utf-8', delivery_mode: 2, priority: 3, correlation_id: 'c-1', reply_to: 'r-1',
             expiration: '600000', message_id: 'm-1', timestamp: 1_700_000_000, type: 't-1', app_id: 'a-1',
             headers: { 'text' => 'é', 'int' => -7, 'long' => 1 << 40, 'flag' => true, 'list' => [1, 'two'], 'table' => { 'a' => {} },
                        'none' => nil, 'float' => 1.5 } }
    1000.times { |i| channel.default_exchange.publish("message #{i}", routing_key: queue.name, **sent) }
    received = []
    queue.subscribe(manual_ack: true) do |info, properties, body|
      received << [info, properties, body]
      channel.ack(info.delivery_tag)
    end
    eventually('1,000 deliveries') { received.size >= 1000 }
    equal(received.map { |info, _, _| info.delivery_tag.to_i }, (1..1000).to_a, 'delivery tags')
    equal(received.map(&:last), Array.new(1000) { |i| "message #{i}" }, 'bodies in order')
    check(received.none? { |info, _, _| info.redelivered? }, 'nothing is redelivered')
    properties = received.first[1].to_hash
    # bunny writes a number and reads a Time, and leaves texts of a table as bytes.
    properties[:headers]['text'].force_encoding(Encoding::UTF_8)
    equal(properties, sent.merge(timestamp: Time.at(sent[:timestamp])), 'properties come back unchanged')
    channel.close
    expect_counts(connection.create_channel, queue.name, [0, 0], 'counts after all acks')
  end
end

SUITE.scenario('confirms') do
  connect do |connection|
    channel = connection.create_channel
    queue = declare(channel)
    order = []
    channel.confirm_select(->(_tag, _multiple, nack) { order << (nack ? 'nack' : 'ack') })
    1000.times { |i| channel.default_exchange.publish(i.to_s, routing_key: queue.name, persistent: true) }
    check(channel.wait_for_confirms, 'nothing is nacked')
    check(channel.unconfirmed_set.empty?, '1,000 publishes are confirmed')
    expect_counts(channel, queue.name, [1000, 0], 'messages after 1,000 confirms')
    order.clear
    exchange = channel.default_exchange
    exchange.on_return { |info, _, body| order << [info.reply_code, info.reply_text, info.exchange, info.routing_key, body] }
    exchange.publish('lost', routing_key: "#{queue.name}.nowhere", mandatory: true)
    check(channel.wait_for_confirms, 'an unroutable message is acked')
    exchange.publish('lost', routing_key: "#{queue.name}.nowhere")
    check(channel.wait_for_confirms, 'an unroutable message is acked')
    equal(order, [[312, 'NO_ROUTE', '', "#{queue.name}.nowhere", 'lost'], 'ack', 'ack'], 'return, then ack; then ack without mandatory')
  end
end

SUITE.scenario('requeue_order_and_redelivered') do
  connect do |connection|
    channel = connection.create_channel
    queue = declare(channel)
    publish(channel, queue, *'01234'.chars)
    equal(take(channel, queue, 4), '0 1 2 3', 'four messages')
    channel.basic_nack(3, false, true)
    channel.basic_reject(2, true)
    equal(take(channel, queue, 3), '1r 2r 4', 'requeued messages are back in their places')
    channel.close
    equal(take(connection.create_channel, queue, 5), '0r 1r 2r 3r 4r', 'a closed channel gives everything back in order')
  end
end

SUITE.scenario('prefetch_round_robin') do
  connect do |connection|
    publisher = connection.create_channel
    queue = declare(publisher)
    log = Thread::Queue.new
    channels = %w[A B].to_h do |who|
      channel = connection.create_channel
      channel.prefetch(1)
      channel.queue(queue.name, durable: true).subscribe(manual_ack: true) { |info, _, body| log << [who, info.delivery_tag, body] }
      [who, channel]
    end
    turns = []
    ack = lambda do |(who, tag, body)|
      turns << [who, body]
      channels[who].ack(tag)
      # A round trip, so that the acks of both channels reach the queue in this order.
      channels[who].prefetch(1)
    end
    held = %w[0 1].map do |body|
      publish(publisher, queue, body)
      log.pop
    end
    publish(publisher, queue, *'2345'.chars)
    expect_counts(publisher, queue.name, [4, 2], 'the rest waits for credit')
    4.times do
      ack.call(held.shift)
      held << log.pop
    end
    held.each(&ack)
    (6...16).each do |i|
      publish(publisher, queue, i.to_s)
      ack.call(log.pop)
    end
    # Which of the two is next when both have waited for credit is the broker's choice.
    check(turns.map(&:first).join.match?(/\AABABAB((AB){5}|(BA){5})\z/), "consumers take turns: #{turns.map(&:first).join}")
    equal(turns.map(&:last), (0...16).map(&:to_s), 'order over both consumers')
  end
end

SUITE.scenario('exchanges') do
  connect do |connection|
    channel = connection.create_channel
    { direct: :direct, fanout: :fanout, topic: :topic, headers: :headers, match: :headers }.each do |name, kind|
      channel.exchange_declare("amq.#{name}", kind, passive: true)
    end
    queues = Array.new(3) { declare(channel) }
    make = lambda do |kind, *bindings|
      exchange = Bunny::Exchange.new(channel, kind, SUITE.exchange, durable: true)
      queues.zip(bindings).each { |queue, options| queue.bind(exchange, options) if options }
      exchange
    end
    drain = lambda do |queue|
      found = []
      while (body = queue.pop[2])
        found << body
      end
      found.join(' ')
    end
    arrive = lambda do |exchange, what, messages, expected|
      messages.each { |body, key, headers| exchange.publish(body, routing_key: key, headers: headers || {}) }
      equal(queues.map(&drain), expected, what)
    end
    direct = make.call(:direct, { routing_key: 'a' }, { routing_key: 'b' }, { routing_key: 'a' })
    arrive.call(direct, 'direct', [%w[1 a], %w[2 b], %w[3 c]], %w[1 2 1])
    queues[2].unbind(direct, routing_key: 'a')
    arrive.call(direct, 'direct after unbind', [%w[4 a]], ['4', '', ''])
    fanout = make.call(:fanout, {}, { routing_key: 'x' }, {})
    arrive.call(fanout, 'fanout', [%w[1 y]], %w[1 1 1])
    topic = make.call(:topic, { routing_key: 'a.*.c' }, { routing_key: 'a.#' }, { routing_key: '#.c' })
    arrive.call(topic, 'topic', [%w[1 a.b.c], %w[2 a], %w[3 c], %w[4 a.b.b.c], %w[5 b]], ['1', '1 2 4', '1 3 4'])
    headers = make.call(:headers, { arguments: { 'x-match' => 'all', 'k' => 'v', 'n' => 1 } },
                        { arguments: { 'x-match' => 'any', 'k' => 'v', 'n' => 1 } }, { arguments: { 'k' => 'v' } })
    arrive.call(headers, 'headers', [['1', '', { 'k' => 'v', 'n' => 1 }], ['2', '', { 'k' => 'w', 'n' => 1 }], ['3', '', { 'k' => 'v' }], ['4', '']],
                ['1', '1 2 3', '1 3'])
    source = make.call(:topic)
    direct.bind(source, routing_key: '#')
    fanout.bind(source, routing_key: 'all.*')
    arrive.call(source, 'exchange to exchange', [%w[1 b], %w[2 all.b]], ['2', '1 2', '2'])
    fanout.unbind(source, routing_key: 'all.*')
    arrive.call(source, 'exchange to exchange after unbind', [%w[3 b], %w[4 all.b]], ['', '3', ''])
  end
end

SUITE.scenario('errors_close_channel_only') do
  connect do |connection|
    missing = SUITE.name('missing')
    no_exchange = "NOT_FOUND - no exchange '#{missing}' in vhost '#{SUITE.vhost}'"
    text = refused(Bunny::NotFound) { connection.create_channel.queue_declare(missing, passive: true) }
    equal(text, "NOT_FOUND - no queue '#{missing}' in vhost '#{SUITE.vhost}'", 'text')
    channel = connection.create_channel
    queue = declare(channel)
    text = refused(Bunny::PreconditionFailed) { channel.queue_declare(queue.name, durable: true, auto_delete: true) }
    equal(text, "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '#{queue.name}' in vhost '#{SUITE.vhost}': " \
                "received 'true' but current is 'false'", 'text')
    text = refused(Bunny::NotFound) { connection.create_channel.exchange_declare(missing, :direct, passive: true) }
    equal(text, no_exchange, 'text')
    channel = connection.create_channel
    channel.basic_publish('lost', missing, 'key')
    eventually('publishing to a missing exchange closes the channel') { reason_of_closed(channel).end_with?(no_exchange) }
    closes = []
    channel = connection.create_channel
    channel.on_error { |_, close| closes << [close.reply_code, close.reply_text] }
    channel.basic_ack(99, false)
    # bunny tells this error by its text from those that answer a call.
    eventually('acking what was not delivered closes the channel') { closes == [[406, 'PRECONDITION_FAILED - unknown delivery tag 99']] }
    expect_counts(connection.create_channel, queue.name, [0, 0], 'the connection goes on')
  end
end

SUITE.scenario('exclusive_and_auto_delete') do
  exclusive = SUITE.queue
  auto_delete = SUITE.queue
  connect do |other|
    connect do |owner|
      owner.create_channel.queue(exclusive, exclusive: true)
      text = refused(Bunny::ResourceLocked) { other.create_channel.queue_declare(exclusive, passive: true) }
      check(text.start_with?("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '#{exclusive}'"), text)
    end
    check(!exists?(other, exclusive), 'an exclusive queue is gone with close-ok')
    queue = other.create_channel.queue(auto_delete, durable: true, auto_delete: true)
    check(exists?(other, auto_delete), 'an auto-delete queue waits for its first consumer')
    consumers = Array.new(2) { queue.subscribe { |*| nil } }
    consumers[0].cancel
    check(exists?(other, auto_delete), 'an auto-delete queue stays while it has a consumer')
    consumers[1].cancel
    eventually('an auto-delete queue goes with its last consumer') { !exists?(other, auto_delete) }
  end
end

SUITE.scenario('large_body') do
  connect do |connection|
    channel = connection.create_channel
    queue = declare(channel)
    body = five_mebibytes
    channel.confirm_select
    channel.default_exchange.publish(body, routing_key: queue.name, persistent: true)
    check(channel.wait_for_confirms, 'confirmed')
    info, _, got = queue.pop(manual_ack: true)
    check(got.b == body.b, 'got equals published')
    channel.nack(info.delivery_tag, false, true)
    received = Thread::Queue.new
    queue.subscribe { |_, _, delivered| received << delivered }
    check(received.pop.b == body.b, 'delivered equals published')
  end
end

SUITE.scenario('tx_commit_rollback') do
  connect do |connection|
    channel = connection.create_channel
    other = connection.create_channel
    queue = declare(channel)
    channel.tx_select
    publish(channel, queue, 'kept')
    expect_counts(other, queue.name, [0, 0], 'nothing is visible before commit')
    channel.tx_commit
    expect_counts(other, queue.name, [1, 0], 'messages after commit')
    publish(channel, queue, 'dropped')
    channel.tx_rollback
    channel.tx_commit
    expect_counts(other, queue.name, [1, 0], 'messages after rollback')
    info, _, body = queue.pop(manual_ack: true)
    equal(body, 'kept', 'body')
    channel.ack(info.delivery_tag)
    channel.tx_rollback
    channel.ack(info.delivery_tag)
    channel.tx_commit
    channel.close
    expect_counts(other, queue.name, [0, 0], 'a rolled back ack can be given again')
  end
end

SUITE.scenario('rpc_reply_queue') do
  connect do |serving|
    connect do |calling|
      responder = serving.create_channel
      requests = declare(responder)
      requests.subscribe(manual_ack: true) do |info, properties, body|
        responder.default_exchange.publish((body.to_i**2).to_s, routing_key: properties.reply_to, correlation_id: properties.correlation_id)
        responder.ack(info.delivery_tag)
      end
      channel = calling.create_channel
      reply_queue = channel.queue('', exclusive: true)
      replies = {}
      reply_queue.subscribe { |_, properties, body| replies[properties.correlation_id] = body }
      20.times { |i| channel.default_exchange.publish(i.to_s, routing_key: requests.name, reply_to: reply_queue.name, correlation_id: "call-#{i}") }
      eventually('20 replies') { replies.size == 20 }
      equal(replies, (0...20).to_h { |i| ["call-#{i}", (i * i).to_s] }, 'replies')
    end
  end
end

SUITE.scenario('consumer_cancel_notification') do
  connect do |connection|
    connect do |other|
      channel = connection.create_channel
      queue = declare(channel)
      cancelled = []
      consumer = queue.subscribe(on_cancellation: ->(cancel) { cancelled << cancel.consumer_tag }) { |*| nil }
      other.create_channel.queue_delete(queue.name)
      eventually('basic.cancel') { cancelled.any? }
      equal(cancelled, [consumer.consumer_tag], 'cancelled tags')
      equal(channel.queue_declare(queue.name, durable: true).consumer_count, 0, 'the channel goes on')
    end
  end
end

SUITE.scenario('wrong_password_refused') do
  url = SUITE.url.sub(%r{//([^:@]*):[^@]*@}, '//\1:not-the-password@')
  log = StringIO.new
  begin
    connect(url, logger: Logger.new(log))
    raise Failure, 'a wrong password is refused'
  rescue Bunny::AuthenticationFailureError
    # The error has a text of bunny's own; the broker's goes to the log.
    text = '403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.'
    check(log.string.include?(text), log.string)
  end
end

SUITE.scenario('heartbeat_idle') do
  connect(heartbeat: 2) do |connection|
    # The client gives up after two silent intervals, the broker after three.
    sleep 7
    check(connection.create_channel.open?, 'a channel opens after 7 s of silence')
  end
end

require_relative 'extensions'

SUITE.main do
  connect do |connection|
    channel = connection.create_channel
    SUITE.queues.each { |name| channel.queue_delete(name) }
    SUITE.exchanges.each { |name| channel.exchange_delete(name) }
  end
end
