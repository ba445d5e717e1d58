"""How many people are in a store, estimated from counts of devices that name nobody."""
