"""ARTS/NRF POSLog XML (OMG Retail, namespace http://www.nrf-arts.org/IXRetail/namespace/), streamed.

Elements are known by their local names, so vendors' namespaces and additions are passed over. One transaction is held
at a time. A document type is refused before anything of it is read: no entity is ever defined, so none can fetch a file
or grow.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from cloud.errors import Invalid
from cloud.receipts.canonical import Discount, Found, Kind, Line, MemberRef, Original, Receipt, Tender
from cloud.receipts.formats.mapping import zone_of
from cloud.receipts.formats.table import Place
from cloud.receipts.formats.values import local_us, price_and_discount, scaled, scaled_number

CHUNK = 65_536
MOST_ELEMENTS = 400_000
"""In one transaction: 10,000 lines of forty elements. More is no receipt."""
MOST_DEPTH = 100


class NotPosLog(Invalid):
    """The file is no POSLog that may be read."""


def read(stream: BinaryIO, place: Place) -> Iterator[Found]:
    """Receipts of a POSLog; `line` is where the transaction begins. Raises NotPosLog, also for a document type."""
    target = _Transactions()
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    target.line = lambda: parser.parser.CurrentLineNumber
    try:
        while chunk := stream.read(CHUNK):
            parser.feed(chunk)
            yield from _found(target, place)
        parser.close()
    except DefusedXmlException as error:
        raise NotPosLog(f"line {target.line()}: a document type or entity is refused: {error!r}"[:300]) from None
    except (ParseError, ValueError, LookupError) as error:
        raise NotPosLog(f"line {target.line()}: {error}"[:300]) from None
    yield from _found(target, place)


class _Transactions:
    """Builds each Transaction as a tree of local names and lets go of everything else."""

    def __init__(self) -> None:
        self.done: list[tuple[int, Element]] = []
        self.line: Any = lambda: 1
        self._builder: TreeBuilder | None = None
        self._depth = self._outer = self._elements = self._began = 0

    def start(self, tag: str, attrs: dict[str, str]) -> None:
        name = _local(tag)
        if self._builder is None:
            self._outer += 1
            if name != "Transaction":
                return
            self._outer -= 1
            self._builder, self._depth, self._elements, self._began = TreeBuilder(), 0, 0, self.line()
        self._depth += 1
        self._elements += 1
        if self._elements > MOST_ELEMENTS or self._depth > MOST_DEPTH:
            raise ValueError("a transaction of more elements than a receipt has")
        self._builder.start(name, {_local(key): value for key, value in attrs.items()})

    def end(self, tag: str) -> None:
        if self._builder is None:
            return
        self._builder.end(_local(tag))
        self._depth -= 1
        if self._depth == 0:
            self.done.append((self._began, self._builder.close()))
            self._builder = None

    def data(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)

    def close(self) -> None:
        """The document has ended."""


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


class _Wrong(Exception):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def _found(target: _Transactions, place: Place) -> Iterator[Found]:
    done, target.done = target.done, []
    for line, transaction in done:
        retail = transaction.find("RetailTransaction")
        if retail is None or _is_true(transaction.get("CancelFlag")) or _is_true(transaction.get("TrainingModeFlag")):
            continue  # a till opened, a drawer counted, a sale broken off: nothing was bought
        try:
            yield Found(line, _receipt(transaction, retail, place))
        except _Wrong as wrong:
            yield Found(line, None, wrong.field, str(wrong), _raw(transaction))


def _receipt(transaction: Element, retail: Element, place: Place) -> Receipt:
    store = _text(transaction, "RetailStoreID")
    if place.store and store and store != place.store:
        raise _Wrong("RetailStoreID", f"{store!r}, the file is of {place.store!r}")
    store = store or place.store
    till, number = _text(transaction, "WorkstationID"), _text(transaction, "SequenceNumber")
    if not till or not number:
        raise _Wrong("SequenceNumber" if till else "WorkstationID", "is missing")
    day = _day(_text(transaction, "BusinessDayDate"))
    undone = retail.get("TransactionType") == "PostVoid" or transaction.get("TransactionType") == "PostVoid"
    link = retail.find("TransactionLink")
    lines, discounts, tenders = list[Line](), list[Discount](), list[Tender]()
    original = _original(link, place, store, day) if link is not None else None
    kinds = set[str]()
    for item in retail.findall("LineItem"):
        if _is_true(item.get("VoidFlag")):
            continue
        for element in item:
            match element.tag:
                case "Sale" | "Return":
                    back = -1 if element.tag == "Return" or undone else 1
                    kinds.add(element.tag)
                    lines.append(_line(len(lines) + 1, element, back))
                    inner = element.find("TransactionLink")
                    original = original or (_original(inner, place, store, day) if inner is not None else None)
                case "Tender":
                    back = -1 if element.get("TypeCode") in ("Refund", "Change") else 1
                    amount = _money(element, "Amount") * back
                    tenders.append(Tender((element.get("TenderType") or "other").lower()[:50], amount))
                    tenders += [Tender("change", -_money(c, "Amount")) for c in element.findall("TenderChange")]
                case "Discount":
                    discounts.append(Discount(_money(element, "Amount"), _text(element, "ReasonCode")[:300]))
    if len(kinds) > 1:
        raise _Wrong("LineItem", "sold and taken back in one transaction; such exchanges are not read yet")
    kind: Kind = "void" if undone else "return" if kinds == {"Return"} else "sale"
    if kind != "sale":
        discounts = [Discount(-abs(d.amount), d.reason) for d in discounts]
        tenders = [Tender(t.kind, -abs(t.amount)) for t in tenders]
    net = sum(line.amount for line in lines) - sum(d.amount for d in discounts)
    total = _total(retail)
    if total is not None and kind != "sale":
        total = -abs(total)
    member = next((text for name in ("CustomerAccountID", "LoyaltyAccountID", "LoyaltyID", "CustomerID")
                   if (text := _anywhere(retail, name))), "")  # fmt: skip
    return Receipt(
        receipt_uid=_uid(till, day, number),
        store=store,
        till=till,
        at_us=_at(_text(transaction, "BeginDateTime") or _text(transaction, "POSLogDateTime"), place),
        kind=kind,
        currency=_text(transaction, "CurrencyCode") or place.currency or "",
        total=net if total is None else total,
        lines=tuple(lines),
        cashier=_text(transaction, "OperatorID") or None,
        business_date=day,
        original=original,
        member_ref=MemberRef("card", member) if member else None,
        discounts=tuple(discounts),
        tenders=tuple(tenders),
        source=place.source,
    )


def _line(no: int, item: Element, back: int) -> Line:
    quantity = _text(item, "Quantity") or "1"
    qty = scaled(quantity, 3)
    if qty is None:
        raise _Wrong("Quantity", f"line {no}: {quantity[:40]!r} is no quantity of at most three decimals")
    qty = abs(qty)
    amount = abs(_money(item, "ExtendedAmount", no))
    price = _text(item, "ActualSalesUnitPrice") or _text(item, "RegularSalesUnitPrice")
    unit = _money(item, "ActualSalesUnitPrice" if item.find("ActualSalesUnitPrice") is not None else
                  "RegularSalesUnitPrice", no) if price else -(-amount * 1000 // qty) if qty else amount  # fmt: skip
    name = _text(item, "Description") or _text(item, "ItemDescription")
    sku = _text(item, "ItemID") or _anywhere(item, "POSItemID")
    category = " > ".join(h.text.strip() for h in item.findall("MerchandiseHierarchy") if h.text and h.text.strip())
    discount = price_and_discount(qty, unit, amount)
    return Line(no, sku, name, category, qty * back, unit, discount, amount * back)


def _original(link: Element, place: Place, store: str, day: str | None) -> Original:
    """The transaction that a link names; what the link leaves out is this transaction's own."""
    till, number = _text(link, "WorkstationID"), _text(link, "SequenceNumber")
    if not till or not number:
        raise _Wrong("TransactionLink", "names no workstation and sequence number")
    return Original(
        _uid(till, _day(_text(link, "BusinessDayDate")) or day, number), _text(link, "RetailStoreID") or store
    )


