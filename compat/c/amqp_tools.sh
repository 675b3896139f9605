#!/usr/bin/env bash
# What rabbitmq-c's command line tools can express of the scenarios; see python/harness.py for the lines printed.
# Scenarios are called by name:
# shellcheck disable=SC2317
set -uo pipefail

prefix="compat.amqp-tools.$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
queues=0

# A fresh queue name in $queue, deleted at the end.
new_queue() {
  queues=$((queues + 1))
  queue="$prefix.q$queues"
}

# Runs a tool against the broker, at most 20 s.
tool() { timeout 20 "$1" --url="$AMQP_URL" "${@:2}"; }

# Ends the scenario, or a part of it in a subshell; the first reason counts.
fail() {
  [ -s "$work/reason" ] || echo "$*" >"$work/reason"
  exit 1
}

equal() { [ "$1" = "$2" ] || fail "$3: expected '$2', got '$1'"; }

declare_and_get_counts() {
  equal "$(tool amqp-declare-queue --durable -q "$queue")" "$queue" "declare-ok"
  tool amqp-get -q "$queue"
  equal $? 2 "exit code of get-empty"
  printf '0\n1\n2\n' | tool amqp-publish -l -r "$queue" || fail "publish"
  equal "$(tool amqp-get -q "$queue")" 0 "the first message"
  equal "$(tool amqp-delete-queue -q "$queue")" 2 "delete-ok"
}

publish_consume_ack() {
  tool amqp-declare-queue --durable -q "$queue" >/dev/null || fail "declare"
  seq 1000 | tool amqp-publish --persistent -l -r "$queue" || fail "publish"
  tool amqp-consume -q "$queue" -p 100 -c 1000 cat >"$work/received" || fail "consume"
  cmp -s <(seq 1000) "$work/received" || fail "1,000 lines in order"
  equal "$(tool amqp-delete-queue -q "$queue")" 0 "all are acked"
}

requeue_order_and_redelivered() {
  tool amqp-declare-queue --durable -q "$queue" >/dev/null || fail "declare"
  printf '0\n1\n2\n' | tool amqp-publish -l -r "$queue" || fail "publish"
  # A command that fails leaves its message unacked; it comes back when the tool's connection ends.
  tool amqp-consume -q "$queue" -p 1 -c 1 false
  equal "$(tool amqp-consume -q "$queue" -p 1 -c 3 cat | tr '\n' ' ')" "0 1 2 " "the unacked message is back in its place"
}

# Through an exchange: what `consume` gets from a queue bound with $2, while $3 and then $4 are published as keys.
through() {
  timeout 20 amqp-consume --url="$AMQP_URL" -q "$queue.$1" -x -e "$1" -r "$2" -c 1 cat >"$work/out" 2>"$work/log" &
  local consumer=$!
  # The queue is bound some time after the tool starts; it ends with its first message.
  while kill -0 "$consumer" 2>/dev/null; do
    tool amqp-publish -e "$1" -r "$3" -b "$3"
    tool amqp-publish -e "$1" -r "$4" -b "$4"
  done
  wait "$consumer" || fail "$1: $(tr '\n' ' ' <"$work/log")"
  cat "$work/out"
}

exchanges() {
  equal "$(through amq.direct "$queue" "$queue.x" "$queue")" "$queue" "direct"
  equal "$(through amq.topic "$queue.*.end" "$queue.end" "$queue.b.end")" "$queue.b.end" "topic"
  equal "$(through amq.fanout bound any any)" any "fanout"
}

large_body() {
  tool amqp-declare-queue --durable -q "$queue" >/dev/null || fail "declare"
  head -c $((5 * 1024 * 1024)) /dev/urandom >"$work/body"
  tool amqp-publish -r "$queue" <"$work/body" || fail "publish"
  tool amqp-get -q "$queue" >"$work/got" || fail "get"
  cmp -s "$work/body" "$work/got" || fail "got equals published"
}

wrong_password_refused() {
  local url text
  url=$(sed -E 's#//([^:@]*):[^@]*@#//\1:not-the-password@#' <<<"$AMQP_URL")
  text=$(timeout 20 amqp-get --url="$url" -q "$queue" 2>&1) && fail "a wrong password is refused"
  equal "$text" "logging in to AMQP server: server connection error 403, message: ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile." "text"
}

has() { case " $1 " in *" $2 "*) ;; *) return 1 ;; esac; }

# COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them.
chosen=()
for name in declare_and_get_counts publish_consume_ack requeue_order_and_redelivered exchanges large_body wrong_password_refused; do
  { [ -z "${COMPAT_ONLY:-}" ] || has "$COMPAT_ONLY" "$name"; } && ! has "${COMPAT_SKIP:-}" "$name" && chosen+=("$name")
done

echo "client amqp-tools $(dpkg-query -W -f='${Version}' amqp-tools 2>/dev/null || echo unknown)"
echo "plan ${chosen[*]}"
code=0
for name in "${chosen[@]}"; do
  new_queue
  : >"$work/reason"
  start=$EPOCHREALTIME
  ("$name")
  [ -s "$work/reason" ] && verdict=FAIL code=1 || verdict=ok
  echo "$verdict $name $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }') $(tr '\n' ' ' <"$work/reason")"
  tool amqp-delete-queue -q "$queue" >/dev/null || code=1
done
exit "$code"
