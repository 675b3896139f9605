<?php

// Runs scenarios one after another and reports each on its own line, as `compat/run` expects; see python/harness.py.

declare(strict_types=1);

const SCENARIO_SECONDS_MAX = 30;

const CAPABILITIES = [
    'publisher_confirms', 'exchange_exchange_bindings', 'basic.nack', 'consumer_cancel_notify', 'connection.blocked',
    'consumer_priorities', 'authentication_failure_close', 'per_consumer_qos', 'direct_reply_to',
];

final class Failure extends Exception
{
}

final class Suite
{
    public readonly array $address;
    public readonly string $vhost;
    public array $queues = [];
    public array $exchanges = [];
    private readonly string $prefix;
    private array $scenarios = [];
    private int $names = 0;

    public function __construct(string $client, string $version)
    {
        echo "client $client $version\n";
        $this->address = parse_url((string) getenv('AMQP_URL'));
        $path = rawurldecode(substr($this->address['path'] ?? '/', 1));
        $this->vhost = $path === '' ? '/' : $path;
        $this->prefix = sprintf('compat.%s.%s', $client, bin2hex(random_bytes(4)));
    }

    public function scenario(string $name, callable $run): void
    {
        $this->scenarios[$name] = $run;
    }

    /** A fresh queue name, deleted at the end whether or not it was declared. */
    public function queue(): string
    {
        return $this->queues[] = $this->name('q');
    }

    public function exchange(): string
    {
        return $this->exchanges[] = $this->name('x');
    }

    public function name(string $kind): string
    {
        return sprintf('%s.%s%d', $this->prefix, $kind, ++$this->names);
    }

    public function main(callable $cleanup): never
    {
        pcntl_async_signals(true);
        pcntl_signal(SIGALRM, static fn () => throw new Failure(sprintf('not done after %d s', SCENARIO_SECONDS_MAX)));
        $chosen = array_filter($this->scenarios, self::isChosen(...), ARRAY_FILTER_USE_KEY);
        echo 'plan ', implode(' ', array_keys($chosen)), "\n";
        $code = 0;
        foreach ($chosen as $name => $run) {
            $start = microtime(true);
            $reason = self::outcome($run);
            $seconds = sprintf('%.2f', microtime(true) - $start);
            echo $reason === null ? "ok $name $seconds\n" : "FAIL $name $seconds $reason\n";
            $code |= (int) ($reason !== null);
        }
        $tidy = self::outcome(fn () => $cleanup($this->queues, $this->exchanges));
        if ($tidy !== null) {
            fwrite(STDERR, "cleanup: $tidy\n");
        }
        exit($tidy === null ? $code : 1);
    }

    /** The reason of the failure on one line, or null. */
    private static function outcome(callable $run): ?string
    {
        pcntl_alarm(SCENARIO_SECONDS_MAX);
        try {
            $run();
            return null;
        } catch (Throwable $error) {
            fwrite(STDERR, "$error\n");
            $lines = array_filter([['file' => $error->getFile(), 'line' => $error->getLine()], ...$error->getTrace()],
                static fn (array $frame) => in_array(basename($frame['file'] ?? ''), ['suite.php', 'extensions.php'], true));
            $line = $lines === [] ? '' : sprintf(' (line %d)', reset($lines)['line']);
            return substr(preg_replace('/\s+/', ' ', get_class($error) . ': ' . $error->getMessage() . $line), 0, 300);
        } finally {
            pcntl_alarm(0);
        }
    }

    /** COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them. */
    private static function isChosen(string $name): bool
    {
        $words = static fn (string $variable) => preg_split('/\s+/', (string) getenv($variable), -1, PREG_SPLIT_NO_EMPTY);
        $only = $words('COMPAT_ONLY');
        return ($only === [] || in_array($name, $only, true)) && !in_array($name, $words('COMPAT_SKIP'), true);
    }
}

function check(bool $condition, string $what): void
{
    if (!$condition) {
        throw new Failure($what);
    }
}

function equal(mixed $actual, mixed $expected, string $what): void
{
    check($actual === $expected, sprintf('%s: expected %.120s, got %.120s', $what, var_export($expected, true), var_export($actual, true)));
}

/** `$properties`: the client keeps them as [type, value] pairs. */
function checkServer(array $properties): void
{
    equal($properties['product'][1], 'RabbitMQ', 'product');
    check(preg_match('/^\d+\.\d+\.\d+/', $properties['version'][1]) === 1, 'version is like 1.2.3: ' . $properties['version'][1]);
    $announced = $properties['capabilities'][1];
    foreach (CAPABILITIES as $capability) {
        check((bool) ($announced[$capability][1] ?? false), "capability $capability is true");
    }
}

/** Polls, for what a broker does shortly after it answered. */
function eventually(callable $condition, string $what, float $seconds = 10): void
{
    for ($deadline = microtime(true) + $seconds; !$condition(); usleep(5000)) {
        check(microtime(true) < $deadline, "$what, within $seconds s");
    }
}

/** 5 MiB in which no 256 bytes repeat. */
function fiveMebibytes(): string
{
    $block = implode('', array_map('chr', range(4, 255)));
    return implode('', array_map(static fn (int $i) => pack('N', $i) . $block, range(0, intdiv(5 * 1024 * 1024, 256) - 1)));
}
