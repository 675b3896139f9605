/* The scenarios in rabbitmq-c. */
#define _GNU_SOURCE
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

typedef amqp_connection_state_t connection;

static const char *const CAPABILITIES[] = {
    "publisher_confirms",   "exchange_exchange_bindings",  "basic.nack",           "consumer_cancel_notify", "connection.blocked",
    "consumer_priorities", "authentication_failure_close", "per_consumer_qos",     "direct_reply_to"};

static amqp_bytes_t text(const char *value) { return amqp_cstring_bytes(value); }

static bool bytes_are(amqp_bytes_t bytes, const char *value) {
  return bytes.len == strlen(value) && memcmp(bytes.bytes, value, bytes.len) == 0;
}

/* What the broker said when it closed the channel or the connection. */
struct closed {
  bool connection;
  int code;
  char text[256];
};

static bool closed_by_broker(amqp_rpc_reply_t reply, struct closed *closed) {
  if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION) {
    return false;
  }
  if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
    amqp_channel_close_t *method = reply.reply.decoded;
    *closed = (struct closed){.connection = false, .code = method->reply_code};
    snprintf(closed->text, sizeof closed->text, "%.*s", (int)method->reply_text.len, (char *)method->reply_text.bytes);
    return true;
  }
  amqp_connection_close_t *method = reply.reply.decoded;
  *closed = (struct closed){.connection = true, .code = method->reply_code};
  snprintf(closed->text, sizeof closed->text, "%.*s", (int)method->reply_text.len, (char *)method->reply_text.bytes);
  return true;
}

static void normal(amqp_rpc_reply_t reply, const char *what) {
  struct closed closed;
  if (closed_by_broker(reply, &closed)) {
    fail("%s: %d %s", what, closed.code, closed.text);
  }
  check(reply.reply_type == AMQP_RESPONSE_NORMAL, "%s: %s", what, amqp_error_string2(reply.library_error));
}

static void rpc_ok(connection c, const char *what) { normal(amqp_get_rpc_reply(c), what); }

static void sent(int status, const char *what) { check(status == AMQP_STATUS_OK, "%s: %s", what, amqp_error_string2(status)); }

/* The URL's parts; they point into a copy that lives as long as the process. */
static struct amqp_connection_info address(void) {
  struct amqp_connection_info info;
  amqp_default_connection_info(&info);
  sent(amqp_parse_url(strdup(getenv("AMQP_URL")), &info), "AMQP_URL");
  return info;
}

static amqp_rpc_reply_t login(connection c, const char *password, int heartbeat) {
  struct amqp_connection_info info = address();
  amqp_socket_t *socket = amqp_tcp_socket_new(c);
  sent(amqp_socket_open(socket, info.host, info.port), "connect");
  /* rabbitmq-c itself announces only what it handles alone. */
  amqp_table_entry_t notify = {.key = text("consumer_cancel_notify"), .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}};
  amqp_table_t capabilities = {1, &notify};
  amqp_table_entry_t entry = {.key = text("capabilities"), .value = {.kind = AMQP_FIELD_KIND_TABLE, .value.table = capabilities}};
  amqp_table_t properties = {1, &entry};
  return amqp_login_with_properties(c, info.vhost, 0, 131072, heartbeat, &properties, AMQP_SASL_METHOD_PLAIN, info.user,
                                    password == NULL ? info.password : password);
}

static void open_channel(connection c, amqp_channel_t channel) {
  amqp_channel_open(c, channel);
  rpc_ok(c, "channel.open");
}

static connection dial(int heartbeat, amqp_channel_t channels) {
  connection c = amqp_new_connection();
  normal(login(c, NULL, heartbeat), "login");
  for (amqp_channel_t channel = 1; channel <= channels; channel++) {
    open_channel(c, channel);
  }
  return c;
}

static void hang_up(connection c) {
  normal(amqp_connection_close(c, AMQP_REPLY_SUCCESS), "connection.close");
  amqp_destroy_connection(c);
}

static amqp_queue_declare_ok_t *declare_queue(connection c, amqp_channel_t channel, const char *name, bool passive, bool exclusive, bool auto_delete) {
  return amqp_queue_declare(c, channel, text(name), passive, !exclusive, exclusive, auto_delete, amqp_empty_table);
}

static const char *declare(connection c, amqp_channel_t channel) {
  const char *name = queue_name();
  declare_queue(c, channel, name, false, false, false);
  rpc_ok(c, "queue.declare");
  return name;
}

