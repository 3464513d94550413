"""MQTT: readings protected end to end, over the client libraries that people use."""
