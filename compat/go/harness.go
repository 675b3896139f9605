// Runs scenarios one after another and reports each on its own line, as `compat/run` expects; see python/harness.py.
package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const scenarioTimeMax = 30 * time.Second

var capabilities = []string{
	"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
	"consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
}

type scenario struct {
	name string
	run  func()
}

type suite struct {
	url, vhost, prefix string
	queues, exchanges  []string
	names              int
}

func newSuite(client, module string) *suite {
	build, _ := debug.ReadBuildInfo()
	for _, dependency := range build.Deps {
		if dependency.Path == module {
			fmt.Println("client", client, dependency.Version)
		}
	}
	address, err := url.Parse(os.Getenv("AMQP_URL"))
	must(err)
	vhost := strings.TrimPrefix(address.Path, "/")
	if vhost == "" {
		vhost = "/"
	}
	random := make([]byte, 4)
	_, err = rand.Read(random)
	must(err)
	return &suite{url: address.String(), vhost: vhost, prefix: fmt.Sprintf("compat.%s.%x", client, random)}
}

func (s *suite) name(kind string) string {
	s.names++
	return fmt.Sprintf("%s.%s%d", s.prefix, kind, s.names)
}

// queue returns a fresh name, deleted at the end whether or not it was declared.
func (s *suite) queue() string {
	s.queues = append(s.queues, s.name("q"))
	return s.queues[len(s.queues)-1]
}

func (s *suite) exchange() string {
	s.exchanges = append(s.exchanges, s.name("x"))
	return s.exchanges[len(s.exchanges)-1]
}

// main runs the scenarios, then cleanup, and returns the exit code. Scenarios fail by panic.
func (s *suite) main(scenarios []scenario, cleanup func()) int {
	plan, chosen := []string{"plan"}, []scenario{}
	for _, one := range scenarios {
		if isChosen(one.name) {
			plan, chosen = append(plan, one.name), append(chosen, one)
		}
	}
	fmt.Println(strings.Join(plan, " "))
	code := 0
	for _, one := range chosen {
		start := time.Now()
		reason := outcome(one.run)
		seconds := time.Since(start).Seconds()
		if strings.HasPrefix(reason, skipMark) {
			fmt.Printf("skip %s %.2f %s\n", one.name, seconds, strings.TrimPrefix(reason, skipMark))
		} else if reason == "" {
			fmt.Printf("ok %s %.2f\n", one.name, seconds)
		} else {
			fmt.Printf("FAIL %s %.2f %s\n", one.name, seconds, reason)
			code = 1
		}
	}
	if reason := outcome(cleanup); reason != "" {
		fmt.Fprintln(os.Stderr, "cleanup:", reason)
		code = 1
	}
	return code
}

// skipped is the panic of a scenario that needs what the broker does not have.
type skipped string

const skipMark = "skipped: "

var suiteLine = regexp.MustCompile(`/(?:suite|extensions)\.go:(\d+)`)

// outcome returns the reason of the failure on one line, or "".
func outcome(run func()) string {
	done := make(chan string, 1)
	go func() {
		defer func() {
			reason := ""
			problem := recover()
			if skip, ok := problem.(skipped); ok {
				reason = skipMark + string(skip)
			} else if problem != nil {
				trace := debug.Stack()
				fmt.Fprintf(os.Stderr, "%v\n%s\n", problem, trace)
				reason = strings.Join(strings.Fields(fmt.Sprint(problem)), " ")
				if line := suiteLine.FindSubmatch(trace); line != nil {
					reason += fmt.Sprintf(" (line %s)", line[1])
				}
			}
			done <- reason[:min(len(reason), 300)]
		}()
		run()
	}()
	select {
	case reason := <-done:
		return reason
	case <-time.After(scenarioTimeMax):
		return fmt.Sprintf("not done after %v", scenarioTimeMax)
	}
}

// isChosen: COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them.
func isChosen(name string) bool {
	has := func(variable string) bool {
		for _, word := range strings.Fields(os.Getenv(variable)) {
			if word == name {
				return true
			}
		}
		return false
	}
	return (strings.TrimSpace(os.Getenv("COMPAT_ONLY")) == "" || has("COMPAT_ONLY")) && !has("COMPAT_SKIP")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func get[T any](value T, err error) T {
	must(err)
	return value
}

func check(condition bool, format string, arguments ...any) {
	if !condition {
		panic(fmt.Sprintf(format, arguments...))
	}
}

// equal compares as printed with %#v, which is exact for the tables and scalars used here.
func equal(actual, expected any, what string) {
	a, e := fmt.Sprintf("%#v", actual), fmt.Sprintf("%#v", expected)
	check(a == e, "%s: expected %.150s, got %.150s", what, e, a)
}

func checkServer(properties amqp.Table) {
	equal(properties["product"], "RabbitMQ", "product")
	version, _ := properties["version"].(string)
	check(regexp.MustCompile(`^\d+\.\d+\.\d+`).MatchString(version), "version is like 1.2.3: %v", properties["version"])
	announced, _ := properties["capabilities"].(amqp.Table)
	for _, capability := range capabilities {
		equal(announced[capability], true, "capability "+capability)
	}
}

// eventually polls, for what a broker does shortly after it answered.
func eventually(what string, condition func() bool) {
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		check(time.Now().Before(deadline), "%s, within 10 s", what)
		time.Sleep(5 * time.Millisecond)
	}
}

// receive takes one value from a channel that the client fills.
func receive[T any](from <-chan T, what string) T {
	select {
	case value, open := <-from:
		check(open, "%s: the client closed its channel", what)
		return value
	case <-time.After(10 * time.Second):
		panic(what + ", within 10 s")
	}
}

// fiveMebibytes is a body in which no 256 bytes repeat.
func fiveMebibytes() []byte {
	body := make([]byte, 5*1024*1024)
	for at := range body {
		body[at] = byte(at)
	}
	for at := 0; at < len(body); at += 256 {
		binary.BigEndian.PutUint32(body[at:], uint32(at/256))
	}
	return body
}
