"""Visits as a list, with the receipts that belong to them."""
