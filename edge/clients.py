"""Members on the store's Wi-Fi: from what a network tells about stations to who is in which zone. Pure.

A MAC address is never an identity. A member logs in with a client token (contract.identity.client_token). Where the
network itself tells the token (RADIUS, WPA Enterprise) no address is needed; where it knows addresses only, the login
page tells (address, token) and the pair stays in memory until the session or the local day ends. Everybody else is
counted by a digest under a key that lives as long as the count, and named nowhere.
"""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import blake2b
from typing import Literal, NamedTuple

from edge.crowd import Crowd, CrowdSpan

SETTLE_S = 20.0
"""A phone between two access points goes to and fro, and is off the air for some seconds when it changes: so long a new
zone, or an end, must hold before it is told (then with the instant at which it began)."""
STRONGER_DB = 8
"""So much stronger than in the present zone, and the move is believed at once: above the spread of a single RSSI."""
SESSIONS_MOST = 8
"""Devices and access points remembered of one member."""
MEMBERS_MOST = 4_096
"""Members and pairs remembered; past that the one unheard for longest is forgotten."""
NO_DBM = -127
"""For counting a station whose strength the network does not tell."""

_SURE, _LIKELY = 0.9, 0.6


class StationSeen(NamedTuple):
    """A network told about a station."""

    at_us: int
    mac: bytes | None
    """6 bytes; None where the token says enough."""
    token: int | None
    """The client token, where the network itself knows it."""
    zone: str | None
    """Where its access point stands; None if nobody said where that is."""
    rssi: int | None
    """dBm, as the access point hears it."""
    state: Literal["associated", "seen", "left"]
    """`associated`: it has a session there; `seen`: it was heard there; `left`: that session ended."""


class Login(NamedTuple):
    """A device and the member who uses it; `token` None means that she logged out."""

    at_us: int
    mac: bytes
    token: int | None


class ClientTransition(NamedTuple):
    """A member's device began or ended being in a zone."""

    subject: int
    """The client token (SubjectKind.CLIENT)."""
    zone: str
    state: Literal["enter", "exit"]
    at_us: int
    """When it was sure."""
    since_us: int
    """When it happened."""
    confidence: float
    """0 to 1."""


class StationCount:
    """How many stations of nobody's are about: distinct ones, each under a digest whose key ends with the count."""

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._key = draw(32)
        self._crowd = Crowd()

    def add(self, at_us: int, mac: bytes, rssi: int | None) -> None:
        """Counts a station in the present span."""
        digest = blake2b(mac, digest_size=4, key=self._key).digest()
        self._crowd.add(at_us, int.from_bytes(digest, "big"), NO_DBM if rssi is None else rssi)

    def due_us(self) -> int | None:
        """When the present span ends; None while nobody is counted."""
        return self._crowd.due_us()

    def close(self, now_us: int) -> CrowdSpan | None:
        """Ends the span that is due; at least k stations or nothing (see edge.crowd)."""
        span = self._crowd.close(now_us)
        self._renew()
        return span

    def clock_went_back(self, now_us: int) -> None:
        """Gives up the present span."""
        self._crowd.clock_went_back(now_us)
        self._renew()

    def _renew(self) -> None:
        if self._crowd.due_us() is None:  # the count is over: what was in it can never be told again
            self._key = self._draw(32)


class _Session:
    """One device of a member on one access point's zone."""

    __slots__ = ("heard_us", "rssi", "until_us")

    def __init__(self, heard_us: int, until_us: int, rssi: int | None) -> None:
        self.heard_us, self.until_us, self.rssi = heard_us, until_us, rssi


class _Candidate(NamedTuple):
    """Another zone that a member may have moved to."""

    zone: str
    since_us: int
    associated: bool


class _Member:
    """What is known of one token."""

    __slots__ = ("candidate", "heard_us", "left_us", "sessions", "since_us", "zone")

    def __init__(self) -> None:
        self.sessions: dict[tuple[bytes | None, str | None], _Session] = {}
        self.zone: str | None = None
        self.since_us = 0
        self.heard_us = 0
        self.candidate: _Candidate | None = None
        self.left_us: int | None = None

    def strength(self, zone: str | None) -> int | None:
        """The strongest of its devices in a zone, dBm."""
        levels = [s.rssi for (_, where), s in self.sessions.items() if where == zone and s.rssi is not None]
        return max(levels, default=None)


