"""From a trigger to a decision: the contact gate and what passes it."""
