"""Numbered SQL files, applied in order, once, each in its transaction. An applied file is never edited."""
