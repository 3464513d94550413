"""MQTT-SN 1.2: the gateway between motes and an MQTT broker, and the mote's side; decision 0195."""
