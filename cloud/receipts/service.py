"""Receipts into the store, each once: what contradicts is quarantined, what comes before its original is parked."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from cloud import db
from cloud.receipts.canonical import Discount, Found, Line, Receipt, digest
from cloud.receipts.check import Known, problems

sql = db.statements("cloud.receipts")

SEPARATOR, NONE = "\x1f", "\x1e"
"""Between the values of a column on its way to the database; no text of a checked receipt holds them."""
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
Key = tuple[str, str]
"""Store and receipt_uid: a receipt's name in its tenant."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a receipt was not taken: a word to group by, the field, and a sentence."""

    reason: str
    field: str | None
    detail: str


@dataclass(slots=True)
class Taken:
    """What became of receipts that came."""

    stored: int = 0
    duplicates: int = 0
    parked: int = 0
    """They wait for the sale that they take back."""
    quarantined: int = 0
    new: list[tuple[int, Receipt]] = field(default_factory=list)
    """Those stored, with their receipt_id, also those that had been parked."""
    why: dict[int, Why] = field(default_factory=dict)
    """By place in what came: why it was not stored. A duplicate is not in it."""


def known_stores(conn: Connection[TupleRow], tenant: str, stores: Iterable[str]) -> dict[str, Known]:
    """What receipts of these stores must agree with; an unknown store is left out."""
    asked = [name for name in set(stores) if "\x00" not in name]
    rows = conn.execute(sql.known_stores, {"tenant": tenant, "stores": asked})
    return {store: Known(currency) for store, currency in rows}


def take(
    conn: Connection[TupleRow], tenant: str, found: Sequence[Found], source: str, stores: dict[str, Known], now_us: int
) -> Taken:
    """Store what holds together, quarantine the rest. One transaction, opened by the caller."""
    good, bad = list[int](), dict[int, Why]()
    for place, one in enumerate(found):
        if one.receipt is None:
            bad[place] = Why("unreadable", one.field or None, one.problem)
        elif wrong := problems(one.receipt, "", stores, now_us):
            bad[place] = Why((wrong[0].field or "lines").split(".")[0], wrong[0].field, _told(wrong))
        else:
            good.append(place)
    taken = store(conn, tenant, [found[place] for place in good], source)
    taken.why = {good[place]: why for place, why in taken.why.items()} | bad
    _quarantine(conn, tenant, source, {place: (found[place], why) for place, why in bad.items()})
    taken.quarantined += len(bad)
    return taken


def store(conn: Connection[TupleRow], tenant: str, found: Sequence[Found], source: str) -> Taken:
    """Store receipts that were checked. One transaction, opened by the caller.

    The same content again is a duplicate; another content under the same name is quarantined.
    """
    taken = Taken()
    first = dict[Key, tuple[int, bytes]]()
    refused = dict[int, Why]()
    for place, one in enumerate(found):
        receipt = _given(one)
        name, content = _key(receipt), digest(receipt)
        before = first.setdefault(name, (place, content))
        if before[0] != place:
            _again(taken, refused, place, same=before[1] == content)
    fresh = {place: _given(found[place]) for place, _ in first.values()}
    waiting = {place: receipt for place, receipt in fresh.items() if receipt.original is not None}
    absent = _originals(waiting.values()) - first.keys()
    absent -= _stored(conn, tenant, absent).keys()
    conn.execute(sql.park_originals if absent else sql.share_originals, {"tenant": tenant})
    digests = dict(first.values())

    ready = {place: receipt for place, receipt in fresh.items() if receipt.original is None}
    while True:
        _put(conn, tenant, ready, digests, taken, refused)
        there = _stored(conn, tenant, _originals(waiting.values())).keys() if waiting else set[Key]()
        ready = {place: receipt for place, receipt in waiting.items() if _original(receipt) in there}
        if not ready:
            break
        waiting = {place: receipt for place, receipt in waiting.items() if place not in ready}

    parked = {
        place: Why("original", "original", f"waits for receipt {_original(r)[1]!r}") for place, r in waiting.items()
    }
    _quarantine(conn, tenant, source, {place: (found[place], why) for place, why in parked.items()}, "parked")
    _quarantine(conn, tenant, source, {place: (found[place], why) for place, why in refused.items()})
    taken.parked += len(parked)
    taken.quarantined += len(refused)
    taken.why |= parked | refused
    _unpark(conn, tenant, taken)
    return taken


