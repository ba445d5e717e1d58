"""What happens to an address before anything else does: dropped if its owner opted out, else a pseudonym of the day.

A plain hash of an address is undone within seconds: makers have 2²⁴ addresses each, and there are not many makers. So
pseudonyms are made with the store's key of the day (edge.daykey), which nobody can ask for once the day is over.
"""

import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from contract.orders import PREFIX_BYTES, OptOutList, address_bytes, names_a_device, opt_out_prefix
from edge.files import write_whole

if TYPE_CHECKING:
    from edge.daykey import Held

OPT_OUTS = "opt-outs.txt"
"""The technician's own list, beside node.toml: `python -m edge opt-out` adds to it."""


class OptOutError(ValueError):
    """Something cannot be entered into a list of opt-outs."""


class NotAnAddress(OptOutError):
    """Expected a device's own address, like 00:11:22:33:44:55."""


class RotatingAddress(OptOutError):
    """A phone made this address up and will change it: it is nobody's here, there is nothing to opt out of."""


class NotAnOptOutList(OptOutError):
    """The text is no list of opt-outs."""


_CACHED_ADDRESSES = 65_536
_NOBODY = 0


class Pseudonyms:
    """Addresses to 8 bytes under the key of the day: `daykey.changed = pseudonyms.follow`. Not thread-safe."""

    def __init__(self) -> None:
        self._start_us = self._end_us = 0
        self._keyed: hmac.HMAC | None = None
        self._known: dict[bytes, int] = {}

    def follow(self, held: "Held | None") -> None:
        """Takes the key that came into force; with None, forgets the last one and all that was made with it."""
        self._known = {}
        self._keyed = None
        self._start_us = self._end_us = 0
        if held is not None:
            self._keyed = hmac.new(held.key, digestmod="sha256")
            self._start_us, self._end_us = held.day.start_us, held.day.end_us

    def subject(self, address: bytes, address_random: bool, at_us: int) -> int | None:
        """The pseudonym of a device that was heard at an instant (wall time): 8 bytes of HMAC-SHA-256.

        None without the key of that day, and for an address that is not its maker's: phones make such ones up and
        change them, so they are never anybody.
        """
        if address_random or not self._start_us <= at_us < self._end_us:
            return None
        found = self._known.get(address)
        if found is None:
            found = self._learn(address)
        return found or None

    def _learn(self, address: bytes) -> int:
        if self._keyed is None or not names_a_device(address):
            return _NOBODY
        if len(self._known) >= _CACHED_ADDRESSES:
            self._known.clear()
        made = self._keyed.copy()
        made.update(address)
        found = self._known[address] = int.from_bytes(made.digest()[:8], "big") or 1
        return found


@dataclass(frozen=True, slots=True)
class OptOuts:
    """Devices that must not be heard: the store's list and the technician's own. The lists name none of them.

    Each entry drops 1 in 16.7 million strangers as well, and says so much less about whose it is.
    """

    lists: tuple[OptOutList, ...] = ()
    _known: dict[bytes, bool] = field(default_factory=dict, repr=False, compare=False)

    def is_out(self, address: bytes) -> bool:
        """Whether an advert or frame of this address is to be dropped before anything is made of it."""
        found = self._known.get(address)
        if found is None:
            if len(self._known) >= _CACHED_ADDRESSES:
                self._known.clear()
            found = self._known[address] = any(_holds(entries, address) for entries in self.lists)
        return found

    def __len__(self) -> int:
        return sum(len(entries.prefixes) // PREFIX_BYTES for entries in self.lists)


def _holds(entries: OptOutList, address: bytes) -> bool:
    prefix, at = opt_out_prefix(entries.salt, address), -1
    while (at := entries.prefixes.find(prefix, at + 1)) >= 0:
        if at % PREFIX_BYTES == 0:
            return True
    return False


def with_opt_out(entries: OptOutList, address: str) -> OptOutList:
    """The list with one more device. Raises NotAnAddress or RotatingAddress; an entry that stands there stays one."""
    found = address_bytes(address)
    if found is None:
        raise NotAnAddress(NotAnAddress.__doc__)
    if not names_a_device(found):
        raise RotatingAddress(RotatingAddress.__doc__)
    if _holds(entries, found):
        return entries
    prefixes = _sorted([*_split(entries.prefixes), opt_out_prefix(entries.salt, found)])
    return OptOutList(entries.salt, prefixes, entries.version + 1)


def read_opt_outs(path: Path) -> OptOutList | None:
    """The technician's own list beside node.toml; None if there is none. Raises NotAnOptOutList, or OSError."""
    try:
        return opt_outs_from_text(path.read_bytes().decode(errors="replace"))
    except FileNotFoundError:
        return None


def add_opt_out(path: Path, address: str) -> int:
    """Enters a device into a file that the node reads at its start; returns how many entries it has.

    Raises OptOutError or OSError.
    """
    entries = with_opt_out(read_opt_outs(path) or OptOutList(os.urandom(16), b""), address)
    write_whole(path, opt_outs_text(entries).encode())
    return len(entries.prefixes) // PREFIX_BYTES


def opt_outs_text(entries: OptOutList) -> str:
    """A list as a file that a technician can read: `salt HEX`, then an entry a line."""
    return "\n".join([f"salt {entries.salt.hex()}", *(prefix.hex() for prefix in _split(entries.prefixes)), ""])


def opt_outs_from_text(text: str) -> OptOutList:
    """The list in a file. Raises NotAnOptOutList with the line."""
    salt: bytes | None = None
    prefixes = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            value = bytes.fromhex(words[-1])
        except ValueError:
            value = b""
        if salt is None and len(words) == 2 and words[0] == "salt" and len(value) == 16:
            salt = value
        elif salt is not None and len(words) == 1 and len(value) == PREFIX_BYTES:
            prefixes.append(value)
        else:
            form = "6 hexadecimal digits" if salt is not None else "`salt` and 32 hexadecimal digits"
            raise NotAnOptOutList(f"line {number}: expected {form}")
    if salt is None:
        raise NotAnOptOutList("line 1: expected `salt` and 32 hexadecimal digits")
    return OptOutList(salt, _sorted(prefixes))


def _split(prefixes: bytes) -> list[bytes]:
    return [prefixes[at : at + PREFIX_BYTES] for at in range(0, len(prefixes), PREFIX_BYTES)]


def _sorted(prefixes: Iterable[bytes]) -> bytes:
    """In an order that does not tell who came first."""
    return b"".join(sorted(set(prefixes)))
