"""What must add up in a receipt, told by line."""

from cloud.errors import Problem
from cloud.receipts.models import Line, Receipt


def problems(receipt: Receipt, index: int, known_stores: frozenset[str]) -> list[Problem]:
    """Everything wrong in the receipt that stands at `index` of its batch; none if it may be stored."""
    where = f"receipts[{index}]"
    found = []
    if receipt.store not in known_stores:
        found.append(Problem(f"unknown store {receipt.store!r}", f"{where}.store"))
    numbers = [line.line_no for line in receipt.lines]
    for line in receipt.lines:
        if numbers.count(line.line_no) > 1:
            found.append(Problem(f"line number {line.line_no} stands twice", f"{where}.lines", line.line_no))
        if line.amount != amount(line):
            message = (
                f"amount is {line.amount}, {line.qty} thousandths × {line.unit_price} − {line.discount} make "
                f"{amount(line)} minor units (qty 1000 is one piece)"
            )
            found.append(Problem(message, f"{where}.lines.amount", line.line_no))
    total = sum(line.amount for line in receipt.lines)
    if receipt.total != total:
        found.append(Problem(f"total is {receipt.total}, the lines make {total}", f"{where}.total"))
    return found


def amount(line: Line) -> int:
    """qty × unit_price ÷ 1000 − discount in minor units, halves away from zero."""
    product = abs(line.qty) * line.unit_price
    rounded = (product + 500) // 1000
    return (rounded if line.qty >= 0 else -rounded) - (line.discount if line.qty >= 0 else -line.discount)