/* The broker closes `channel` in answer to what was just called. Opens the channel again. */
static struct closed refused(connection c, amqp_channel_t channel, int code) {
  struct closed closed;
  check(closed_by_broker(amqp_get_rpc_reply(c), &closed), "refused with %d", code);
  check(!closed.connection, "only the channel is closed: %s", closed.text);
  equal_number(closed.code, code, "reply code");
  amqp_channel_close_ok_t ok = {0};
  sent(amqp_send_method(c, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok), "channel.close-ok");
  open_channel(c, channel);
  return closed;
}

static bool exists(connection c, amqp_channel_t channel, const char *queue) {
  if (declare_queue(c, channel, queue, true, false, false) != NULL) {
    return true;
  }
  refused(c, channel, 404);
  return false;
}

static void pause_briefly(void) { nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL); }

/* Polls: a count may overtake the publishes and acks before it, even on one channel of RabbitMQ. */
static void expect_counts(connection c, amqp_channel_t channel, const char *queue, uint32_t messages, uint32_t consumers, const char *what) {
  amqp_queue_declare_ok_t got = {0};
  for (int i = 0; i < 500; i++) {
    amqp_queue_declare_ok_t *ok = declare_queue(c, channel, queue, true, false, false);
    rpc_ok(c, what);
    got = *ok;
    if (got.message_count == messages && got.consumer_count == consumers) {
      return;
    }
    pause_briefly();
  }
  fail("%s: expected %u messages and %u consumers, got %u and %u", what, messages, consumers, got.message_count, got.consumer_count);
}

static void publish(connection c, amqp_channel_t channel, const char *exchange, const char *key, const amqp_basic_properties_t *properties, const char *body) {
  sent(amqp_basic_publish(c, channel, text(exchange), text(key), 0, 0, properties, text(body)), "publish");
}

/* Publishes each character as a message of its own. */
static void publish_each(connection c, amqp_channel_t channel, const char *queue, const char *characters) {
  for (; *characters != '\0'; characters++) {
    char body[2] = {*characters, '\0'};
    publish(c, channel, "", queue, NULL, body);
  }
}

/* Gets one message; false if the queue is empty. */
static bool get(connection c, amqp_channel_t channel, const char *queue, bool no_ack, amqp_basic_get_ok_t *ok, amqp_message_t *message) {
  amqp_rpc_reply_t reply = amqp_basic_get(c, channel, text(queue), no_ack);
  normal(reply, "basic.get");
  if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD) {
    return false;
  }
  *ok = *(amqp_basic_get_ok_t *)reply.reply.decoded;
  normal(amqp_read_message(c, channel, message, 0), "content of get");
  return true;
}

/* Up to `count` messages as words, an r marking the redelivered. */
static const char *take(connection c, amqp_channel_t channel, const char *queue, bool no_ack, int count) {
  static char seen[256];
  size_t length = 0;
  seen[0] = '\0';
  amqp_basic_get_ok_t ok;
  amqp_message_t message;
  for (int i = 0; i < count && get(c, channel, queue, no_ack, &ok, &message); i++) {
    length += (size_t)snprintf(seen + length, sizeof seen - length, "%s%.*s%s", i == 0 ? "" : " ", (int)message.body.len, (char *)message.body.bytes,
                               ok.redelivered ? "r" : "");
    amqp_destroy_message(&message);
  }
  return seen;
}

static void consume(connection c, amqp_channel_t channel, const char *queue, const char *tag, bool no_ack) {
  amqp_basic_consume(c, channel, text(queue), text(tag), 0, no_ack, 0, amqp_empty_table);
  rpc_ok(c, "basic.consume");
}

static void next_delivery(connection c, amqp_envelope_t *envelope, const char *what) {
  amqp_maybe_release_buffers(c);
  normal(amqp_consume_message(c, envelope, &(struct timeval){.tv_sec = 10}, 0), what);
}

/* The next method frame; content frames are not expected. */
static amqp_method_t next_method(connection c, const char *what) {
  amqp_frame_t frame;
  sent(amqp_simple_wait_frame_noblock(c, &frame, &(struct timeval){.tv_sec = 10}), what);
  check(frame.frame_type == AMQP_FRAME_METHOD, "%s: a method, not frame type %d", what, frame.frame_type);
  return frame.payload.method;
}

static amqp_table_t table_of(int count, amqp_table_entry_t *entries) { return (amqp_table_t){count, entries}; }

static amqp_table_entry_t text_entry(const char *key, const char *value) {
  return (amqp_table_entry_t){.key = text(key), .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = text(value)}};
}

