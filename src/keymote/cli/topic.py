"""`keymote topic`: keys of MQTT topics, which no broker has.

What is done at the coordinator stands in `topic_coordinator` and `topic_looks`, at a device in `topic_device`.
"""

import typer

from keymote.cli import topic_coordinator, topic_device, topic_looks

app = typer.Typer(
    help="Keys of MQTT topics, which no broker has: who may publish and read, and when it was safe again."
)
app.command()(topic_coordinator.create)
app.command()(topic_coordinator.grant)
app.command()(topic_coordinator.revoke)
app.command()(topic_coordinator.rotate)
app.command("list")(topic_looks.list_topics)
app.command("show")(topic_looks.show_topic)
app.command("clients")(topic_looks.list_clients)
app.command()(topic_coordinator.close)
app.command()(topic_device.publish)
app.command()(topic_device.subscribe)
app.command()(topic_device.tail)
