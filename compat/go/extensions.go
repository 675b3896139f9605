package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Scenarios of RabbitMQ's extensions, as applications in Go use them.
var extensions = []scenario{
	{"consumer_priorities", consumerPriorities},
	{"x_death_retry_count", xDeathRetryCount},
	{"alternate_exchange", alternateExchange},
	{"queue_ttl_zero", queueTTLZero},
	{"quorum_delivery_limit", quorumDeliveryLimit},
	{"consistent_hash_exchange", consistentHashExchange},
}

func declareWith(channel *amqp.Channel, arguments amqp.Table) string {
	queue := s.queue()
	get(channel.QueueDeclare(queue, true, false, false, false, arguments))
	return queue
}

// fetch waits for a message in the queue and takes it without acking.
func fetch(channel *amqp.Channel, queue, what string) (message amqp.Delivery) {
	eventually(what, func() (found bool) {
		var err error
		message, found, err = channel.Get(queue, false)
		must(err)
		return found
	})
	return message
}

// deaths returns the entries of x-death as words: queue, reason, count, exchange and routing keys.
func deaths(message amqp.Delivery) []string {
	entries, found := []string{}, []any{}
	if message.Headers["x-death"] != nil {
		found = message.Headers["x-death"].([]any)
	}
	for _, one := range found {
		entry := one.(amqp.Table)
		entries = append(entries, fmt.Sprint(entry["queue"], " ", entry["reason"], " ", entry["count"], " '", entry["exchange"], "' ", entry["routing-keys"]))
	}
	return entries
}

func consumerPriorities() {
	connection := connect()
	defer connection.Close()
	publisher := get(connection.Channel())
	queue := declare(publisher)
	var deliveries [2]<-chan amqp.Delivery
	for i, priority := range []int32{1, 10} {
		channel := get(connection.Channel())
		must(channel.Qos(2, 0, false))
		deliveries[i] = get(channel.Consume(queue, "", false, false, false, false, amqp.Table{"x-priority": priority}))
	}
	send(publisher, queue, "0", "1", "2")
	held := []amqp.Delivery{receive(deliveries[1], "first"), receive(deliveries[1], "second")}
	equal(string(held[0].Body)+string(held[1].Body), "01", "the consumer of high priority is served while it has credit")
	low := receive(deliveries[0], "the other takes what the first cannot")
	equal(string(low.Body), "2", "body at the other")
	must(held[0].Ack(false))
	must(held[1].Ack(false))
	send(publisher, queue, "3")
	equal(string(receive(deliveries[1], "with credit again").Body), "3", "body after its acks")
	equal(len(deliveries[0]), 0, "deliveries at the other")
}

func xDeathRetryCount() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	work, wait := s.queue(), s.queue()
	get(channel.QueueDeclare(work, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}))
	get(channel.QueueDeclare(wait, true, false, false, false,
		amqp.Table{"x-message-ttl": int32(30), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work}))
	send(channel, work, "task")
	for attempt := 0; attempt < 4; attempt++ {
		message := fetch(channel, work, fmt.Sprintf("attempt %d", attempt))
		expected := []string{}
		if attempt > 0 {
			expected = []string{fmt.Sprintf("%s expired %d '' [%s]", wait, attempt, wait), fmt.Sprintf("%s rejected %d '' [%s]", work, attempt, work)}
			equal([]any{message.Headers["x-first-death-queue"], message.Headers["x-first-death-reason"], message.Headers["x-first-death-exchange"]},
				[]any{work, "rejected", ""}, "first death")
		}
		equal(deaths(message), expected, "x-death")
		if attempt < 3 {
			must(message.Nack(false, false))
		} else {
			must(message.Ack(false))
		}
	}
	expectCounts(channel, wait, [2]int{0, 0}, "nothing waits any more")
}