static amqp_table_entry_t int_entry(const char *key, int32_t value) {
  return (amqp_table_entry_t){.key = text(key), .value = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = value}};
}

static amqp_field_value_t *find(amqp_table_t *table, const char *key) {
  for (int i = 0; i < table->num_entries; i++) {
    if (bytes_are(table->entries[i].key, key)) {
      return &table->entries[i].value;
    }
  }
  fail("table has %s", key);
}

static void connect_and_properties(void) {
  connection c = dial(0, 0);
  amqp_table_t *server = amqp_get_server_properties(c);
  check(bytes_are(find(server, "product")->value.bytes, "RabbitMQ"), "product is RabbitMQ");
  amqp_bytes_t version = find(server, "version")->value.bytes;
  char copy[64];
  int major, minor, patch;
  snprintf(copy, sizeof copy, "%.*s", (int)version.len, (char *)version.bytes);
  check(sscanf(copy, "%d.%d.%d", &major, &minor, &patch) == 3, "version is like 1.2.3: %s", copy);
  amqp_table_t *announced = &find(server, "capabilities")->value.table;
  for (size_t i = 0; i < sizeof CAPABILITIES / sizeof *CAPABILITIES; i++) {
    check(find(announced, CAPABILITIES[i])->value.boolean, "capability %s is true", CAPABILITIES[i]);
  }
  hang_up(c);
}

static void declare_and_get_counts(void) {
  connection c = dial(0, 1);
  const char *queue = queue_name();
  amqp_queue_declare_ok_t *declared = declare_queue(c, 1, queue, false, false, false);
  rpc_ok(c, "queue.declare");
  check(bytes_are(declared->queue, queue) && declared->message_count == 0 && declared->consumer_count == 0, "declare-ok");
  publish_each(c, 1, queue, "012");
  expect_counts(c, 1, queue, 3, 0, "counts after three publishes");
  amqp_basic_get_ok_t ok;
  amqp_message_t message;
  check(get(c, 1, queue, false, &ok, &message), "a message is there");
  check(ok.message_count == 2 && !ok.redelivered && bytes_are(ok.routing_key, queue) && bytes_are(message.body, "0"), "get-ok");
  expect_counts(c, 1, queue, 2, 0, "an unacked message is not counted");
  sent(amqp_basic_ack(c, 1, ok.delivery_tag, 0), "ack");
  amqp_queue_purge_ok_t *purged = amqp_queue_purge(c, 1, text(queue));
  rpc_ok(c, "queue.purge");
  equal_number(purged->message_count, 2, "purge-ok");
  check(!get(c, 1, queue, false, &ok, &message), "get-empty");
  publish(c, 1, "", queue, NULL, "last");
  amqp_queue_delete_ok_t *deleted = amqp_queue_delete(c, 1, text(queue), 0, 0);
  rpc_ok(c, "queue.delete");
  equal_number(deleted->message_count, 1, "delete-ok");
  declared = declare_queue(c, 1, "", false, true, false);
  rpc_ok(c, "queue.declare");
  check(declared->queue.len > 8 && memcmp(declared->queue.bytes, "amq.gen-", 8) == 0, "server-named queue");
  hang_up(c);
}

static void publish_consume_ack(void) {
  connection c = dial(0, 1);
  const char *queue = declare(c, 1);
  amqp_table_entry_t headers[] = {text_entry("text", "\xc3\xa9"), int_entry("int", -7)};
  amqp_basic_properties_t properties = {
      ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
                AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_APP_ID_FLAG,
      .content_type = text("text/plain"),
      .headers = table_of(2, headers),
      .delivery_mode = AMQP_DELIVERY_PERSISTENT,
      .priority = 3,
      .correlation_id = text("c-1"),
      .expiration = text("600000"),
      .timestamp = 1700000000,
      .app_id = text("a-1")};
  char body[32];
  for (int i = 0; i < 1000; i++) {
    snprintf(body, sizeof body, "message %d", i);
    publish(c, 1, "", queue, &properties, body);
  }
  consume(c, 1, queue, "", false);
  for (int i = 0; i < 1000; i++) {
    amqp_envelope_t envelope;
    next_delivery(c, &envelope, "delivery");
    snprintf(body, sizeof body, "message %d", i);
    check(envelope.delivery_tag == (uint64_t)i + 1 && !envelope.redelivered && bytes_are(envelope.message.body, body), "delivery %d is in order", i);
    amqp_basic_properties_t *got = &envelope.message.properties;
    check(got->_flags == properties._flags && bytes_are(got->content_type, "text/plain") && got->delivery_mode == 2 && got->priority == 3 &&
              bytes_are(got->correlation_id, "c-1") && bytes_are(got->expiration, "600000") && got->timestamp == 1700000000 &&
              bytes_are(got->app_id, "a-1"),
          "properties come back unchanged");
    check(bytes_are(find(&got->headers, "text")->value.bytes, "\xc3\xa9") && find(&got->headers, "int")->value.i32 == -7, "headers come back unchanged");
    sent(amqp_basic_ack(c, 1, envelope.delivery_tag, 0), "ack");
    amqp_destroy_envelope(&envelope);
  }
  normal(amqp_channel_close(c, 1, AMQP_REPLY_SUCCESS), "channel.close");
  open_channel(c, 1);
  expect_counts(c, 1, queue, 0, 0, "counts after all acks");
  hang_up(c);
}