class _Pair:
    """The token that a device logged in with."""

    __slots__ = ("token", "until_us")

    def __init__(self, token: int, until_us: int) -> None:
        self.token, self.until_us = token, until_us


class Clients:
    """The members on the Wi-Fi, and `others`: the count of everybody else. Times in seconds."""

    def __init__(
        self,
        away_s: float = 300.0,
        session_s: float = 1_800.0,
        tz: tzinfo = UTC,
        is_out: Callable[[bytes], bool] = lambda mac: False,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`away_s`: a device that was only heard is gone after so long; `session_s`: one with a session whose end
        nobody told, so longer than the network's interval of interim reports. The day ends by `tz`. `is_out` says of an
        address whether its owner opted out: such a device is neither told nor counted."""
        self.others = StationCount(draw)
        self._away_us = int(away_s * 1e6)
        self._session_us = int(session_s * 1e6)
        self._settle_us = int(SETTLE_S * 1e6)
        self._tz = tz
        self._is_out = is_out
        self._pairs: dict[bytes, _Pair] = {}
        self._members: dict[int, _Member] = {}
        self._revoked: frozenset[int] = frozenset()
        self._midnight_us: int | None = None
        self._due_us: int | None = None

    def login(self, mac: bytes, token: int, at_us: int) -> list[ClientTransition]:
        """A member logged in on the device with this address. Tells the exits of whoever was logged in on it before."""
        if token in self._revoked or self._is_out(mac):
            return []
        before = self._pairs.get(mac)
        gone = self.logout(mac, at_us) if before is not None and before.token != token else []
        self._pairs.pop(mac, None)
        if len(self._pairs) >= MEMBERS_MOST:
            del self._pairs[next(iter(self._pairs))]
        self._pairs[mac] = _Pair(token, at_us + self._session_us)
        self._wake(at_us, at_us + self._session_us)
        return gone

    def logout(self, mac: bytes, at_us: int) -> list[ClientTransition]:
        """The device with this address logged out: its pair is forgotten, and it left."""
        pair = self._pairs.pop(mac, None)
        member = None if pair is None else self._members.get(pair.token)
        if pair is None or member is None:
            return []
        for key in [key for key in member.sessions if key[0] == mac]:
            del member.sessions[key]
        if member.sessions:
            return self._follow(pair.token, member, at_us)
        member.left_us = at_us if member.left_us is None else member.left_us
        return self._end(pair.token, member, at_us)

    def revoke(self, tokens: Iterable[int]) -> None:
        """All tokens that may not be used: what is known of them is forgotten, and nothing is told any more."""
        self._revoked = frozenset(tokens)
        for token in self._revoked & self._members.keys():
            del self._members[token]
        for mac in [mac for mac, pair in self._pairs.items() if pair.token in self._revoked]:
            del self._pairs[mac]

    def seen(self, seen: StationSeen) -> list[ClientTransition]:
        """Takes what a network told, and says what became sure by it. What is older than the last word is left out."""
        if seen.mac is not None and self._is_out(seen.mac):
            return []
        told: list[ClientTransition] = []
        if seen.token is not None and seen.mac is not None and seen.state != "left":
            told = self._paired(seen.mac, seen.token, seen.at_us)
        token = self._token(seen)
        if token is None:
            if seen.mac is not None and seen.state != "left":
                self.others.add(seen.at_us, seen.mac, seen.rssi)
            return []
        member = self._members.get(token)
        if member is None:
            if seen.state == "left":
                return []
            told += self._make_room(seen.at_us)
            member = self._members[token] = _Member()
        elif seen.at_us < member.heard_us:
            return told
        elif seen.state == "left":
            return self._left(token, member, seen)
        member.heard_us, member.left_us = seen.at_us, None
        until_us = seen.at_us + (self._session_us if seen.state == "associated" else self._away_us)
        self._note(member, seen, until_us)
        self._wake(seen.at_us, until_us)
        return told + self._place(token, member, seen)

    def due_us(self) -> int | None:
        """When to look next if somebody left or moved or the day ended; None if nobody is known. Never too late."""
        return self._due_us

    def close(self, now_us: int) -> list[ClientTransition] | None:
        """Does what is due; None if nothing is."""
        if self._due_us is None or now_us < self._due_us:
            return None
        if self._midnight_us is not None and now_us >= self._midnight_us:
            return self._forget(now_us, _SURE)
        for mac in [mac for mac, pair in self._pairs.items() if pair.until_us <= now_us]:
            del self._pairs[mac]
        told: list[ClientTransition] = []
        for token, member in sorted(self._members.items()):
            told += self._settle(token, member, now_us)
        self._due_us = self._next_due()
        return told

    def clock_went_back(self, now_us: int) -> list[ClientTransition]:
        """Starts afresh: durations across a step of the clock mean nothing. Pairs stay until the new day ends."""
        pairs = self._pairs
        told = self._forget(now_us, 0.5)
        for mac, pair in pairs.items():
            self.login(mac, pair.token, now_us)
        return told

    def _token(self, seen: StationSeen) -> int | None:
        """The token of a station, if it is somebody's who may be told."""
        token = seen.token
        pair = None if seen.mac is None else self._pairs.get(seen.mac)
        if pair is not None and pair.until_us > seen.at_us:
            token = pair.token if token is None else token
            pair.until_us = max(pair.until_us, seen.at_us + self._session_us)
        return None if token in self._revoked else token

    def _paired(self, mac: bytes, token: int, at_us: int) -> list[ClientTransition]:
        """A network that knows the token now may tell the address alone later: that is a login too."""
        pair = self._pairs.get(mac)
        return [] if pair is not None and pair.token == token else self.login(mac, token, at_us)

    def _make_room(self, at_us: int) -> list[ClientTransition]:
        if len(self._members) < MEMBERS_MOST:
            return []
        token = min(self._members, key=lambda known: self._members[known].heard_us)
        member = self._members[token]
        member.left_us = member.heard_us
        return self._end(token, member, at_us)

    def _note(self, member: _Member, seen: StationSeen, until_us: int) -> None:
        if seen.state == "associated":  # a device has a session with one access point at a time
            for key in [key for key in member.sessions if key[0] == seen.mac and key[1] != seen.zone]:
                del member.sessions[key]
        key = (seen.mac, seen.zone)
        known = member.sessions.pop(key, None)
        # Being heard does not shorten a session that was told.
        until_us = until_us if known is None else max(until_us, known.until_us)
        if len(member.sessions) >= SESSIONS_MOST:
            del member.sessions[next(iter(member.sessions))]
        member.sessions[key] = _Session(seen.at_us, until_us, seen.rssi)

    def _place(self, token: int, member: _Member, seen: StationSeen) -> list[ClientTransition]:
        """Decides where a member is, who was just heard."""
        zone = seen.zone
        if zone is None:
            return []
        confidence = _SURE if seen.state == "associated" else _LIKELY
        if member.zone is None:
            return self._enter(token, member, zone, seen.at_us, seen.at_us, confidence)
        if zone == member.zone:
            member.candidate = None
            return []
        here = member.strength(member.zone)
        if here is not None and seen.rssi is not None and seen.rssi >= here + STRONGER_DB:
            return self._move(token, member, zone, seen.at_us, seen.at_us, confidence)
        candidate = member.candidate
        if candidate is None or candidate.zone != zone:
            candidate = member.candidate = _Candidate(zone, seen.at_us, seen.state == "associated")
        if seen.at_us - candidate.since_us >= self._settle_us:
            return self._move(token, member, zone, seen.at_us, candidate.since_us, confidence)
        self._wake(seen.at_us, candidate.since_us + self._settle_us)
        return []

    def _left(self, token: int, member: _Member, seen: StationSeen) -> list[ClientTransition]:
        """One of a member's sessions ended; where no zone is told, all of the device's."""
        member.heard_us = seen.at_us
        ended = [k for k in member.sessions if k[0] == seen.mac and (seen.zone is None or k[1] == seen.zone)]
        for key in ended:
            del member.sessions[key]
        if member.candidate is not None and all(zone != member.candidate.zone for _, zone in member.sessions):
            member.candidate = None
        if member.sessions:
            return self._follow(token, member, seen.at_us)
        if member.left_us is None:
            member.left_us = seen.at_us
            self._wake(seen.at_us, seen.at_us + self._settle_us)
        return []

    def _follow(self, token: int, member: _Member, at_us: int) -> list[ClientTransition]:
        """Where a member's last session in the present zone ended, the zone is that of the newest one left."""
        if member.zone is None or any(zone == member.zone for _, zone in member.sessions):
            return []
        placed = [(s.heard_us, zone) for (_, zone), s in member.sessions.items() if zone is not None]
        if not placed:
            return []
        heard_us, zone = max(placed)
        return self._move(token, member, zone, at_us, heard_us, _SURE)

    def _settle(self, token: int, member: _Member, now_us: int) -> list[ClientTransition]:
        over = [key for key, session in member.sessions.items() if session.until_us <= now_us]
        silent = max((member.sessions.pop(key).heard_us for key in over), default=0)
        if not member.sessions:
            if member.left_us is None:
                member.left_us, member.candidate = silent, None  # they left when they were last heard
            if member.left_us + self._settle_us <= now_us:
                return self._end(token, member, now_us)
            return []
        told = self._follow(token, member, now_us) if over else []
        candidate = member.candidate
        if candidate is not None and candidate.associated and candidate.since_us + self._settle_us <= now_us:
            told += self._move(token, member, candidate.zone, now_us, candidate.since_us, _SURE)
        return told

    def _enter(
        self, token: int, member: _Member, zone: str, at_us: int, since_us: int, confidence: float
    ) -> list[ClientTransition]:
        member.zone, member.since_us, member.candidate = zone, since_us, None
        return [ClientTransition(token, zone, "enter", at_us, since_us, confidence)]

    def _move(
        self, token: int, member: _Member, zone: str, at_us: int, since_us: int, confidence: float
    ) -> list[ClientTransition]:
        since_us = max(since_us, member.since_us)
        assert member.zone is not None  # only who is somewhere can move
        out = ClientTransition(token, member.zone, "exit", at_us, since_us, confidence)
        return [out, *self._enter(token, member, zone, at_us, since_us, confidence)]

    def _end(self, token: int, member: _Member, at_us: int) -> list[ClientTransition]:
        """Forgets a member who left, telling the exit if an entry was told."""
        del self._members[token]
        if member.zone is None or member.left_us is None:
            return []
        return [ClientTransition(token, member.zone, "exit", at_us, max(member.left_us, member.since_us), _SURE)]

    def _forget(self, now_us: int, confidence: float) -> list[ClientTransition]:
        told = [
            ClientTransition(token, member.zone, "exit", now_us, now_us, confidence)
            for token, member in sorted(self._members.items())
            if member.zone is not None
        ]
        self._members, self._pairs = {}, {}
        self._due_us = self._midnight_us = None
        return told

    def _wake(self, at_us: int, due_us: int) -> None:
        if self._midnight_us is None:
            self._midnight_us = _midnight_us(at_us, self._tz)
            due_us = min(due_us, self._midnight_us)
        self._due_us = due_us if self._due_us is None else min(self._due_us, due_us)

    def _next_due(self) -> int | None:
        dues = [pair.until_us for pair in self._pairs.values()]
        for member in self._members.values():
            dues += [session.until_us for session in member.sessions.values()]
            if member.left_us is not None:
                dues.append(member.left_us + self._settle_us)
            if member.candidate is not None and member.candidate.associated:
                dues.append(member.candidate.since_us + self._settle_us)
        if not dues:
            self._midnight_us = None
            return None
        assert self._midnight_us is not None  # set with the first that was due
        return min(self._midnight_us, *dues)


def _midnight_us(at_us: int, tz: tzinfo) -> int:
    """The end of the local day that an instant lies in."""
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).astimezone(tz).date()
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), tz)
    return round(midnight.timestamp()) * 1_000_000