def _uid(till: str, day: str | None, number: str) -> str:
    """Sequence numbers begin anew: a till's number is unique on its business day."""
    return f"{till}-{day or 'undated'}-{number}"


def _total(retail: Element) -> int | None:
    """The grand total that the till says; None if it says none."""
    for wanted in ("TransactionGrandAmount", "TransactionNetAmount"):
        for total in retail.findall("Total"):
            if total.get("TotalType") == wanted:
                return _decimal(total.text, "Total")
    return None


def _money(parent: Element, name: str, line: int | None = None) -> int:
    child = parent.find(name)
    where = f"line {line}: " if line else ""
    if child is None:
        raise _Wrong(name, f"{where}is missing")
    return _decimal(child.text, name, where)


def _decimal(text: str | None, name: str, where: str = "") -> int:
    told = (text or "").strip()
    try:
        amount = scaled_number(Decimal(told), 2) if re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{0,9})?", told) else None
    except InvalidOperation:
        amount = None
    if amount is None:
        raise _Wrong(name, f"{where}{told[:40]!r} is no amount of money")
    return amount


def _day(text: str) -> str | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        raise _Wrong("BusinessDayDate", f"{text[:40]!r} is no date") from None


def _at(text: str, place: Place) -> int:
    """With a zone in the text, else the store's wall clock."""
    try:
        return local_us(datetime.fromisoformat(text), zone_of(place.zone))
    except (ValueError, OverflowError):
        raise _Wrong("BeginDateTime", f"{text[:40]!r} is no time") from None


def _text(parent: Element, name: str) -> str:
    return (parent.findtext(name) or "").strip()


def _anywhere(parent: Element, name: str) -> str:
    found = parent.find(f".//{name}")
    return (found.text or "").strip() if found is not None else ""


def _is_true(text: str | None) -> bool:
    return text in ("true", "1")


def _raw(transaction: Element) -> str:
    from xml.etree.ElementTree import tostring

    return tostring(transaction, "unicode")[:100_000]