/* Waits until the broker has acked `tag`. */
static void wait_for_confirm(connection c, uint64_t tag, uint64_t *confirmed) {
  while (*confirmed < tag) {
    amqp_method_t method = next_method(c, "confirm");
    check(method.id == AMQP_BASIC_ACK_METHOD, "a confirm, not %s", amqp_method_name(method.id));
    amqp_basic_ack_t *ack = method.decoded;
    check(ack->delivery_tag <= tag && (ack->multiple || ack->delivery_tag == *confirmed + 1), "confirms come in order for one queue");
    *confirmed = ack->delivery_tag;
  }
}

static void confirms(void) {
  connection c = dial(0, 1);
  const char *queue = declare(c, 1);
  amqp_confirm_select(c, 1);
  rpc_ok(c, "confirm.select");
  amqp_basic_properties_t persistent = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = AMQP_DELIVERY_PERSISTENT};
  uint64_t confirmed = 0;
  for (int i = 0; i < 1000; i++) {
    publish(c, 1, "", queue, &persistent, "confirmed");
  }
  wait_for_confirm(c, 1000, &confirmed);
  expect_counts(c, 1, queue, 1000, 0, "messages after 1,000 confirms");
  sent(amqp_basic_publish(c, 1, text(""), text("compat.nowhere"), 1, 0, NULL, text("lost")), "publish");
  amqp_method_t method = next_method(c, "basic.return");
  check(method.id == AMQP_BASIC_RETURN_METHOD, "the return comes before the ack: %s", amqp_method_name(method.id));
  amqp_basic_return_t *returned = method.decoded;
  check(returned->reply_code == 312 && bytes_are(returned->reply_text, "NO_ROUTE") && bytes_are(returned->routing_key, "compat.nowhere"), "return");
  amqp_message_t message;
  normal(amqp_read_message(c, 1, &message, 0), "returned message");
  check(bytes_are(message.body, "lost"), "returned body");
  amqp_destroy_message(&message);
  wait_for_confirm(c, 1001, &confirmed);
  publish(c, 1, "", "compat.nowhere", NULL, "lost");
  wait_for_confirm(c, 1002, &confirmed);
  hang_up(c);
}

static void requeue_order_and_redelivered(void) {
  connection c = dial(0, 1);
  const char *queue = declare(c, 1);
  publish_each(c, 1, queue, "01234");
  equal_text(take(c, 1, queue, false, 4), "0 1 2 3", "four messages");
  sent(amqp_basic_nack(c, 1, 3, 0, 1), "nack");
  sent(amqp_basic_reject(c, 1, 2, 1), "reject");
  equal_text(take(c, 1, queue, false, 3), "1r 2r 4", "requeued messages are back in their places");
  normal(amqp_channel_close(c, 1, AMQP_REPLY_SUCCESS), "channel.close");
  open_channel(c, 1);
  equal_text(take(c, 1, queue, false, 5), "0r 1r 2r 3r 4r", "a closed channel gives everything back in order");
  hang_up(c);
}

/* Waits for a delivery and notes its consumer, by channel, and its body. */
static void take_turn(connection c, amqp_envelope_t *envelope, char *turns, char *order, int *seen) {
  next_delivery(c, envelope, "the next one for who has acked");
  turns[*seen] = envelope->channel == 2 ? 'A' : 'B';
  order[*seen] = *(char *)envelope->message.body.bytes;
  *seen += 1;
}

static void ack_turn(connection c, amqp_envelope_t *envelope) {
  sent(amqp_basic_ack(c, envelope->channel, envelope->delivery_tag, 0), "ack");
  /* A round trip, so that the acks of both channels reach the queue in this order. */
  amqp_basic_qos(c, envelope->channel, 0, 1, 0);
  rpc_ok(c, "basic.qos");
  amqp_destroy_envelope(envelope);
}

