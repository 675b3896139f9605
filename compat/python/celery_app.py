"""The Celery application: tasks that the worker processes of `celery_suite` run.

COMPAT_PREFIX goes into every name the application declares; COMPAT_BACKEND is where results go, `rpc://` or a folder.
"""

import os
import time

from celery import Celery
from celery.exceptions import Reject
from kombu import Exchange, Queue

prefix = os.environ["COMPAT_PREFIX"]
backend = os.environ["COMPAT_BACKEND"]

app = Celery("compat", broker=os.environ["AMQP_URL"], backend=backend)
app.conf.update(
    task_queues=[
        Queue(f"{prefix}.tasks", Exchange(f"{prefix}.tasks", "direct"), f"{prefix}.tasks"),
        # Consumed only while a scenario asks a worker to.
        Queue(f"{prefix}.special", Exchange(f"{prefix}.tasks", "direct"), f"{prefix}.special", queue_arguments={
            "x-max-priority": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{prefix}.dead"}),
    ],
    task_default_queue=f"{prefix}.tasks",
    control_exchange=f"{prefix}.control",
    event_exchange=f"{prefix}.events",
    event_queue_prefix=f"{prefix}.events",
    task_track_started=True,
    # Every process that sends a task declares a result queue, and those of the workers are never consumed: they go by x-expires.
    result_expires=60,
    worker_prefetch_multiplier=2,
    broker_connection_retry_on_startup=False,
    broker_pool_limit=4,
    broker_heartbeat=10,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(text):
    raise ValueError(text)


@app.task(bind=True, max_retries=5)
def succeed_on(self, attempt):
    """Asks to be tried again until it is the given attempt; tells how often it ran."""
    if self.request.retries + 1 < attempt:
        raise self.retry(countdown=0.1)
    return self.request.retries + 1


@app.task(acks_late=True, bind=True)
def late(self, x):
    return [x, self.request.delivery_info["redelivered"]]


@app.task
def reverse(text):
    return text[::-1]


@app.task
def started():
    return time.time()


@app.task(acks_late=True)
def refuse():
    raise Reject("on purpose", requeue=False)
