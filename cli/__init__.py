"""The `./aisle` commands, one module a family. They import the product; the product never imports them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