static void prefetch_round_robin(void) {
  /* Channel 1 publishes, channels 2 and 3 consume. */
  connection c = dial(0, 3);
  const char *queue = declare(c, 1);
  for (amqp_channel_t channel = 2; channel <= 3; channel++) {
    amqp_basic_qos(c, channel, 0, 1, 0);
    rpc_ok(c, "basic.qos");
    consume(c, channel, queue, "", false);
  }
  amqp_envelope_t held[2];
  char turns[17] = {0}, order[17] = {0};
  int seen = 0;
  for (int i = 0; i < 2; i++) {
    publish_each(c, 1, queue, i == 0 ? "0" : "1");
    take_turn(c, &held[i], turns, order, &seen);
  }
  publish_each(c, 1, queue, "2345");
  expect_counts(c, 1, queue, 4, 2, "the rest waits for credit");
  for (int i = 0; i < 4; i++) {
    ack_turn(c, &held[i % 2]);
    take_turn(c, &held[i % 2], turns, order, &seen);
  }
  ack_turn(c, &held[0]);
  ack_turn(c, &held[1]);
  while (seen < 16) {
    publish_each(c, 1, queue, (char[]){(char)('0' + seen), '\0'});
    take_turn(c, &held[0], turns, order, &seen);
    ack_turn(c, &held[0]);
  }
  check(memcmp(turns, "ABABAB", 6) == 0, "the backlog goes to whoever has acked: %s", turns);
  /* Which of the two is next when both have waited for credit is the broker's choice. */
  equal_text(turns + 6, turns[6] == 'A' ? "ABABABABAB" : "BABABABABA", "consumers take turns");
  equal_text(order, "0123456789:;<=>?", "order over both consumers");
  hang_up(c);
}

/* One message of `exchanges`. */
struct routed {
  const char *body, *key;
  amqp_table_t headers;
};

static const char *queues[3];

static void arrive(connection c, const char *exchange, const struct routed *messages, int count, const char *const expected[3], const char *what) {
  for (int i = 0; i < count; i++) {
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = messages[i].headers};
    publish(c, 1, exchange, messages[i].key, &properties, messages[i].body);
  }
  for (int i = 0; i < 3; i++) {
    equal_text(take(c, 1, queues[i], true, 100), expected[i], what);
  }
}

#define ARRIVE(c, exchange, what, first, second, third, ...)                                                                       \
  arrive(c, exchange, (struct routed[]){__VA_ARGS__}, (int)(sizeof((struct routed[]){__VA_ARGS__}) / sizeof(struct routed)), \
         (const char *const[]){first, second, third}, what)

static const char *declare_exchange(connection c, const char *kind) {
  const char *name = exchange_name();
  amqp_exchange_declare(c, 1, text(name), text(kind), 0, 1, 0, 0, amqp_empty_table);
  rpc_ok(c, "exchange.declare");
  return name;
}

static void bind_queue(connection c, int queue, const char *exchange, const char *key, amqp_table_t arguments) {
  amqp_queue_bind(c, 1, text(queues[queue]), text(exchange), text(key), arguments);
  rpc_ok(c, "queue.bind");
}

static const char *bound(connection c, const char *kind, const char *first, const char *second, const char *third) {
  const char *name = declare_exchange(c, kind);
  const char *keys[] = {first, second, third};
  for (int i = 0; i < 3; i++) {
    bind_queue(c, i, name, keys[i], amqp_empty_table);
  }
  return name;
}

