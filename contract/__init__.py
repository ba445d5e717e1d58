"""All that edge and cloud share: the messages that travel, their topics, their encoding, identity and time."""
