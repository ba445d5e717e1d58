"""Texts of a till's export as numbers and instants: each gives None where the text is none."""

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

_DECIMAL = re.compile(r"([+-]?)(\d{1,15})(?:\.(\d{0,9}))?")
_SPACES = str.maketrans("", "", " \u00a0\u202f'")


def scaled(text: str, digits: int, decimal: str = ".", thousands: str = "") -> int | None:
    """A decimal text times 10^digits: `scaled("12,5", 2, ",")` is 1250. None where it is none or has more digits."""
    text = text.strip().translate(_SPACES)
    if thousands:
        text = text.replace(thousands, "")
    if decimal != ".":
        if "." in text:
            return None
        text = text.replace(decimal, ".")
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    sign, whole, part = match[1], match[2], (match[3] or "").rstrip("0")
    if len(part) > digits:
        return None
    value = int(whole + part.ljust(digits, "0"))
    return -value if sign == "-" else value


def scaled_number(value: float | Decimal | int, digits: int) -> int | None:
    """A number times 10^digits, to the nearest: 2.474 thousandths are 2474 also where a float says 2.4739999."""
    if not -1e15 < value < 1e15:  # also refuses what is not a number
        return None
    exact = Decimal(repr(value) if isinstance(value, float) else value)
    return int((exact * 10**digits).to_integral_value(ROUND_HALF_UP))


def local_us(wall: datetime, zone: ZoneInfo) -> int:
    """A till's wall clock in its store's zone as microseconds since 1970 UTC.

    In the hour that comes twice in autumn the first is meant; one that does not exist in spring is an hour later.
    """
    whole = wall.replace(tzinfo=zone) if wall.tzinfo is None else wall
    return (whole - datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))) // timedelta(microseconds=1)


def price_and_discount(qty: int, price: int, amount: int) -> int:
    """What was taken off a line that tells quantity, unit price and amount: may be negative, which is a mistake."""
    product = (abs(qty) * price + 500) // 1000
    return product - abs(amount)
