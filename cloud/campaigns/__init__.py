"""Segments, offers and campaigns as the marketer states them, and their results."""
