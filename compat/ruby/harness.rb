# frozen_string_literal: true

# Runs scenarios one after another and reports each on its own line, as `compat/run` expects; see python/harness.py.

require 'securerandom'
require 'timeout'
require 'uri'

SCENARIO_SECONDS_MAX = 30

CAPABILITIES = %w[
  publisher_confirms exchange_exchange_bindings basic.nack consumer_cancel_notify connection.blocked
  consumer_priorities authentication_failure_close per_consumer_qos direct_reply_to
].freeze

class Failure < StandardError; end

class Suite
  attr_reader :url, :vhost, :queues, :exchanges

  def initialize(client, version)
    puts "client #{client} #{version}"
    @url = ENV.fetch('AMQP_URL')
    path = URI.parse(@url).path.to_s.delete_prefix('/')
    @vhost = path.empty? ? '/' : URI.decode_www_form_component(path)
    @prefix = "compat.#{client}.#{SecureRandom.hex(4)}"
    @queues = []
    @exchanges = []
    @scenarios = {}
    @names = 0
  end

  def scenario(name, &block)
    @scenarios[name] = block
  end

  # A fresh queue name, deleted at the end whether or not it was declared.
  def queue
    @queues << name('q')
    @queues.last
  end

  def exchange
    @exchanges << name('x')
    @exchanges.last
  end

  def name(kind)
    @names += 1
    "#{@prefix}.#{kind}#{@names}"
  end

  # Runs all scenarios, then the block; exits with 1 if anything failed.
  def main(&cleanup)
    $stdout.sync = true
    chosen = @scenarios.select { |name, _| chosen?(name) }
    puts "plan #{chosen.keys.join(' ')}"
    failures = chosen.count { |name, block| !report(name, block) }
    tidy = outcome(cleanup)
    warn "cleanup: #{tidy}" if tidy
    exit(failures.zero? && tidy.nil? ? 0 : 1)
  end

  private

  def report(name, block)
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    reason = outcome(block)
    seconds = format('%.2f', Process.clock_gettime(Process::CLOCK_MONOTONIC) - start)
    puts(reason ? "FAIL #{name} #{seconds} #{reason}" : "ok #{name} #{seconds}")
    reason.nil?
  end

  # The reason of the failure on one line, or nil.
  def outcome(block)
    Timeout.timeout(SCENARIO_SECONDS_MAX) { block.call }
    nil
  rescue StandardError, Timeout::Error => e
    warn e.full_message
    line = e.backtrace&.map { |frame| frame[/(?:suite|extensions)\.rb:(\d+)/, 1] }&.compact&.first
    "#{e.class}: #{e.message}#{" (line #{line})" if line}".gsub(/\s+/, ' ')[0, 300]
  end

  # COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them.
  def chosen?(name)
    only = ENV.fetch('COMPAT_ONLY', '').split
    (only.empty? || only.include?(name)) && !ENV.fetch('COMPAT_SKIP', '').split.include?(name)
  end
end

def check(condition, what)
  raise Failure, what unless condition
end

def equal(actual, expected, what)
  check(actual == expected, "#{what}: expected #{expected.inspect[0, 120]}, got #{actual.inspect[0, 120]}")
end

def check_server(properties)
  equal(properties['product'], 'RabbitMQ', 'product')
  check(properties['version'].match?(/\A\d+\.\d+\.\d+/), "version is like 1.2.3: #{properties['version']}")
  CAPABILITIES.each { |capability| equal(properties['capabilities'][capability], true, "capability #{capability}") }
end

# Polls, for what a broker does shortly after it answered and for what other threads collect.
def eventually(what, seconds_max: 10)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds_max
  until yield
    check(Process.clock_gettime(Process::CLOCK_MONOTONIC) < deadline, "#{what}, within #{seconds_max} s")
    sleep 0.005
  end
end

# 5 MiB in which no 256 bytes repeat.
def five_mebibytes
  block = (4..255).to_a.pack('C*')
  (0...(5 * 1024 * 1024 / 256)).map { |i| [i].pack('N') + block }.join
end
