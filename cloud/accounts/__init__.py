"""Staff sign-in, sessions and machines' keys."""
