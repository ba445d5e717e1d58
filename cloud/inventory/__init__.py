"""Tagged things: where they are, what moved, and both as EPCIS events."""
