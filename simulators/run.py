"""RUN.json: what a run of the simulators is told, by whoever started the product."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from contract.clock import Clock, clock_from


class RunError(ValueError):
    """A RUN.json, or a file that it names, that cannot be used."""


class Member(msgspec.Struct, frozen=True):
    """A member as the product's import answered: what their card, app and tag need."""

    card: str
    member_id: str
    activation_code: str
    token_key_hex: str


class Admin(msgspec.Struct, frozen=True):
    """The login with which history reads the product's progress."""

    login: str
    password: str


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a run. Paths are relative to RUN.json."""

    scenario: str
    seed: int
    api: str
    """Base address of the product's API, such as http://127.0.0.1:8000."""
    till_key: str
    members: str
    """JSON file: a list of `Member`, as POST /v1/members/import answered."""
    clock: str = ""
    """The shared clock, START_US@REAL_USxSPEED; history does not read it."""
    air_port: int = 0
    """Port of the air; 0 takes any free one (printed)."""
    truth: str = "truth.jsonl"
    """Where what really happened is appended."""
    summary: str = "summary.json"
    """Where `live` writes its figures at the end."""
    phones: str = "phones.jsonl"
    """The phones' sessions, kept from history to live and from run to run."""
    nodes: tuple[str, ...] = ()
    """For history: the nodes' node.toml files."""
    admin: Admin | None = None
    """For history: who may read GET /v1/progress."""
    step_minutes: int = 30
    """For history: simulated minutes between two rounds of phones and tills."""
    desk_key: str = ""
    """With which the service desk enrols members' RFID cards; without it nobody's card is known. Live only."""
    wifi_ports: dict[str, int] = {}
    """UDP ports on which the nodes with Wi-Fi hear frames. Live only."""


def serial_port(folder: Path, node: str, module: str) -> Path:
    """Where an RFID module of a run can be opened while `live` plays: a link beside RUN.json to the module's pty."""
    return folder / f"{node}-{module}.tty"


class RunFiles:
    """A run with its paths resolved."""

    def __init__(self, path: Path) -> None:
        try:
            self.run = msgspec.json.decode(path.read_bytes(), type=Run)
        except (OSError, msgspec.MsgspecError) as error:
            raise RunError(f"{path}: {error}") from None
        base = self.folder = path.resolve().parent
        self.truth = base / self.run.truth
        self.summary = base / self.run.summary
        self.phones = base / self.run.phones
        self.nodes = [base / node for node in self.run.nodes]
        members = base / self.run.members
        try:
            known = msgspec.json.decode(members.read_bytes(), type=list[Member])
        except (OSError, msgspec.MsgspecError) as error:
            raise RunError(f"{members}: {error}") from None
        self.members = {member.card: member for member in known}

    @property
    def clock(self) -> Clock:
        """The shared clock. Raises RunError."""
        try:
            return clock_from(self.run.clock)
        except ValueError as error:
            raise RunError(f"RUN.json: clock: {error}") from None


class Sessions:
    """Bearer tokens of the phones by card: a file of JSON lines, so that a phone logs in once in its life."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: dict[str, str] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                card, token = msgspec.json.decode(line, type=tuple[str, str])
                self._tokens[card] = token

    def get(self, card: str) -> str | None:
        """The card's bearer token, None if its phone never logged in."""
        return self._tokens.get(card)

    def put(self, card: str, token: str) -> None:
        """Keeps a bearer token."""
        self._tokens[card] = token
        with _private(self._path) as file:
            os.write(file, msgspec.json.encode((card, token)) + b"\n")


@contextmanager
def _private(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield file
    finally:
        os.close(file)
