package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The scenarios in amqp091-go.
var s = newSuite("go", "github.com/rabbitmq/amqp091-go")

func main() {
	os.Exit(s.main(append([]scenario{
		{"connect_and_properties", connectAndProperties},
		{"declare_and_get_counts", declareAndGetCounts},
		{"publish_consume_ack", publishConsumeAck},
		{"confirms", confirms},
		{"requeue_order_and_redelivered", requeueOrderAndRedelivered},
		{"prefetch_round_robin", prefetchRoundRobin},
		{"exchanges", exchanges},
		{"errors_close_channel_only", errorsCloseChannelOnly},
		{"exclusive_and_auto_delete", exclusiveAndAutoDelete},
		{"large_body", largeBody},
		{"tx_commit_rollback", txCommitRollback},
		{"rpc_reply_queue", rpcReplyQueue},
		{"rpc_direct_reply_to", rpcDirectReplyTo},
		{"consumer_cancel_notification", consumerCancelNotification},
		{"wrong_password_refused", wrongPasswordRefused},
		{"heartbeat_idle", heartbeatIdle},
	}, extensions...), cleanup))
}

func connect() *amqp.Connection {
	return get(amqp.Dial(s.url))
}

func declare(channel *amqp.Channel) string {
	queue := s.queue()
	get(channel.QueueDeclare(queue, true, false, false, false, nil))
	return queue
}

func publish(channel *amqp.Channel, exchange, key string, message amqp.Publishing) {
	must(channel.PublishWithContext(context.Background(), exchange, key, false, false, message))
}

func send(channel *amqp.Channel, queue string, bodies ...string) {
	for _, body := range bodies {
		publish(channel, "", queue, amqp.Publishing{Body: []byte(body)})
	}
}

func consume(channel *amqp.Channel, queue, tag string, noAck bool) <-chan amqp.Delivery {
	return get(channel.Consume(queue, tag, noAck, false, false, false, nil))
}

func counts(channel *amqp.Channel, queue string) [2]int {
	ok := get(channel.QueueDeclarePassive(queue, false, false, false, false, nil))
	return [2]int{ok.Messages, ok.Consumers}
}

// expectCounts polls: a count may overtake the publishes and acks before it, even on one channel of RabbitMQ.
func expectCounts(channel *amqp.Channel, queue string, expected [2]int, what string) {
	eventually(fmt.Sprintf("%s: %v", what, expected), func() bool { return counts(channel, queue) == expected })
}

// refused returns the text with which the broker closed the channel.
func refused(code int, err error) string {
	var closed *amqp.Error
	check(errors.As(err, &closed), "refused with %d, got %v", code, err)
	equal(closed.Code, code, "reply code")
	check(closed.Server, "closed by the broker")
	return closed.Reason
}

func exists(connection *amqp.Connection, queue string) bool {
	channel := get(connection.Channel())
	if _, err := channel.QueueDeclarePassive(queue, false, false, false, false, nil); err != nil {
		refused(404, err)
		return false
	}
	must(channel.Close())
	return true
}

// take gets n messages without acking; an r marks the redelivered.
func take(channel *amqp.Channel, queue string, n int) ([]amqp.Delivery, string) {
	held, seen := []amqp.Delivery{}, []string{}
	for i := 0; i < n; i++ {
		message, found, err := channel.Get(queue, false)
		must(err)
		check(found, "message %d is there", i)
		held = append(held, message)
		mark := ""
		if message.Redelivered {
			mark = "r"
		}
		seen = append(seen, string(message.Body)+mark)
	}
	return held, strings.Join(seen, " ")
}

func connectAndProperties() {
	connection := connect()
	defer connection.Close()
	checkServer(connection.Properties)
}

func declareAndGetCounts() {
	connection := connect()
	defer connection.Close()
	channel, queue := get(connection.Channel()), s.queue()
	equal(get(channel.QueueDeclare(queue, true, false, false, false, nil)), amqp.Queue{Name: queue}, "declare-ok")
	send(channel, queue, "0", "1", "2")
	expectCounts(channel, queue, [2]int{3, 0}, "counts after three publishes")
	message, found, err := channel.Get(queue, false)
	must(err)
	equal([]any{found, int(message.MessageCount), message.Redelivered, message.RoutingKey, string(message.Body)},
		[]any{true, 2, false, queue, "0"}, "get-ok")
	expectCounts(channel, queue, [2]int{2, 0}, "an unacked message is not counted")
	must(message.Ack(false))
	equal(get(channel.QueuePurge(queue, false)), 2, "purge-ok")
	_, found, err = channel.Get(queue, false)
	check(err == nil && !found, "get-empty")
	send(channel, queue, "last")
	equal(get(channel.QueueDelete(queue, false, false, false)), 1, "delete-ok")
	named := get(channel.QueueDeclare("", false, false, true, false, nil)).Name
	check(strings.HasPrefix(named, "amq.gen-"), "server-named queue: %s", named)
}