def retry(
    conn: Connection[TupleRow], tenant: str, now_us: int, ids: list[int] | None = None, mended: Receipt | None = None
) -> Taken:
    """Offer quarantined receipts once more; nothing is stored twice. One transaction, opened by the caller.

    `mended` stands in for the payload of the one row in `ids`. What is refused again keeps its row and gets the new
    reason.
    """
    total, after = Taken(), 0
    while rows := conn.execute(sql.to_retry, {"tenant": tenant, "ids": ids, "after": after}).fetchall():
        for quarantine_id, source, line, payload in rows:
            receipt = mended or _of_payload(payload)
            if receipt is None:
                total.quarantined += 1
                continue
            stores = known_stores(conn, tenant, [receipt.store])
            outcome = _offer(conn, tenant, Found(line or 0, receipt), source, stores, now_us)
            _settle(conn, tenant, quarantine_id, outcome)
            _add(total, outcome)
        after = rows[-1][0]
    return total


def discard(conn: Connection[TupleRow], tenant: str, quarantine_id: int, by: str) -> None:
    """Staff say that it will not be stored; the row stays."""
    values = {"tenant": tenant, "quarantine_id": quarantine_id, "state": "discarded", "reason": "discarded"}
    conn.execute(sql.settle, values | {"field": None, "detail": f"discarded by {by}"})


def _offer(
    conn: Connection[TupleRow], tenant: str, one: Found, source: str, stores: dict[str, Known], now_us: int
) -> Taken:
    """One receipt of the quarantine: its row stands already, so nothing of it is quarantined anew."""
    receipt = _given(one)
    if wrong := problems(receipt, "", stores, now_us):
        why = Why((wrong[0].field or "lines").split(".")[0], wrong[0].field, _told(wrong))
        return Taken(quarantined=1, why={0: why})
    return store(conn, tenant, [one], source)


def _settle(conn: Connection[TupleRow], tenant: str, quarantine_id: int, outcome: Taken) -> None:
    why = outcome.why.get(0, Why("stored", None, "stored"))
    state = "stored" if 0 not in outcome.why else "parked" if outcome.parked else "refused"
    values = {"tenant": tenant, "quarantine_id": quarantine_id, "state": state, "reason": why.reason}
    conn.execute(sql.settle, values | {"field": why.field, "detail": why.detail})


def _add(total: Taken, more: Taken) -> None:
    total.stored += more.stored
    total.duplicates += more.duplicates
    total.parked += more.parked
    total.quarantined += more.quarantined
    total.new += more.new


def _put(
    conn: Connection[TupleRow],
    tenant: str,
    ready: dict[int, Receipt],
    digests: dict[int, bytes],
    taken: Taken,
    refused: dict[int, Why],
) -> None:
    """Insert receipts whose originals are there; what is not new is told apart by its digest."""
    if not ready:
        return
    ready = _with_lines_of_originals(conn, tenant, ready)
    rows = conn.execute(sql.put_receipts, _heads(ready, digests) | {"tenant": tenant})
    ids = {(store, uid): receipt_id for store, uid, receipt_id in rows}
    new = [(ids[name], receipt) for receipt in ready.values() if (name := _key(receipt)) in ids]
    if new:
        conn.execute(sql.put_lines, _lines(new) | {"tenant": tenant})
    for receipt_id, receipt in new:
        if receipt.coupon_codes and receipt.kind == "sale":
            values = {"tenant": tenant, "receipt": receipt_id, "codes": list(receipt.coupon_codes)}
            conn.execute(sql.use_coupons, values | {"at_us": receipt.at_us})
    taken.stored += len(new)
    taken.new += new
    if len(new) < len(ready):
        old = {place: receipt for place, receipt in ready.items() if _key(receipt) not in ids}
        there = _stored(conn, tenant, {_key(receipt) for receipt in old.values()})
        for place, receipt in old.items():
            if _key(receipt) in there:
                content = there[_key(receipt)]
                _again(taken, refused, place, same=content is None or content == digests[place])
            else:
                refused[place] = Why("original", "original", "that receipt was undone already")


