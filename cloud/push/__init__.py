"""What was decided, on the member's screen: the inbox and its live stream."""
