"""Receipts in, checked to the last line, and joined to the visit in which they were paid."""