func alternateExchange() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	known, rest, alternate, source := declare(channel), declare(channel), s.exchange(), s.exchange()
	must(channel.ExchangeDeclare(alternate, "fanout", true, false, false, false, nil))
	must(channel.ExchangeDeclare(source, "direct", true, false, false, false, amqp.Table{"alternate-exchange": alternate}))
	must(channel.QueueBind(known, "known", source, false, nil))
	must(channel.QueueBind(rest, "", alternate, false, nil))
	must(channel.Confirm(false))
	returns := channel.NotifyReturn(make(chan amqp.Return, 4))
	acks := channel.NotifyPublish(make(chan amqp.Confirmation, 4))
	for _, key := range []string{"known", "other"} {
		must(channel.Publish(source, key, true, false, amqp.Publishing{Body: []byte(key)}))
		check(receive(acks, "ack").Ack, "%s is acked", key)
	}
	equal(len(returns), 0, "returns of what the alternate exchange took")
	equal(string(fetch(channel, known, "routed").Body), "known", "routed")
	other := fetch(channel, rest, "by the alternate exchange")
	equal([]any{string(other.Body), other.Exchange, other.RoutingKey}, []any{"other", source, "other"}, "exchange and key stay")
	must(channel.QueueUnbind(rest, "", alternate, nil))
	must(channel.Publish(source, "other", true, false, amqp.Publishing{}))
	equal(receive(returns, "return without any queue").ReplyText, "NO_ROUTE", "return text")
}

func queueTTLZero() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	dead := declare(channel)
	queue := declareWith(channel, amqp.Table{"x-message-ttl": int32(0), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	send(channel, queue, "nobody waits")
	message := fetch(channel, dead, "the message expires at once")
	equal(deaths(message), []string{fmt.Sprintf("%s expired 1 '' [%s]", queue, queue)}, "x-death")
	deliveries := consume(channel, queue, "", true)
	send(channel, queue, "somebody waits")
	equal(string(receive(deliveries, "a consumer with credit").Body), "somebody waits", "body")
	expectCounts(channel, dead, [2]int{0, 0}, "dead letters")
}

func quorumDeliveryLimit() {
	connection := connect()
	defer connection.Close()
	channel := get(connection.Channel())
	dead := declare(channel)
	queue := declareWith(channel, amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(2), "x-dead-letter-exchange": "",
		"x-dead-letter-routing-key": dead})
	send(channel, queue, "poison")
	deliveries := consume(channel, queue, "", false)
	for attempt := 0; attempt < 3; attempt++ {
		message := receive(deliveries, fmt.Sprintf("attempt %d", attempt))
		var count any
		if attempt > 0 {
			count = int64(attempt)
		}
		equal([]any{message.Headers["x-delivery-count"], message.Redelivered}, []any{count, attempt > 0}, "x-delivery-count and redelivered")
		must(message.Reject(true))
	}
	message := fetch(channel, dead, "the dead letter")
	equal(string(message.Body), "poison", "body")
	equal(deaths(message), []string{fmt.Sprintf("%s delivery_limit 1 '' [%s]", queue, queue)}, "x-death")
	expectCounts(channel, queue, [2]int{0, 1}, "nothing is left")
}

// consistentHashExchange needs a plugin, which a broker may lack.
func consistentHashExchange() {
	connection := connect()
	defer connection.Close()
	exchange := s.exchange()
	err := get(connection.Channel()).ExchangeDeclare(exchange, "x-consistent-hash", true, false, false, false, nil)
	var refusal *amqp.Error
	// RabbitMQ says "invalid" of words that its own code happens to use, "unknown" of others.
	if errors.As(err, &refusal) && regexp.MustCompile(`(unknown|invalid) exchange type`).MatchString(refusal.Reason) {
		panic(skipped(refusal.Reason))
	}
	must(err)
	channel := get(connection.Channel())
	queues := []string{declare(channel), declare(channel)}
	for _, queue := range queues {
		must(channel.QueueBind(queue, "1", exchange, false, nil))
	}
	drain := func(queue string) (found map[string]int, total int) {
		found = map[string]int{}
		for {
			message, some, err := channel.Get(queue, true)
			must(err)
			if !some {
				return found, total
			}
			found[message.RoutingKey]++
			total++
		}
	}
	for i := 0; i < 400; i++ {
		publish(channel, exchange, strconv.Itoa(i%200), amqp.Publishing{})
	}
	eventually("400 messages", func() bool { return counts(channel, queues[0])[0]+counts(channel, queues[1])[0] == 400 })
	all := 0
	for _, queue := range queues {
		found, total := drain(queue)
		check(total >= 80, "each of two equal queues has a fair part of 400: %d", total)
		all += total
		for key, times := range found {
			equal(times, 2, "messages of routing key "+key+" in its queue")
		}
	}
	equal(all, 400, "messages in all")
}
