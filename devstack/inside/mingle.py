"""Lets a starting Celery worker wait for its neighbours' answers no longer than there are neighbours.

`boot` runs this file when the program has imported `celery.worker.consumer.mingle`. There a worker asks all others for the ids of revoked
tasks, and waits a whole second, as it cannot know how many there are. Redis can tell: PUBLISH returns how many listen. So what is
revoked stays revoked over a reload, and the second is saved. Other brokers, and whatever is not as expected: Celery's own way.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 0.5
"""Seconds for all answers. They come within milliseconds; who cannot answer (solo, in a task) mostly cannot within a second either."""


def attach(channel: object, mingle: "Any") -> None:
    send_hello = mingle.Mingle.send_hello

    def send_brief_hello(self: "Any", consumer: "Any") -> "Any":
        control = consumer.app.control
        try:
            neighbours = listeners(consumer)
        except Exception:
            return send_hello(self, consumer)
        if not neighbours:
            return {}
        inspect = control.inspect
        control.inspect = lambda **named: inspect(**dict(named, timeout=PATIENCE, limit=neighbours))
        try:
            return send_hello(self, consumer)
        finally:
            control.inspect = inspect

    mingle.Mingle.send_hello = send_brief_hello


def listeners(consumer: "Any") -> int:
    """How many workers listen to control commands. Receivers drop an empty message unseen (kombu's `_receive_one`)."""
    channel = consumer.connection.default_channel  # Of a broker that is no Redis: it has no such methods.
    topic = channel._get_publish_topic(consumer.app.control.mailbox.exchange.name, "")
    with channel.conn_or_acquire() as client:
        return int(client.publish(topic, ""))
