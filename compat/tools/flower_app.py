"""The Celery application that Flower looks at. COMPAT_QUEUE goes into every name that it declares."""

import os

from celery import Celery
from kombu import Queue

name = os.environ["COMPAT_QUEUE"]

app = Celery("compat", broker=os.environ["AMQP_URL"])
app.conf.update(
    task_queues=[Queue(name, auto_delete=True)],
    task_default_queue=name,
    control_exchange=f"{name}.control",
    event_exchange=f"{name}.events",
    event_queue_prefix=f"{name}.events",
    worker_cancel_long_running_tasks_on_connection_loss=True,
)
