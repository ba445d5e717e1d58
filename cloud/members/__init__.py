"""Members, their consents, devices and rotating tokens."""