func publishConsumeAck() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	queue := declare(channel)
	headers := amqp.Table{"text": "é", "int": int32(-7), "long": int64(1) << 40, "flag": true, "short": int16(3), "byte": byte(200),
		"list": []any{int32(1), "two"}, "table": amqp.Table{"a": amqp.Table{}}, "none": nil, "float": 1.5, "binary": []byte{0, 255},
		"decimal": amqp.Decimal{Scale: 2, Value: 314}, "time": time.Unix(1700000000, 0)}
	sent := amqp.Publishing{ContentType: "text/plain", ContentEncoding: "utf-8", Headers: headers, DeliveryMode: 2, Priority: 3,
		CorrelationId: "c-1", ReplyTo: "r-1", Expiration: "600000", MessageId: "m-1", Timestamp: time.Unix(1700000000, 0), Type: "t-1", AppId: "a-1"}
	for i := 0; i < 1000; i++ {
		sent.Body = []byte(fmt.Sprintf("message %d", i))
		publish(channel, "", queue, sent)
	}
	deliveries := consume(channel, queue, "", false)
	for i := 0; i < 1000; i++ {
		message := receive(deliveries, fmt.Sprintf("delivery %d", i))
		equal([]any{message.DeliveryTag, message.Redelivered, string(message.Body)}, []any{uint64(i + 1), false, fmt.Sprintf("message %d", i)}, "delivery")
		must(message.Ack(false))
		if i == 0 {
			equal(fmt.Sprint(message.Headers), fmt.Sprint(headers), "headers come back unchanged")
			returned := amqp.Publishing{ContentType: message.ContentType, ContentEncoding: message.ContentEncoding, DeliveryMode: message.DeliveryMode,
				Priority: message.Priority, CorrelationId: message.CorrelationId, ReplyTo: message.ReplyTo, Expiration: message.Expiration,
				MessageId: message.MessageId, Type: message.Type, AppId: message.AppId}
			original := sent
			original.Headers, original.Body, original.Timestamp = nil, nil, time.Time{}
			equal(returned, original, "properties come back unchanged")
			equal(message.Timestamp.Unix(), sent.Timestamp.Unix(), "timestamp")
		}
	}
	must(channel.Close())
	expectCounts(get(connection.Channel()), queue, [2]int{0, 0}, "counts after all acks")
}

func confirms() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	queue := declare(channel)
	must(channel.Confirm(false))
	waiting := []*amqp.DeferredConfirmation{}
	for i := 0; i < 1000; i++ {
		message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(strconv.Itoa(i))}
		waiting = append(waiting, get(channel.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, message)))
	}
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for i, confirmation := range waiting {
		check(get(confirmation.WaitContext(limit)), "publish %d is acked", i)
	}
	expectCounts(channel, queue, [2]int{1000, 0}, "messages after 1,000 confirms")
	// Unbuffered: the client's reader stops at whichever came first.
	returns, acks := channel.NotifyReturn(make(chan amqp.Return)), channel.NotifyPublish(make(chan amqp.Confirmation))
	must(channel.PublishWithContext(context.Background(), "", queue+".nowhere", true, false, amqp.Publishing{Body: []byte("lost")}))
	select {
	case returned := <-returns:
		equal([]any{returned.ReplyCode, returned.ReplyText, returned.Exchange, returned.RoutingKey, string(returned.Body)},
			[]any{uint16(312), "NO_ROUTE", "", queue + ".nowhere", "lost"}, "return")
	case <-acks:
		panic("the return comes before the ack")
	case <-limit.Done():
		panic("an unroutable mandatory message is returned")
	}
	equal(receive(acks, "ack after return"), amqp.Confirmation{DeliveryTag: 1001, Ack: true}, "confirm")
	send(channel, queue+".nowhere", "lost")
	equal(receive(acks, "ack without mandatory"), amqp.Confirmation{DeliveryTag: 1002, Ack: true}, "confirm")
}