def _with_lines_of_originals(conn: Connection[TupleRow], tenant: str, ready: dict[int, Receipt]) -> dict[int, Receipt]:
    """A void that names no lines gets those of its original, taken back."""
    bare = {place: receipt for place, receipt in ready.items() if not receipt.lines}
    if not bare:
        return ready
    named = sorted(_originals(bare.values()))
    rows = conn.execute(sql.original_lines, {"tenant": tenant} | _columns(named)).fetchall()
    filled = dict(ready)
    for place, receipt in bare.items():
        mine = [row for row in rows if (row[0], row[1]) == _original(receipt)]
        lines = tuple(Line(no, sku, name, category, -qty, price, off, -amount)
                      for _, _, _, _, _, no, sku, name, category, qty, price, off, amount in mine)  # fmt: skip
        if mine:
            back = tuple(Discount(-d["amount"], d["reason"]) for d in mine[0][4])
            changes: dict[str, Any] = {"total": -mine[0][2], "currency": mine[0][3], "discounts": back}
            filled[place] = msgspec.structs.replace(receipt, lines=lines, **changes)
    return filled


def _unpark(conn: Connection[TupleRow], tenant: str, taken: Taken) -> None:
    """What waited for one of the receipts just stored is stored too."""
    if not taken.new:
        return
    rows = conn.execute(
        sql.parked_for, {"tenant": tenant} | _columns([_key(receipt) for _, receipt in taken.new])
    ).fetchall()
    for quarantine_id, source, line, payload in rows:
        receipt = _of_payload(payload)
        if receipt is not None:
            outcome = store(conn, tenant, [Found(line or 0, receipt)], source)
            _settle(conn, tenant, quarantine_id, outcome)
            taken.stored += outcome.stored
            taken.new += outcome.new


def _quarantine(
    conn: Connection[TupleRow], tenant: str, source: str, which: dict[int, tuple[Found, Why]], state: str = "refused"
) -> None:
    rows = list[dict[str, object]]()
    for one, why in which.values():
        receipt = one.receipt
        payload = _payload(receipt) if receipt else _raw(one.raw)
        # The same text may stand in two lines of a file, and is then two receipts; a receipt's name is its own.
        content = payload if receipt else b"%s\0%d\0%s" % (source.encode("utf-8", "replace"), one.line, payload)
        original = receipt.original if receipt and state == "parked" else None
        values: dict[str, object] = {
            "tenant": tenant,
            "source": _clean(source),
            "line": one.line or None,
            "state": state,
        }
        values |= {"store": _clean(receipt.store if receipt else one.store) or None, "payload": payload.decode()}
        values |= {"receipt_uid": _clean(receipt.receipt_uid) if receipt else None}
        values |= {"reason": why.reason, "field": why.field, "detail": _clean(why.detail)}
        values |= {"digest": hashlib.sha256(content).digest()}
        values |= {"original_store": original.store if original else None}
        values |= {"original_uid": original.receipt_uid if original else None}
        rows.append(values)
    if rows:
        with conn.cursor() as cursor:
            cursor.executemany(sql.put_quarantined, rows)


def _again(taken: Taken, refused: dict[int, Why], place: int, *, same: bool) -> None:
    if same:
        taken.duplicates += 1
    else:
        refused[place] = Why("contradicts", "receipt_uid", "another receipt is stored under this name")


def _stored(conn: Connection[TupleRow], tenant: str, names: Iterable[Key]) -> dict[Key, bytes | None]:
    """Which of these receipts there are, with the digest of each."""
    asked = list(names)
    if not asked:
        return {}
    rows = conn.execute(sql.digests, {"tenant": tenant} | _columns(asked))
    return {(store, uid): None if content is None else bytes(content) for store, uid, content in rows}