static void exchanges(void) {
  connection c = dial(0, 1);
  const char *const predeclared[][2] = {{"amq.direct", "direct"}, {"amq.fanout", "fanout"}, {"amq.topic", "topic"}, {"amq.headers", "headers"}, {"amq.match", "headers"}};
  for (size_t i = 0; i < 5; i++) {
    amqp_exchange_declare(c, 1, text(predeclared[i][0]), text(predeclared[i][1]), 1, 1, 0, 0, amqp_empty_table);
    rpc_ok(c, predeclared[i][0]);
  }
  for (int i = 0; i < 3; i++) {
    queues[i] = declare(c, 1);
  }
  const char *direct = bound(c, "direct", "a", "b", "a");
  ARRIVE(c, direct, "direct", "1", "2", "1", {"1", "a", {0}}, {"2", "b", {0}}, {"3", "c", {0}});
  amqp_queue_unbind(c, 1, text(queues[2]), text(direct), text("a"), amqp_empty_table);
  rpc_ok(c, "queue.unbind");
  ARRIVE(c, direct, "direct after unbind", "4", "", "", {"4", "a", {0}});
  const char *fanout = bound(c, "fanout", "", "x", "");
  ARRIVE(c, fanout, "fanout", "1", "1", "1", {"1", "y", {0}});
  const char *topic = bound(c, "topic", "a.*.c", "a.#", "#.c");
  ARRIVE(c, topic, "topic", "1", "1 2 4", "1 3 4", {"1", "a.b.c", {0}}, {"2", "a", {0}}, {"3", "c", {0}}, {"4", "a.b.b.c", {0}}, {"5", "b", {0}});
  const char *headers = declare_exchange(c, "headers");
  amqp_table_entry_t all[] = {text_entry("x-match", "all"), text_entry("k", "v"), int_entry("n", 1)};
  amqp_table_entry_t any[] = {text_entry("x-match", "any"), text_entry("k", "v"), int_entry("n", 1)};
  amqp_table_entry_t other[] = {text_entry("k", "w"), int_entry("n", 1)};
  bind_queue(c, 0, headers, "", table_of(3, all));
  bind_queue(c, 1, headers, "", table_of(3, any));
  bind_queue(c, 2, headers, "", table_of(1, all + 1));
  ARRIVE(c, headers, "headers", "1", "1 2 3", "1 3", {"1", "", table_of(2, all + 1)}, {"2", "", table_of(2, other)}, {"3", "", table_of(1, all + 1)}, {"4", "", {0}});
  const char *source = declare_exchange(c, "topic");
  amqp_exchange_bind(c, 1, text(direct), text(source), text("#"), amqp_empty_table);
  rpc_ok(c, "exchange.bind");
  amqp_exchange_bind(c, 1, text(fanout), text(source), text("all.*"), amqp_empty_table);
  rpc_ok(c, "exchange.bind");
  ARRIVE(c, source, "exchange to exchange", "2", "1 2", "2", {"1", "b", {0}}, {"2", "all.b", {0}});
  amqp_exchange_unbind(c, 1, text(fanout), text(source), text("all.*"), amqp_empty_table);
  rpc_ok(c, "exchange.unbind");
  ARRIVE(c, source, "exchange to exchange after unbind", "", "3", "", {"3", "b", {0}}, {"4", "all.b", {0}});
  hang_up(c);
}

static void errors_close_channel_only(void) {
  connection c = dial(0, 1);
  const char *vhost = address().vhost, *missing = queue_name();
  char no_queue[256], no_exchange[256], inequivalent[512];
  snprintf(no_queue, sizeof no_queue, "NOT_FOUND - no queue '%s' in vhost '%s'", missing, vhost);
  snprintf(no_exchange, sizeof no_exchange, "NOT_FOUND - no exchange '%s' in vhost '%s'", missing, vhost);
  declare_queue(c, 1, missing, true, false, false);
  equal_text(refused(c, 1, 404).text, no_queue, "text");
  const char *queue = declare(c, 1);
  snprintf(inequivalent, sizeof inequivalent,
           "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '%s' in vhost '%s': received 'true' but current is 'false'", queue, vhost);
  declare_queue(c, 1, queue, false, false, true);
  equal_text(refused(c, 1, 406).text, inequivalent, "text");
  amqp_exchange_declare(c, 1, text(missing), text("direct"), 1, 0, 0, 0, amqp_empty_table);
  equal_text(refused(c, 1, 404).text, no_exchange, "text");
  /* The close comes in place of the next answer. */
  publish(c, 1, missing, "key", NULL, "lost");
  declare_queue(c, 1, queue, true, false, false);
  equal_text(refused(c, 1, 404).text, no_exchange, "text");
  sent(amqp_basic_ack(c, 1, 99, 0), "ack");
  declare_queue(c, 1, queue, true, false, false);
  equal_text(refused(c, 1, 406).text, "PRECONDITION_FAILED - unknown delivery tag 99", "text");
  expect_counts(c, 1, queue, 0, 0, "the connection goes on");
  hang_up(c);
}