func requeueOrderAndRedelivered() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	queue := declare(channel)
	send(channel, queue, "0", "1", "2", "3", "4")
	held, _ := take(channel, queue, 4)
	must(held[2].Nack(false, true))
	must(held[1].Reject(true))
	_, seen := take(channel, queue, 3)
	equal(seen, "1r 2r 4", "requeued messages are back in their places")
	must(channel.Close())
	_, seen = take(get(connection.Channel()), queue, 5)
	equal(seen, "0r 1r 2r 3r 4r", "a closed channel gives everything back in order")
}

func prefetchRoundRobin() {
	connection := connect()
	defer connection.Close()
	publisher := get(connection.Channel())
	queue := declare(publisher)
	type consumer struct {
		channel    *amqp.Channel
		deliveries <-chan amqp.Delivery
	}
	var consumers [2]consumer
	for i := range consumers {
		channel := get(connection.Channel())
		must(channel.Qos(1, 0, false))
		consumers[i] = consumer{channel, consume(channel, queue, "", false)}
	}
	turns, order := "", ""
	ack := func(who int, message amqp.Delivery) {
		turns, order = turns+string("AB"[who]), order+string(message.Body)+" "
		must(message.Ack(false))
		// A round trip, so that the acks of both channels reach the queue in this order.
		must(consumers[who].channel.Qos(1, 0, false))
	}
	send(publisher, queue, "0", "1", "2", "3", "4", "5")
	expectCounts(publisher, queue, [2]int{4, 2}, "the rest waits for credit")
	for i := 0; i < 6; i++ {
		ack(i%2, receive(consumers[i%2].deliveries, fmt.Sprintf("delivery %d", i)))
	}
	for i := 6; i < 16; i++ {
		send(publisher, queue, strconv.Itoa(i))
		select {
		case message := <-consumers[0].deliveries:
			ack(0, message)
		case message := <-consumers[1].deliveries:
			ack(1, message)
		case <-time.After(10 * time.Second):
			panic(fmt.Sprintf("delivery %d", i))
		}
	}
	// Which of the two is next when both have waited for credit is the broker's choice.
	check(regexp.MustCompile(`^ABABAB((AB){5}|(BA){5})$`).MatchString(turns), "consumers take turns: %s", turns)
	equal(order, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 ", "order over both consumers")
}

func exchanges() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	for name, kind := range map[string]string{"direct": "direct", "fanout": "fanout", "topic": "topic", "headers": "headers", "match": "headers"} {
		must(channel.ExchangeDeclarePassive("amq."+name, kind, true, false, false, false, nil))
	}
	queues := []string{declare(channel), declare(channel), declare(channel)}
	type binding struct {
		key   string
		table amqp.Table
	}
	make := func(kind string, bindings ...binding) string {
		exchange := s.exchange()
		must(channel.ExchangeDeclare(exchange, kind, true, false, false, false, nil))
		for i, b := range bindings {
			must(channel.QueueBind(queues[i], b.key, exchange, false, b.table))
		}
		return exchange
	}
	type message struct {
		body, key string
		headers   amqp.Table
	}
	arrive := func(exchange, what string, expected [3]string, messages ...message) {
		for _, m := range messages {
			publish(channel, exchange, m.key, amqp.Publishing{Headers: m.headers, Body: []byte(m.body)})
		}
		for i, queue := range queues {
			found := []string{}
			for {
				got, some, err := channel.Get(queue, true)
				must(err)
				if !some {
					break
				}
				found = append(found, string(got.Body))
			}
			equal(strings.Join(found, " "), expected[i], fmt.Sprintf("%s, queue %d", what, i))
		}
	}
	direct := make("direct", binding{key: "a"}, binding{key: "b"}, binding{key: "a"})
	arrive(direct, "direct", [3]string{"1", "2", "1"}, message{body: "1", key: "a"}, message{body: "2", key: "b"}, message{body: "3", key: "c"})
	must(channel.QueueUnbind(queues[2], "a", direct, nil))
	arrive(direct, "direct after unbind", [3]string{"4", "", ""}, message{body: "4", key: "a"})
	fanout := make("fanout", binding{}, binding{key: "x"}, binding{})
	arrive(fanout, "fanout", [3]string{"1", "1", "1"}, message{body: "1", key: "y"})
	topic := make("topic", binding{key: "a.*.c"}, binding{key: "a.#"}, binding{key: "#.c"})
	arrive(topic, "topic", [3]string{"1", "1 2 4", "1 3 4"}, message{body: "1", key: "a.b.c"}, message{body: "2", key: "a"},
		message{body: "3", key: "c"}, message{body: "4", key: "a.b.b.c"}, message{body: "5", key: "b"})
	headers := make("headers", binding{table: amqp.Table{"x-match": "all", "k": "v", "n": int32(1)}},
		binding{table: amqp.Table{"x-match": "any", "k": "v", "n": int32(1)}}, binding{table: amqp.Table{"k": "v"}})
	arrive(headers, "headers", [3]string{"1", "1 2 3", "1 3"}, message{body: "1", headers: amqp.Table{"k": "v", "n": int32(1)}},
		message{body: "2", headers: amqp.Table{"k": "w", "n": int64(1)}}, message{body: "3", headers: amqp.Table{"k": "v"}}, message{body: "4"})
	source := make("topic")
	must(channel.ExchangeBind(direct, "#", source, false, nil))
	must(channel.ExchangeBind(fanout, "all.*", source, false, nil))
	arrive(source, "exchange to exchange", [3]string{"2", "1 2", "2"}, message{body: "1", key: "b"}, message{body: "2", key: "all.b"})
	must(channel.ExchangeUnbind(fanout, "all.*", source, false, nil))
	arrive(source, "exchange to exchange after unbind", [3]string{"", "3", ""}, message{body: "3", key: "b"}, message{body: "4", key: "all.b"})
}

