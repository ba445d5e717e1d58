"""`python -m edge survey`: the walk test. A technician walks with an enrolled beacon and stands at known places; the
cloud tells what every node heard of it meanwhile, and the means become the floor's radio map.

It runs on the technician's laptop, since only the cloud has what all nodes heard. The beacon is a tag of role "asset"
in the store's plan; nobody else's radio can be asked for. The file is written after every place, so nothing is walked
twice.
"""

import argparse
import contextlib
import csv
import getpass
import io
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO
from urllib.parse import quote, urlencode

import msgspec

SECONDS = 10.0
"""At five adverts a second 50 packets a node: the mean is then good to 0.7 dB."""
SETTLE_S = 3.0
"""How long after a place its last windows take to reach the cloud: a window, the line, a commit."""
LEAST_NODES = 3
"""Fewer than three nodes say nothing about a place."""
LEAST_PACKETS = 5
"""A node that heard fewer is not counted: the radio map leaves it aside too."""
ANSWER_S = 15.0
HEADINGS = ("x_m", "y_m", "node", "mean_dbm", "sd_db", "n")


class SurveyError(Exception):
    """The survey cannot go on; `str()` says why and what to do."""


class Heard(NamedTuple):
    """What one node heard of the beacon in a span."""

    node: str
    mean_dbm: float
    sd_db: float
    """Of one packet."""
    n: int
    """Packets."""


class Place(NamedTuple):
    """A place on the plan, metres from its corner."""

    x_m: float
    y_m: float
    label: str = ""


class Row(NamedTuple):
    """A line of a survey file: what one node heard at one place. As the cloud takes it."""

    x_m: float
    y_m: float
    node: str
    mean_dbm: float
    sd_db: float
    n: int


@dataclass(frozen=True, slots=True)
class Beacon:
    """The beacon that is carried."""

    uuid: str
    major: int
    minor: int
    label: str


class Cloud(Protocol):
    """What a survey needs of the cloud."""

    def now_us(self) -> int:
        """The cloud's time, microseconds since 1970 UTC."""
        ...

    def heard(self, beacon: Beacon, from_us: int, to_us: int) -> list[Heard]:
        """What each node heard of the beacon in a span."""
        ...


# -- places and files