static void exclusive_and_auto_delete(void) {
  connection other = dial(0, 2), owner = dial(0, 1);
  const char *exclusive = queue_name(), *auto_delete = queue_name();
  char locked[256];
  snprintf(locked, sizeof locked, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s'", exclusive);
  declare_queue(owner, 1, exclusive, false, true, false);
  rpc_ok(owner, "queue.declare");
  declare_queue(other, 1, exclusive, true, false, false);
  struct closed closed = refused(other, 1, 405);
  check(strncmp(closed.text, locked, strlen(locked)) == 0, "text: %s", closed.text);
  hang_up(owner);
  check(!exists(other, 1, exclusive), "an exclusive queue is gone with close-ok");
  declare_queue(other, 1, auto_delete, false, false, true);
  rpc_ok(other, "queue.declare");
  check(exists(other, 1, auto_delete), "an auto-delete queue waits for its first consumer");
  consume(other, 1, auto_delete, "1", true);
  consume(other, 1, auto_delete, "2", true);
  amqp_basic_cancel(other, 1, text("1"));
  rpc_ok(other, "basic.cancel");
  check(exists(other, 2, auto_delete), "an auto-delete queue stays while it has a consumer");
  amqp_basic_cancel(other, 1, text("2"));
  rpc_ok(other, "basic.cancel");
  for (int i = 0; i < 500 && exists(other, 2, auto_delete); i++) {
    pause_briefly();
  }
  check(!exists(other, 2, auto_delete), "an auto-delete queue goes with its last consumer");
  hang_up(other);
}

static void large_body(void) {
  connection c = dial(0, 1);
  const char *queue = declare(c, 1);
  size_t size;
  unsigned char *body = five_mebibytes(&size);
  sent(amqp_basic_publish(c, 1, text(""), text(queue), 0, 0, NULL, (amqp_bytes_t){size, body}), "publish");
  amqp_basic_get_ok_t ok;
  amqp_message_t message;
  check(get(c, 1, queue, false, &ok, &message), "a message is there");
  check(message.body.len == size && memcmp(message.body.bytes, body, size) == 0, "got equals published");
  amqp_destroy_message(&message);
  sent(amqp_basic_nack(c, 1, ok.delivery_tag, 0, 1), "nack");
  consume(c, 1, queue, "", true);
  amqp_envelope_t envelope;
  next_delivery(c, &envelope, "delivery");
  check(envelope.message.body.len == size && memcmp(envelope.message.body.bytes, body, size) == 0, "delivered equals published");
  amqp_destroy_envelope(&envelope);
  free(body);
  hang_up(c);
}

static void tx_commit_rollback(void) {
  connection c = dial(0, 2);
  const char *queue = declare(c, 1);
  amqp_tx_select(c, 1);
  rpc_ok(c, "tx.select");
  publish(c, 1, "", queue, NULL, "kept");
  expect_counts(c, 2, queue, 0, 0, "nothing is visible before commit");
  amqp_tx_commit(c, 1);
  rpc_ok(c, "tx.commit");
  expect_counts(c, 2, queue, 1, 0, "messages after commit");
  publish(c, 1, "", queue, NULL, "dropped");
  amqp_tx_rollback(c, 1);
  rpc_ok(c, "tx.rollback");
  amqp_tx_commit(c, 1);
  rpc_ok(c, "tx.commit");
  expect_counts(c, 2, queue, 1, 0, "messages after rollback");
  equal_text(take(c, 1, queue, false, 1), "kept", "body");
  sent(amqp_basic_ack(c, 1, 1, 0), "ack");
  amqp_tx_rollback(c, 1);
  rpc_ok(c, "tx.rollback");
  sent(amqp_basic_ack(c, 1, 1, 0), "ack");
  amqp_tx_commit(c, 1);
  rpc_ok(c, "tx.commit");
  normal(amqp_channel_close(c, 1, AMQP_REPLY_SUCCESS), "channel.close");
  expect_counts(c, 2, queue, 0, 0, "a rolled back ack can be given again");
  hang_up(c);
}

static void rpc_reply_queue(void) {
  connection serving = dial(0, 1), calling = dial(0, 1);
  const char *requests = declare(serving, 1);
  amqp_queue_declare_ok_t *declared = declare_queue(calling, 1, "", false, true, false);
  rpc_ok(calling, "queue.declare");
  char reply_queue[256], body[32], correlation[32];
  snprintf(reply_queue, sizeof reply_queue, "%.*s", (int)declared->queue.len, (char *)declared->queue.bytes);
  consume(serving, 1, requests, "", false);
  consume(calling, 1, reply_queue, "", true);
  amqp_basic_properties_t properties = {._flags = AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG, .reply_to = text(reply_queue)};
  for (int i = 0; i < 20; i++) {
    snprintf(correlation, sizeof correlation, "call-%d", i);
    snprintf(body, sizeof body, "%d", i);
    properties.correlation_id = text(correlation);
    publish(calling, 1, "", requests, &properties, body);
  }
  for (int i = 0; i < 20; i++) {
    amqp_envelope_t request;
    next_delivery(serving, &request, "request");
    snprintf(body, sizeof body, "%.*s", (int)request.message.body.len, (char *)request.message.body.bytes);
    int number = atoi(body);
    snprintf(body, sizeof body, "%d", number * number);
    amqp_basic_properties_t reply = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG, .correlation_id = request.message.properties.correlation_id};
    sent(amqp_basic_publish(serving, 1, text(""), request.message.properties.reply_to, 0, 0, &reply, text(body)), "reply");
    sent(amqp_basic_ack(serving, 1, request.delivery_tag, 0), "ack");
    amqp_destroy_envelope(&request);
  }
  for (int i = 0; i < 20; i++) {
    amqp_envelope_t reply;
    next_delivery(calling, &reply, "reply");
    snprintf(correlation, sizeof correlation, "call-%d", i);
    snprintf(body, sizeof body, "%d", i * i);
    check(bytes_are(reply.message.properties.correlation_id, correlation) && bytes_are(reply.message.body, body), "reply %d", i);
    amqp_destroy_envelope(&reply);
  }
  hang_up(calling);
  hang_up(serving);
}