func errorsCloseChannelOnly() {
	connection := connect()
	defer connection.Close()
	missing := s.name("missing")
	noExchange := fmt.Sprintf("NOT_FOUND - no exchange '%s' in vhost '%s'", missing, s.vhost)
	_, err := get(connection.Channel()).QueueDeclarePassive(missing, false, false, false, false, nil)
	equal(refused(404, err), fmt.Sprintf("NOT_FOUND - no queue '%s' in vhost '%s'", missing, s.vhost), "text")
	channel := get(connection.Channel())
	queue := declare(channel)
	_, err = channel.QueueDeclare(queue, true, true, false, false, nil)
	equal(refused(406, err), fmt.Sprintf("PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '%s' in vhost '%s': "+
		"received 'true' but current is 'false'", queue, s.vhost), "text")
	err = get(connection.Channel()).ExchangeDeclarePassive(missing, "direct", false, false, false, false, nil)
	equal(refused(404, err), noExchange, "text")
	channel = get(connection.Channel())
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	publish(channel, missing, "key", amqp.Publishing{Body: []byte("lost")})
	equal(refused(404, receive(closed, "publishing to a missing exchange closes the channel")), noExchange, "text")
	channel = get(connection.Channel())
	closed = channel.NotifyClose(make(chan *amqp.Error, 1))
	must(channel.Ack(99, false))
	equal(refused(406, receive(closed, "acking what was not delivered closes the channel")), "PRECONDITION_FAILED - unknown delivery tag 99", "text")
	expectCounts(get(connection.Channel()), queue, [2]int{0, 0}, "the connection goes on")
}