def read_places(text: str) -> list[Place]:
    """Places in a CSV `x_m,y_m[,label]`, with or without headings. Raises SurveyError with the line."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=None)))
    except csv.Error as error:
        raise SurveyError(f"points: found no CSV ({error}), expected x_m,y_m[,label] in each line") from None
    places = []
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#") or (number == 1 and cells[0] == "x_m"):
            continue
        place = parse_place(",".join(cells))
        if place is None:
            raise SurveyError(
                f"points, line {number}: found {','.join(row)!r}, expected x_m,y_m[,label], for example 3.5,4"
            )
        places.append(place)
    return places


def parse_place(text: str) -> Place | None:
    """A place as it is typed: `3.5 4`, `3.5,4` or `3.5,4,coffee shelf`; None if it is none."""
    plain = text.strip().replace(";", ",")
    parts = plain.split(",", 2) if "," in plain else plain.split(" ", 2)
    first, second, label = (*parts, "", "", "")[:3]
    try:
        place = Place(float(first), float(second), label.strip())
    except ValueError:
        return None
    return place if abs(place.x_m) <= 1000 and abs(place.y_m) <= 1000 else None  # NaN is refused too


def rows_of(place: Place, heard: Iterable[Heard]) -> list[Row]:
    """The lines that a place adds to the survey."""
    return [Row(place.x_m, place.y_m, h.node, round(h.mean_dbm, 2), round(h.sd_db, 2), h.n) for h in heard if h.n > 0]


def read_survey(path: Path) -> list[Row]:
    """A survey file as `write_survey` writes it, CSV or JSON by its name. Raises SurveyError."""
    try:
        text = path.read_text()
        if path.suffix == ".json":
            return [msgspec.convert(p, Row) for p in _points_in(text)]
        return [
            Row(float(r["x_m"]), float(r["y_m"]), r["node"], float(r["mean_dbm"]), float(r["sd_db"]), int(r["n"]))
            for r in csv.DictReader(io.StringIO(text))
        ]
    except OSError as error:
        raise SurveyError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error, msgspec.MsgspecError) as error:
        raise SurveyError(f"{path} is no survey ({error}), expected columns {','.join(HEADINGS)}") from None


def _points_in(text: str) -> list[list[object]]:
    document = msgspec.json.decode(text, type=dict[str, list[dict[str, object]]])
    return [[point[name] for name in HEADINGS] for point in document["points"]]


def write_survey(path: Path, rows: Sequence[Row]) -> None:
    """Writes the file whole or not at all; JSON if its name ends so (the body that the cloud takes), else CSV."""
    out = io.StringIO()
    if path.suffix == ".json":
        json.dump({"points": [row._asdict() for row in rows]}, out, indent=1)
        out.write("\n")
    else:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(HEADINGS)
        table.writerows(rows)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(out.getvalue())
    fresh.replace(path)


# -- walking


@dataclass(frozen=True, slots=True)
class Rules:
    """How long to stand, and when a place counts."""

    seconds: float = SECONDS
    settle_s: float = SETTLE_S
    least_nodes: int = LEAST_NODES


def stand(
    cloud: Cloud, beacon: Beacon, rules: Rules, tell: Callable[[str], None], sleep: Callable[[float], None]
) -> list[Heard]:
    """Stands at a place: tells the counts about once a second, returns what each node heard in the span."""
    from_us = cloud.now_us()
    to_us = from_us + round(rules.seconds * 1e6)
    until_us = to_us + round(rules.settle_s * 1e6)
    heard: list[Heard] = []
    while (now_us := cloud.now_us()) < until_us:
        sleep(min(1.0, (until_us - now_us) / 1e6))
        heard = cloud.heard(beacon, from_us, to_us)
        left_s = max(0.0, (to_us - cloud.now_us()) / 1e6)
        tell(f"{left_s:3.0f} s  {counts(heard)}")
    return heard


def counts(heard: Sequence[Heard]) -> str:
    """`door-1 48 (-61 dBm), …`, the loudest first."""
    loudest = sorted(heard, key=lambda each: -each.mean_dbm)
    return ", ".join(f"{each.node} {each.n} ({each.mean_dbm:.0f} dBm)" for each in loudest) or "nothing heard yet"


def enough(heard: Sequence[Heard], least: int) -> bool:
    """Whether a place was heard by so many nodes that it says where it is."""
    return sum(each.n >= LEAST_PACKETS for each in heard) >= least


class Walk:
    """A survey being walked: places in, rows out, the file kept after each."""

    def __init__(
        self, cloud: Cloud, beacon: Beacon, rules: Rules, file: Path, screen: TextIO, sleep: Callable[[float], None]
    ) -> None:
        self._cloud = cloud
        self._beacon = beacon
        self._rules = rules
        self._file = file
        self._screen = screen
        self._sleep = sleep
        self.rows: list[Row] = []

    def take(self, place: Place) -> bool:
        """Stands at a place and keeps it; False if too few nodes heard the beacon: then nothing is kept."""
        heard = stand(self._cloud, self._beacon, self._rules, self._tell, self._sleep)
        self._screen.write("\n")
        if not enough(heard, self._rules.least_nodes):
            few = sum(each.n >= LEAST_PACKETS for each in heard)
            self._say(f"  not kept: {few} nodes heard it {LEAST_PACKETS} times or more, {self._rules.least_nodes} must")
            return False
        # Standing at a place again replaces what was heard there before.
        self.rows = [row for row in self.rows if (row.x_m, row.y_m) != (place.x_m, place.y_m)] + rows_of(place, heard)
        write_survey(self._file, self.rows)
        self._say(f"\a  kept: {self.places} places so far")
        return True

    @property
    def places(self) -> int:
        return len({(row.x_m, row.y_m) for row in self.rows})

    def _tell(self, text: str) -> None:
        if self._screen.isatty():
            self._screen.write(f"\r\x1b[K  {text[:110]}")
            self._screen.flush()

    def _say(self, text: str) -> None:
        print(text, file=self._screen, flush=True)


def walk_all(walk: Walk, places: Sequence[Place], ask: Callable[[str], str | None]) -> None:
    """Leads from place to place; with none given, asks for them. `ask` returns None at the end of the input."""
    if not places:
        while (typed := ask("x y of the place (empty: done)> ")) is not None and typed.strip():
            place = parse_place(typed)
            if place is None:
                ask(f"{typed!r} is no place; expected two numbers, metres from the plan's corner: 3.5 4 (Enter)")
            else:
                walk.take(place)
        return
    for number, place in enumerate(places, 1):
        name = f" ({place.label})" if place.label else ""
        question = (
            f"{number}/{len(places)}: stand at {place.x_m:g}, {place.y_m:g}{name}; Enter begins, s skips, q ends> "
        )
        while True:
            answer = ask(question)
            if answer is None or answer.strip() == "q":
                return
            if answer.strip() == "s" or walk.take(place):
                break


# -- the cloud


class Http:
    """The cloud over HTTP, signed in as a technician."""

    def __init__(self, api: str) -> None:
        self._api = api.rstrip("/")
        # No proxy of the laptop's environment: a store's own server is near. Cookies hold the session.
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._ahead_us = 0

    def sign_in(self, login: str, password: str) -> None:
        """Raises SurveyError."""
        self._call("POST", "/v1/session", {"login": login, "password": password})

    def now_us(self) -> int:
        return time.time_ns() // 1_000 + self._ahead_us

    def plan(self, store: str) -> dict[str, object]:
        """The store's plan. Raises SurveyError."""
        return msgspec.json.decode(self._call("GET", f"/v1/stores/{quote(store)}/plan"), type=dict[str, object])

    def of(self, store: str) -> "StoreCloud":
        return StoreCloud(self, store)

    def get_heard(self, store: str, beacon: Beacon, from_us: int, to_us: int) -> list[Heard]:
        """Raises SurveyError."""
        query = urlencode(
            {"uuid": beacon.uuid, "major": beacon.major, "minor": beacon.minor, "from_us": from_us, "to_us": to_us}
        )
        answer = self._call("GET", f"/v1/stores/{quote(store)}/heard?{query}")
        found = msgspec.json.decode(answer, type=list[dict[str, object]])
        return [msgspec.convert([each[name] for name in Heard._fields], Heard) for each in found]

    def put_survey(self, store: str, floor: str, rows: Sequence[Row]) -> dict[str, object]:
        """Fits the floor's radio map; what the cloud says of the fit. Raises SurveyError."""
        body = {"points": [row._asdict() for row in rows]}
        answer = self._call("PUT", f"/v1/stores/{quote(store)}/floors/{quote(floor)}/survey", body)
        return msgspec.json.decode(answer, type=dict[str, object])

    def _call(self, method: str, path: str, body: object = None) -> bytes:
        request = urllib.request.Request(
            self._api + path,
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"Content-Type": "application/json", "X-Aisle": "1", "Accept": "application/json"},
        )
        asked_us = time.time_ns() // 1_000
        try:
            with self._opener.open(request, timeout=ANSWER_S) as answer:
                payload: bytes = answer.read()
                told = answer.headers.get("X-Aisle-Now")
        except urllib.error.HTTPError as error:
            with error:
                raise SurveyError(f"{method} {path.partition('?')[0]}: {_problem(error)}") from None
        except (OSError, ValueError) as error:
            raise SurveyError(f"{self._api} does not answer: {getattr(error, 'reason', error)}") from None
        if told is not None and told.isdigit():  # windows carry the cloud's time (a simulated one, perhaps), not ours
            self._ahead_us = int(told) - (asked_us + time.time_ns() // 1_000) // 2
        return payload


def _problem(error: urllib.error.HTTPError) -> str:
    """What an answer of kind application/problem+json says."""
    with contextlib.suppress(msgspec.MsgspecError, OSError):
        told = msgspec.json.decode(error.read(), type=dict[str, object])
        return f"{told.get('title', error.code)}: {told.get('detail', '')}".rstrip(": ")
    return f"{error.code} {error.reason}"


@dataclass(frozen=True, slots=True)
class StoreCloud:
    """The cloud, for one store."""

    http: Http
    store: str

    def now_us(self) -> int:
        return self.http.now_us()

    def heard(self, beacon: Beacon, from_us: int, to_us: int) -> list[Heard]:
        return self.http.get_heard(self.store, beacon, from_us, to_us)


def choose_beacon(plan: Mapping[str, object], wanted: str) -> Beacon:
    """The asset beacon of the plan that is meant by its label or `uuid/major/minor`. Raises SurveyError."""
    found = [b for b in _dicts(plan.get("beacons")) if b.get("role") == "asset"]
    beacons = [Beacon(str(b["uuid"]), int(str(b["major"])), int(str(b["minor"])), str(b["label"])) for b in found]
    for beacon in beacons:
        if wanted.lower() in (beacon.label.lower(), f"{beacon.uuid}/{beacon.major}/{beacon.minor}".lower()):
            return beacon
    known = ", ".join(repr(beacon.label) for beacon in beacons) or "none"
    raise SurveyError(
        f'no asset beacon {wanted!r} in the store\'s plan (there is: {known}); enrol it with role "asset"'
    )


def choose_floor(plan: Mapping[str, object], wanted: str | None) -> str:
    """The floor's key. Raises SurveyError if it is not there, or not clear which one is meant."""
    floors = [str(floor["floor"]) for floor in _dicts(plan.get("floors"))]
    if wanted is None and len(floors) == 1:
        return floors[0]
    if wanted in floors:
        return str(wanted)
    raise SurveyError(f"--floor: found {wanted!r}, expected one of {', '.join(floors)}")


def _dicts(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


# -- the command


def main(arguments: list[str], prog: str = "python -m edge survey") -> int:
    """The command. Exit code 1: it could not go on; 2: it was asked wrongly."""
    options = _options(arguments, prog)
    try:
        return _survey(options)
    except SurveyError as error:
        print(f"survey: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; what was kept is in {options.out}", file=sys.stderr)
        return 1


def _options(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Walk the store with a beacon and make the floor's radio map of what the nodes hear.",
    )
    parser.add_argument("config", type=Path, nargs="?", help="a node.toml of the store; or name it with --store")
    parser.add_argument("--api", required=True, metavar="URL", help="the cloud, https://aisle.example.com")
    parser.add_argument("--store", help="the store's key")
    parser.add_argument("--floor", help="the floor's key, where the plan has several")
    parser.add_argument("--login", default=os.environ.get("USER", ""), help="a technician's login")
    parser.add_argument("--password-file", type=Path, help="else the password is asked for")
    parser.add_argument("--beacon", help="the label, or UUID/MAJOR/MINOR, of the asset beacon that is carried")
    parser.add_argument("--points", type=Path, metavar="CSV", help="places x_m,y_m[,label] to be led to")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long to stand (default %(default)g)")
    parser.add_argument("--least", type=int, default=LEAST_NODES, help="nodes that must hear it (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("survey.csv"), help="CSV, or JSON by its name (survey.csv)")
    parser.add_argument("--upload", action="store_true", help="fit the floor's radio map when the walk is done")
    parser.add_argument("--no-walk", action="store_true", help="only upload the file given with --out")
    options = parser.parse_args(arguments)
    if options.config is None and options.store is None:
        parser.error("name the store: --store, or a node.toml")
    if not options.no_walk and options.beacon is None:
        parser.error("name the beacon that is carried: --beacon LABEL")
    if not 1 <= options.seconds <= 300:
        parser.error(f"--seconds: found {options.seconds:g}, expected 1 to 300")
    return options


def _survey(options: argparse.Namespace) -> int:
    store = options.store or _store_of(options.config)
    places = read_places(_text(options.points)) if options.points else []
    cloud = Http(options.api)
    cloud.sign_in(options.login, _password(options))
    plan = cloud.plan(store)
    floor = choose_floor(plan, options.floor)
    if options.no_walk:
        rows = read_survey(options.out)
    else:
        beacon = choose_beacon(plan, options.beacon)
        rules = Rules(options.seconds, SETTLE_S, options.least)
        walk = Walk(cloud.of(store), beacon, rules, options.out, sys.stderr, time.sleep)
        if options.out.exists():  # a walk goes on where it was left
            walk.rows = read_survey(options.out)
            print(f"{options.out} has {walk.places} places already: they are kept", file=sys.stderr)
        walk_all(walk, places, _ask)
        rows = walk.rows
    if options.upload or options.no_walk:
        if not rows:
            raise SurveyError("there is nothing to upload")
        print(json.dumps(cloud.put_survey(store, floor, rows)))
    return 0


def _store_of(path: Path) -> str:
    from edge.config import ConfigError, read_config

    try:
        return read_config(path).node.store
    except ConfigError as error:
        raise SurveyError(str(error)) from None
    except OSError as error:
        raise SurveyError(f"{path}: {error.strerror}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SurveyError(f"{path}: {error}") from None


def _password(options: argparse.Namespace) -> str:
    if options.password_file is not None:
        return _text(options.password_file).strip()
    return getpass.getpass(f"password of {options.login}: ")


def _ask(question: str) -> str | None:
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None
