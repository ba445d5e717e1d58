"""Accuracy measured on recordings: one module an `./aisle eval` name."""