func exclusiveAndAutoDelete() {
	exclusive, autoDelete := s.queue(), s.queue()
	other, owner := connect(), connect()
	defer other.Close()
	get(get(owner.Channel()).QueueDeclare(exclusive, false, false, true, false, nil))
	_, err := get(other.Channel()).QueueDeclarePassive(exclusive, false, false, false, false, nil)
	text := refused(405, err)
	check(strings.HasPrefix(text, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '"+exclusive+"'"), "%s", text)
	must(owner.Close())
	check(!exists(other, exclusive), "an exclusive queue is gone with close-ok")
	channel := get(other.Channel())
	get(channel.QueueDeclare(autoDelete, true, true, false, false, nil))
	check(exists(other, autoDelete), "an auto-delete queue waits for its first consumer")
	consume(channel, autoDelete, "1", true)
	consume(channel, autoDelete, "2", true)
	must(channel.Cancel("1", false))
	check(exists(other, autoDelete), "an auto-delete queue stays while it has a consumer")
	must(channel.Cancel("2", false))
	eventually("an auto-delete queue goes with its last consumer", func() bool { return !exists(other, autoDelete) })
}

func largeBody() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	queue, body := declare(channel), fiveMebibytes()
	publish(channel, "", queue, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
	message, found, err := channel.Get(queue, false)
	must(err)
	check(found && bytes.Equal(message.Body, body), "got equals published")
	must(message.Nack(false, true))
	check(bytes.Equal(receive(consume(channel, queue, "", true), "delivery").Body, body), "delivered equals published")
}

func txCommitRollback() {
	connection := connect()
	defer connection.Close()
	channel, other := get(connection.Channel()), get(connection.Channel())
	queue := declare(channel)
	must(channel.Tx())
	send(channel, queue, "kept")
	expectCounts(other, queue, [2]int{0, 0}, "nothing is visible before commit")
	must(channel.TxCommit())
	expectCounts(other, queue, [2]int{1, 0}, "messages after commit")
	send(channel, queue, "dropped")
	must(channel.TxRollback())
	must(channel.TxCommit())
	expectCounts(other, queue, [2]int{1, 0}, "messages after rollback")
	held, seen := take(channel, queue, 1)
	equal(seen, "kept", "body")
	must(held[0].Ack(false))
	must(channel.TxRollback())
	must(channel.Ack(held[0].DeliveryTag, false))
	must(channel.TxCommit())
	must(channel.Close())
	expectCounts(other, queue, [2]int{0, 0}, "a rolled back ack can be given again")
}

// rpc makes twenty calls to a responder on its own connection.
func rpc(replyTo func(channel *amqp.Channel) string) {
	serving, calling := connect(), connect()
	defer serving.Close()
	defer calling.Close()
	responder := get(serving.Channel())
	requests := declare(responder)
	go func(deliveries <-chan amqp.Delivery) {
		for request := range deliveries {
			number, _ := strconv.Atoi(string(request.Body))
			reply := amqp.Publishing{CorrelationId: request.CorrelationId, Body: []byte(strconv.Itoa(number * number))}
			if responder.PublishWithContext(context.Background(), "", request.ReplyTo, false, false, reply) != nil || request.Ack(false) != nil {
				return
			}
		}
	}(consume(responder, requests, "", false))
	channel := get(calling.Channel())
	address := replyTo(channel)
	replies, found := consume(channel, address, "", true), map[string]string{}
	for i := 0; i < 20; i++ {
		publish(channel, "", requests, amqp.Publishing{ReplyTo: address, CorrelationId: fmt.Sprintf("call-%d", i), Body: []byte(strconv.Itoa(i))})
	}
	for i := 0; i < 20; i++ {
		reply := receive(replies, "reply")
		found[reply.CorrelationId] = string(reply.Body)
	}
	for i := 0; i < 20; i++ {
		equal(found[fmt.Sprintf("call-%d", i)], strconv.Itoa(i*i), "reply")
	}
}

func rpcReplyQueue() {
	rpc(func(channel *amqp.Channel) string {
		return get(channel.QueueDeclare("", false, false, true, false, nil)).Name
	})
}

func rpcDirectReplyTo() {
	rpc(func(*amqp.Channel) string { return "amq.rabbitmq.reply-to" })
}

func consumerCancelNotification() {
	connection, other := connect(), connect()
	defer connection.Close()
	defer other.Close()
	channel := get(connection.Channel())
	queue := declare(channel)
	cancelled := channel.NotifyCancel(make(chan string, 1))
	deliveries := consume(channel, queue, "doomed", false)
	get(get(other.Channel()).QueueDelete(queue, false, false, false))
	equal(receive(cancelled, "basic.cancel"), "doomed", "cancelled tag")
	_, open := <-deliveries
	check(!open, "the deliveries end")
	equal(get(channel.QueueDeclare(queue, true, false, false, false, nil)).Consumers, 0, "the channel goes on")
}

func wrongPasswordRefused() {
	uri := get(amqp.ParseURI(s.url))
	uri.Password = "not-the-password"
	_, err := amqp.Dial(uri.String())
	var refusal *amqp.Error
	// The client does not announce authentication_failure_close, so the broker drops the socket without a word after three
	// seconds; it has its own error for that.
	check(errors.As(err, &refusal) && refusal.Code == amqp.AccessRefused, "refused with 403: %v", err)
}

func heartbeatIdle() {
	connection := get(amqp.DialConfig(s.url, amqp.Config{Heartbeat: 2 * time.Second}))
	defer connection.Close()
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	select {
	// The client gives up after three silent intervals, the broker too.
	case <-time.After(7 * time.Second):
	case reason := <-closed:
		panic(fmt.Sprintf("closed while idle: %v", reason))
	}
	get(connection.Channel())
}

func cleanup() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	for _, queue := range s.queues {
		get(channel.QueueDelete(queue, false, false, false))
	}
	for _, exchange := range s.exchanges {
		must(channel.ExchangeDelete(exchange, false, false))
	}
}