def _columns(names: Sequence[Key]) -> dict[str, object]:
    return {"stores": [store for store, _ in names], "uids": [uid for _, uid in names]}


def _heads(ready: dict[int, Receipt], digests: dict[int, bytes]) -> dict[str, str]:
    receipts = ready.values()

    def texts(values: Iterable[str]) -> str:
        return SEPARATOR.join(values)

    def optional(values: Iterable[str | None]) -> str:
        return SEPARATOR.join(NONE if value is None else value for value in values)

    return {
        "receipt_uid": texts(r.receipt_uid for r in receipts),
        "store": texts(r.store for r in receipts),
        "till": texts(r.till for r in receipts),
        "at_us": _numbers(r.at_us for r in receipts),
        "kind": texts(r.kind for r in receipts),
        "currency": texts(r.currency for r in receipts),
        "total": _numbers(r.total for r in receipts),
        "discount": _numbers(sum(d.amount for d in r.discounts) for r in receipts),
        "cashier": optional(r.cashier for r in receipts),
        "business_date": optional(r.business_date for r in receipts),
        "original_store": optional(r.original.store if r.original else None for r in receipts),
        "original_uid": optional(r.original.receipt_uid if r.original else None for r in receipts),
        "ref_kind": optional(r.member_ref.kind if r.member_ref else None for r in receipts),
        "ref_value": optional(r.member_ref.value if r.member_ref else None for r in receipts),
        "discounts": texts(_json(r.discounts) for r in receipts),
        "tenders": texts(_json(r.tenders) for r in receipts),
        "coupon_codes": texts(_json(r.coupon_codes) for r in receipts),
        "source": texts(r.source for r in receipts),
        "digest": texts(digests[place].hex() for place in ready),
    }


def _lines(new: list[tuple[int, Receipt]]) -> dict[str, str]:
    lines = [line for _, receipt in new for line in receipt.lines]
    return {
        "receipt_id": _numbers(receipt_id for receipt_id, receipt in new for _ in receipt.lines),
        "line_no": _numbers(line.line_no for line in lines),
        "sku": SEPARATOR.join([line.sku for line in lines]),
        "name": SEPARATOR.join([line.name for line in lines]),
        "category": SEPARATOR.join([line.category for line in lines]),
        "qty": _numbers(line.qty for line in lines),
        "unit_price": _numbers(line.unit_price for line in lines),
        "discount": _numbers(line.discount for line in lines),
        "amount": _numbers(line.amount for line in lines),
    }


def _numbers(values: Iterable[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _json(values: tuple[object, ...]) -> str:
    return msgspec.json.encode(values).decode() if values else "[]"


def _payload(receipt: Receipt) -> bytes:
    """The receipt as JSON that the database can hold."""
    try:
        text = msgspec.json.encode(receipt)
    except UnicodeEncodeError:  # half a character
        text = json.dumps(msgspec.to_builtins(receipt), ensure_ascii=False).encode("utf-8", "replace")
    return _NUL.sub(rb"\1\\ufffd", text)


def _raw(text: str) -> bytes:
    return json.dumps({"raw": _clean(text)}).encode()


def _clean(text: str) -> str:
    """What the database cannot hold is replaced: a NUL, half a character."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _of_payload(payload: object) -> Receipt | None:
    try:
        return msgspec.convert(payload, Receipt)
    except msgspec.ValidationError:
        return None


def _told(wrong: Sequence[Any]) -> str:
    told = "; ".join(f"{p.field}{f' (line {p.line})' if p.line else ''}: {p.message}" for p in wrong[:3])
    return told + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _given(one: Found) -> Receipt:
    assert one.receipt is not None, "only readable receipts are stored"
    return one.receipt


def _key(receipt: Receipt) -> Key:
    return receipt.store, receipt.receipt_uid


def _original(receipt: Receipt) -> Key:
    original = receipt.original
    return (original.store, original.receipt_uid) if original else ("", "")


def _originals(receipts: Iterable[Receipt]) -> set[Key]:
    return {_original(receipt) for receipt in receipts}
