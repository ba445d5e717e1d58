"""From MQTT to the database: exactly once, at the speed of COPY."""