static void consumer_cancel_notification(void) {
  connection c = dial(0, 1), other = dial(0, 1);
  const char *queue = declare(c, 1);
  consume(c, 1, queue, "doomed", false);
  amqp_queue_delete(other, 1, text(queue), 0, 0);
  rpc_ok(other, "queue.delete");
  amqp_method_t method = next_method(c, "basic.cancel");
  check(method.id == AMQP_BASIC_CANCEL_METHOD, "basic.cancel, not %s", amqp_method_name(method.id));
  check(bytes_are(((amqp_basic_cancel_t *)method.decoded)->consumer_tag, "doomed"), "cancelled tag");
  declare_queue(c, 1, queue, false, false, false);
  rpc_ok(c, "queue.declare");
  expect_counts(c, 1, queue, 0, 0, "the channel goes on");
  hang_up(other);
  hang_up(c);
}

static void wrong_password_refused(void) {
  connection c = amqp_new_connection();
  struct closed closed;
  check(closed_by_broker(login(c, "not-the-password", 0), &closed), "a wrong password is refused with connection.close");
  equal_number(closed.code, 403, "reply code");
  equal_text(closed.text, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.", "text");
  amqp_destroy_connection(c);
}

static void heartbeat_idle(void) {
  connection c = dial(2, 1);
  /* The client sends heartbeats and gives up after two silent intervals, both while it waits; the broker gives up after three. */
  for (int i = 0; i < 14; i++) {
    amqp_frame_t frame;
    int status = amqp_simple_wait_frame_noblock(c, &frame, &(struct timeval){.tv_usec = 500 * 1000});
    check(status == AMQP_STATUS_TIMEOUT, "nothing but heartbeats while idle: %s", amqp_error_string2(status));
  }
  normal(amqp_channel_close(c, 1, AMQP_REPLY_SUCCESS), "channel.close after 7 s of silence");
  hang_up(c);
}

static void cleanup(const char *prefix) {
  connection c = dial(0, 1);
  char name[NAME_SIZE];
  for (int number = 1; number <= NAMES_MAX; number++) {
    made_name(name, prefix, "q", number);
    amqp_queue_delete(c, 1, text(name), 0, 0);
    rpc_ok(c, "queue.delete");
    made_name(name, prefix, "x", number);
    amqp_exchange_delete(c, 1, text(name), 0);
    rpc_ok(c, "exchange.delete");
  }
  hang_up(c);
}

int main(void) {
  static const struct scenario scenarios[] = {
      {"connect_and_properties", connect_and_properties},
      {"declare_and_get_counts", declare_and_get_counts},
      {"publish_consume_ack", publish_consume_ack},
      {"confirms", confirms},
      {"requeue_order_and_redelivered", requeue_order_and_redelivered},
      {"prefetch_round_robin", prefetch_round_robin},
      {"exchanges", exchanges},
      {"errors_close_channel_only", errors_close_channel_only},
      {"exclusive_and_auto_delete", exclusive_and_auto_delete},
      {"large_body", large_body},
      {"tx_commit_rollback", tx_commit_rollback},
      {"rpc_reply_queue", rpc_reply_queue},
      {"consumer_cancel_notification", consumer_cancel_notification},
      {"wrong_password_refused", wrong_password_refused},
      {"heartbeat_idle", heartbeat_idle},
  };
  return run_scenarios("rabbitmq-c", amqp_version(), scenarios, sizeof scenarios / sizeof *scenarios, cleanup);
}
