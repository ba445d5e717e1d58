"""Changes inputs by what they mean: a value of a JSON, msgpack or TOML document becomes another one.

Single bytes changed at random make no document most of the time, and then the parser behind it is never reached.
"""

import copy
import json
import random
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edge.desired import to_toml

Tree = Any
"""A document as its reader gives it: dictionaries, lists and scalars of any kind."""

NUMBERS = (
    0,
    1,
    -1,
    127,
    -128,
    65_536,
    2**31,
    2**53,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e308,
    5e17,
)
TEXTS = (
    *("", "-", "--5", "-1", "1e999", "nan", "inf", "0x1", "1_0", " 1", "٣", "\0", "a\n", "/", "..", "#", "+", "{}"),
    *("\u2028", "\ud800", "x" * 300, "9" * 5_000, "aa:bb:cc:dd:ee:ff", "0123456789abcdef", "AAAA", "127.0.0.1:1"),
    *("2026-02-30", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "Europe/Berlin", "active", "3.0"),
)
"""What has broken parsers before: the ends of types, white space, other digits, other separators, half characters."""
OTHERS: tuple[Tree, ...] = (None, True, False, [], {}, [[]], {"": {}}, [None], b"", b"\xff" * 9)
MUTATIONS_MOST = 4


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of document."""

    read: Callable[[bytes], Tree]
    """Raises ValueError or RecursionError for what is none."""
    write: Callable[[Tree], bytes]
    """Raises TypeError, ValueError, RecursionError or OverflowError for what it cannot say."""


JSON = Form(json.loads, lambda tree: json.dumps(tree).encode())
MSGPACK = Form(msgspec.msgpack.decode, msgspec.msgpack.encode)
TOML = Form(lambda data: tomllib.loads(data.decode()), lambda tree: to_toml(tree).encode(errors="surrogatepass"))

_FAILURES = (TypeError, ValueError, RecursionError, OverflowError, AttributeError)


def changed(data: bytes, forms: Sequence[Form], words: Sequence[str], draw: random.Random) -> bytes | None:
    """The document with some values changed; None if it is of none of the forms, or the change cannot be written."""
    for form in forms:
        try:
            tree = form.read(data)
            for _ in range(draw.randint(1, MUTATIONS_MOST)):
                tree = _changed(tree, words, draw)
            return form.write(tree)
        except _FAILURES:
            continue
    return None


def _changed(tree: Tree, words: Sequence[str], draw: random.Random) -> Tree:
    """The tree with one change somewhere."""
    places = list[tuple[Tree, Any]]()
    _places(tree, places)
    if not places:
        return {draw.choice(words or TEXTS): _value(words, draw)} if draw.random() < 0.5 else [_value(words, draw)]
    within, key = draw.choice(places)
    match draw.randrange(6):
        case 0:
            within[key] = _value(words, draw)
        case 1:
            other, there = draw.choice(places)
            within[key] = copy.deepcopy(other[there])
        case 2:
            del within[key]
        case 3 if isinstance(within, dict):
            within[draw.choice(words or TEXTS)] = _value(words, draw)
        case 3:
            within.insert(key, copy.deepcopy(within[key]))
        case _:
            within[key] = _nearby(within[key], words, draw)
    return tree


def _places(tree: Tree, found: list[tuple[Tree, Any]]) -> None:
    """Every place in the tree where a value stands: what holds it, and its key or number in there."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        found.append((tree, key))
        _places(tree[key], found)


def _value(words: Sequence[str], draw: random.Random) -> Tree:
    return copy.deepcopy(draw.choice((draw.choice(NUMBERS), draw.choice((*TEXTS, *words)), draw.choice(OTHERS))))


def _nearby(value: Tree, words: Sequence[str], draw: random.Random) -> Tree:
    """A value of the same kind, not far away."""
    match value:
        case bool():
            return not value
        case int():
            return value + draw.choice((1, -1, value, -2 * value, 2**31, 2**32, 2**63))
        case float():
            return value * draw.choice((-1.0, 0.5, 2.0, 1e300)) + draw.choice((0.0, 1.0))
        case str():
            at = draw.randint(0, len(value))
            put = draw.choice(("", draw.choice(value or "x"), draw.choice(TEXTS), chr(draw.randrange(1, 256))))
            return value[:at] + put + value[at + draw.randint(0, 2) :]
        case bytes():
            at = draw.randint(0, len(value))
            return value[:at] + draw.randbytes(draw.randint(0, 4)) + value[at + draw.randint(0, 4) :]
        case _:
            return _value(words, draw)
