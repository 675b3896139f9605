#!/bin/sh
# What the image starts: the broker, or the command given.
set -eu

# What the broker keeps is for no other user.
umask 0027

# Nothing, or options alone, are for the broker: docker run lepus --heartbeat 30
case "${1-}" in
    '' | -*) set -- rabbitmq-server "$@" ;;
esac

# Engines start it as root and make the directories of volumes as root; the broker is to be neither. What has another owner
# and keeps it, such as a mounted secret, is no concern of the broker's: it says itself what it cannot use.
if [ "$1" = rabbitmq-server ] && [ "$(id -u)" = 0 ]; then
    find /var/lib/rabbitmq ! -user rabbitmq -exec chown rabbitmq:rabbitmq {} + || true
    exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups -- "$@"
fi

exec "$@"
