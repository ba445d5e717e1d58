"""Frames as they are on the air: pure, total parsers. Any bytes give a value or None, never an error."""
