"""What must hold in a receipt, told by field and line."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from typing import NamedTuple

from cloud.errors import Problem
from cloud.receipts.canonical import Line, Receipt

MAX_LINES = 2_000
"""A full trolley is 200 lines; what is longer is a day's journal that was taken for one receipt."""
FUTURE_US = 24 * 3600 * 1_000_000
"""A till's clock may be set to another zone. What is dated further ahead would earn and expire at the wrong time."""
MOST_MONEY = 10**15
"""Minor units; sums of many such still fit 64 bits."""
MAX_NAME = 100
YEAR_2100_US = 4_102_444_800_000_000
_CURRENCY = re.compile("[A-Z]{3}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Nothing that a till prints; a tabulator may stand in a name."""


class Known(NamedTuple):
    """What a store's receipts must agree with."""

    currency: str | None
    """Of its receipts so far; None before the first."""


def problems(receipt: Receipt, where: str, stores: Mapping[str, Known], now_us: int) -> list[Problem]:
    """Everything wrong in a receipt, its fields named as below `where`; none if it may be stored."""
    if len(receipt.lines) <= MAX_LINES and _lines_hold(receipt) and not _wrong(receipt, stores, now_us):
        return [Problem(message, f"{where}{field}") for field, message in _sums(receipt)] if receipt.lines else []
    found = [Problem(message, f"{where}{field}", line) for field, message, line in _wrong(receipt, stores, now_us)]
    if len(receipt.lines) > MAX_LINES:
        return [*found, Problem(f"{len(receipt.lines)} lines, at most {MAX_LINES}", f"{where}lines")]
    seen = set[int]()
    for line in receipt.lines:
        found += [Problem(m, f"{where}lines{'.' if f else ''}{f}", line.line_no) for f, m in _line(line, receipt.kind)]
        if line.line_no in seen:
            found.append(Problem(f"line number {line.line_no} stands twice", f"{where}lines", line.line_no))
        seen.add(line.line_no)
    if not found and receipt.lines:
        found += [Problem(message, f"{where}{field}") for field, message in _sums(receipt)]
    return found


def _lines_hold(receipt: Receipt) -> bool:
    """Whether `_line` would find nothing: one look at all of them, for files of millions."""
    lowest = 0 if receipt.kind == "sale" else -(10**9)
    highest = 0 if receipt.kind in ("return", "void") else 10**9
    texts, numbers = list[str](), set[int]()
    for line in receipt.lines:
        qty, price, off, total = line.qty, line.unit_price, line.discount, line.amount
        rounded = (qty * price + 500) // 1000 - off if qty >= 0 else off - (500 - qty * price) // 1000
        if rounded != total or not lowest <= qty <= highest or not 0 <= price <= MOST_MONEY or off < 0:
            return False
        if not -MOST_MONEY <= total <= MOST_MONEY or off > MOST_MONEY:
            return False
        texts += (line.sku, line.name, line.category)
        numbers.add(line.line_no)
    return len(numbers) == len(receipt.lines) and _CONTROL.search("".join(texts)) is None


def _wrong(receipt: Receipt, stores: Mapping[str, Known], now_us: int) -> list[tuple[str, str, int | None]]:
    found: list[tuple[str, str, int | None]] = []
    known = stores.get(receipt.store)
    if known is None:
        found.append(("store", f"unknown store {receipt.store!r}", None))
    elif known.currency not in (None, receipt.currency):
        found.append(("currency", f"{receipt.currency}, this store's receipts are in {known.currency}", None))
    if receipt.at_us > now_us + FUTURE_US:
        found.append(("at_us", "lies more than a day ahead", None))
    if not receipt.lines and receipt.kind != "void":
        found.append(("lines", "no lines", None))
    if receipt.kind == "void" and receipt.original is None:
        found.append(("original", "a void names the receipt that it undoes", None))
    if abs(receipt.total) > MOST_MONEY:
        found.append(("total", f"more than {MOST_MONEY} minor units", None))
    if not 0 < len(receipt.receipt_uid) <= MAX_NAME:
        found.append(("receipt_uid", f"has {len(receipt.receipt_uid)} characters, 1 to {MAX_NAME} are right", None))
    if not 0 < receipt.at_us < YEAR_2100_US:
        found.append(("at_us", "lies before 1970 or after 2100", None))
    if receipt.business_date is not None and not _is_date(receipt.business_date):
        found.append(("business_date", f"{receipt.business_date!r} is no date such as 2026-11-24", None))
    if not _CURRENCY.fullmatch(receipt.currency):
        found.append(("currency", f"{receipt.currency!r} is no code such as EUR", None))
    texts = {"receipt_uid": receipt.receipt_uid, "till": receipt.till, "cashier": receipt.cashier or ""}
    if receipt.member_ref:
        texts["member_ref"] = receipt.member_ref.value
    if receipt.original:
        texts["original"] = receipt.original.receipt_uid + receipt.original.store
    found += [(name, "holds a control character", None) for name, text in texts.items() if _CONTROL.search(text)]
    return found


def _line(line: Line, kind: str) -> list[tuple[str, str]]:
    found = []
    if line.qty < 0 and kind == "sale":
        found.append(("qty", f"{line.qty} in a sale; what is given back is a return"))
    if line.qty > 0 and kind in ("return", "void"):
        found.append(("qty", f"{line.qty} in a {kind}; what is given back is negative"))
    if line.amount != amount(line):
        message = (
            f"amount is {line.amount}, {line.qty} thousandths × {line.unit_price} − {line.discount} make "
            f"{amount(line)} minor units (qty 1000 is one piece)"
        )
        found.append(("amount", message))
    if line.unit_price < 0 or line.discount < 0:
        found.append(("unit_price" if line.unit_price < 0 else "discount", "is negative"))
    if max(abs(line.amount), line.unit_price, line.discount) > MOST_MONEY or abs(line.qty) > 10**9:
        found.append(("amount", "beyond what a till sells"))
    if _CONTROL.search(line.sku + line.name + line.category):
        found.append(("", "holds a control character"))
    return found


def _sums(receipt: Receipt) -> list[tuple[str, str]]:
    found = []
    lines, off = sum(line.amount for line in receipt.lines), sum(d.amount for d in receipt.discounts)
    if receipt.total != lines - off:
        less = f" less {off} of discounts" if receipt.discounts else ""
        found.append(("total", f"total is {receipt.total}, the lines{less} make {lines - off}"))
    paid = sum(tender.amount for tender in receipt.tenders)
    if receipt.tenders and paid != receipt.total:
        found.append(("tenders", f"{paid} was paid, the total is {receipt.total}"))
    return found


def _is_date(text: str) -> bool:
    with suppress(ValueError):
        return date.fromisoformat(text).isoformat() == text
    return False


def amount(line: Line) -> int:
    """qty × unit_price ÷ 1000 − discount in minor units, halves away from zero."""
    rounded = (abs(line.qty) * line.unit_price + 500) // 1000 - line.discount
    return rounded if line.qty >= 0 else -rounded
