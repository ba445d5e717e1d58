"""The store's key of the day among six nodes and a cloud that loses, doubles and delays, and among liars."""

import base64
import dataclasses
import datetime
import heapq
import random
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud.fleet.relay import relay
from contract.orders import KeyMessage, KeyOffer, KeyRank, KeyWant, Roster, Sibling, decode_keys, encode_order
from contract.topics import NodeAddress
from edge import seal
from edge.daykey import MAKE_AFTER_S, DayKey, Held, day_of
from edge.privacy import Pseudonyms
from edge.seal import Identity

BERLIN = ZoneInfo("Europe/Berlin")
NAMES = tuple(f"node-{i}" for i in range(1, 7))
S = 1_000_000


def us(year: int, month: int, day: int, hour: int = 0, minute: int = 0, tz: ZoneInfo = BERLIN) -> int:
    return int(datetime.datetime(year, month, day, hour, minute, tzinfo=tz).timestamp()) * S


NOON_US = us(2026, 11, 24, 12)
NOW = datetime.datetime(2026, 11, 24, 11, tzinfo=datetime.UTC)


@dataclass
class Maker:
    """An authority that signs whatever it is asked to."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=seal.new_key)

    def __post_init__(self) -> None:
        self.certificate = self.sign("Authority", self.key, ca=True)

    def sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        ca: bool = False,
        days: tuple[int, int] = (-1, 90),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("Authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + datetime.timedelta(days=days[0]))
            .not_valid_after(NOW + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def identity(self, name: str, **how: object) -> Identity:
        key = seal.new_key()
        certificate = self.sign(name, key, **how)  # type: ignore[arg-type]
        der = certificate.public_bytes(serialization.Encoding.DER)
        return Identity(der, key, (self.certificate,), lambda: NOW)


AUTHORITY = Maker()
IDENTITIES = {name: AUTHORITY.identity(f"acme/main/{name}") for name in NAMES}


@dataclass
class Node:
    name: str
    clock_off_us: int = 0
    tz: ZoneInfo = BERLIN

    def __post_init__(self) -> None:
        self.online = True
        self.reboot()

    def reboot(self) -> None:
        """The process starts anew: nothing is left in memory."""
        self.keys: set[bytes] = set()
        self.daykey = DayKey(NodeAddress("acme", "main", self.name), self.tz, IDENTITIES[self.name])
        self.daykey.changed = self._changed

    def _changed(self, held: Held | None) -> None:
        if held is not None:
            self.keys.add(bytes(held.key))

    @property
    def key(self) -> bytes | None:
        return bytes(self.daykey.held.key) if self.daykey.held else None


class World:
    """A store's nodes and the cloud between them; the network may lose, double and delay every message."""

    def __init__(self, names: tuple[str, ...] = NAMES, start_us: int = NOON_US, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.now_us = start_us
        self.start_us = start_us
        self.nodes = {name: Node(name) for name in names}
        self.way: list[tuple[float, int, str, bytes]] = []
        self.count = 0
        self.loss = 0.0
        self.doubled = 0.0
        self.delay_s = 0.05
        self.cut: set[str] = set()
        """Nodes without a line."""
        self.stale: set[str] = set()
        """Nodes that the cloud takes for online although they are not."""
        self.carried: list[bytes] = []

    @property
    def at_s(self) -> float:
        return (self.now_us - self.start_us) / S

    def run(self, seconds: float, step_s: float = 0.25) -> None:
        end_us = self.now_us + round(seconds * S)
        while self.now_us < end_us:
            self.now_us += round(step_s * S)
            while self.way and self.way[0][0] <= self.at_s:
                _, _, name, payload = heapq.heappop(self.way)
                if name not in self.cut:
                    self._up(name, self.nodes[name].daykey.on_message(decode_keys(payload)))
            for name, node in self.nodes.items():
                said = node.daykey.tick(self.now_us + node.clock_off_us, self.at_s, name not in self.cut)
                self._up(name, said)

    def _up(self, name: str, messages: list[KeyMessage]) -> None:
        present = {n: n not in self.cut or n in self.stale for n in self.nodes}
        for message in messages:
            self.carried.append(encode_order(message))
            if name in self.cut or self.random.random() < self.loss:
                continue
            for address, sent in relay(NodeAddress("acme", "main", name), message, present):
                for _ in range(2 if self.random.random() < self.doubled else 1):
                    if self.random.random() >= self.loss:
                        self._down(address.node, encode_order(sent))

    def _down(self, name: str, payload: bytes) -> None:
        self.count += 1
        heapq.heappush(self.way, (self.at_s + self.random.uniform(0.01, self.delay_s), self.count, name, payload))

    @property
    def keys(self) -> set[bytes | None]:
        return {node.key for node in self.nodes.values()}

    def one_key(self) -> bytes:
        (key,) = self.keys
        assert key is not None
        return key


def test_six_nodes_have_one_key_made_by_the_lowest_named() -> None:
    world = World()
    world.run(MAKE_AFTER_S + 4)
    assert len(world.one_key()) == 32
    held = world.nodes["node-6"].daykey.held
    assert held is not None and held.rank.maker == "node-1"
    assert all(len(node.keys) == 1 for node in world.nodes.values()), "nobody had another one before"


def test_a_node_alone_in_its_store_makes_its_own() -> None:
    world = World(("node-1",))
    world.run(MAKE_AFTER_S + 2)
    assert world.one_key()


def test_without_a_line_to_the_cloud_there_is_no_key_and_with_it_there_is() -> None:
    world = World(("node-1",))
    world.cut = {"node-1"}
    world.run(4 * MAKE_AFTER_S)
    assert world.keys == {None}
    assert world.carried == [], "nothing is said that could be queued"
    world.cut = set()
    world.run(MAKE_AFTER_S + 2)
    assert world.one_key()


def test_a_node_that_reboots_gets_the_same_key_again() -> None:
    world = World()
    world.run(20)
    key = world.one_key()
    for name in ("node-1", "node-4"):
        world.nodes[name].reboot()
        assert world.nodes[name].key is None
        world.run(3)
        assert world.one_key() == key
    assert all(node.daykey.replaced == 0 for node in world.nodes.values())


def test_a_node_that_comes_late_with_the_lowest_name_takes_the_key_that_is_there() -> None:
    world = World()
    world.cut = {"node-1"}
    world.run(MAKE_AFTER_S * 2 + 4)
    key = world.nodes["node-2"].key
    assert key is not None
    world.run(3600, step_s=5)
    world.cut = set()
    world.run(4)
    assert world.one_key() == key


def test_the_next_node_makes_the_key_if_the_roster_names_one_that_died() -> None:
    world = World()
    world.cut = world.stale = {"node-1"}
    world.run(MAKE_AFTER_S * 2 + 4)
    living = {world.nodes[name].key for name in NAMES[1:]}
    assert len(living) == 1 and None not in living


def test_two_halves_that_made_a_key_each_end_with_the_one_made_first() -> None:
    world = World()
    world.cut = set(NAMES[:3])
    world.run(MAKE_AFTER_S * 4 + 4)  # node-4 makes one
    first = world.nodes["node-4"].key
    world.cut = set(NAMES[3:])
    world.run(MAKE_AFTER_S + 4)
    assert world.nodes["node-1"].key not in (first, None), "and node-1 another one"
    world.cut = set()
    world.run(3)
    assert world.one_key() == first
    assert all(node.daykey.replaced == 1 for node in list(world.nodes.values())[:3])


@pytest.mark.parametrize("seed", range(5))
def test_a_network_that_loses_a_third_and_doubles_a_third_ends_with_one_key(seed: int) -> None:
    world = World(seed=seed)
    world.loss, world.doubled, world.delay_s = 0.33, 0.33, 4.0
    world.run(120, step_s=0.5)
    world.loss = 0.0
    world.run(600, step_s=1)
    assert world.one_key()


def test_midnight_destroys_the_key_everywhere_and_brings_another() -> None:
    world = World(start_us=us(2026, 11, 24, 23, 59))
    world.run(40)
    yesterday = world.one_key()
    held = world.nodes["node-3"].daykey.held
    assert held is not None and held.day.name == "2026-11-24"
    world.run(20.5)
    assert world.keys == {None}
    assert held.key == bytes(32), "wiped in place"
    world.run(MAKE_AFTER_S + 4)
    assert world.one_key() != yesterday


def test_clocks_that_disagree_by_minutes_agree_on_the_key_of_the_new_day() -> None:
    world = World(start_us=us(2026, 11, 24, 23, 50))
    world.nodes["node-2"].clock_off_us = 180 * S
    world.nodes["node-5"].clock_off_us = -120 * S
    world.run(1200, step_s=1)
    assert world.one_key()
    assert all(node.daykey.held and node.daykey.held.day.name == "2026-11-25" for node in world.nodes.values())


def test_a_clock_that_is_not_trusted_has_no_key() -> None:
    world = World(("node-1",))
    world.run(20)
    daykey = world.nodes["node-1"].daykey
    assert daykey.held
    assert daykey.tick(world.now_us, world.at_s, online=True, trusted=False) == []
    assert daykey.held is None


DAYS = [
    # Where, an instant, its day, hours until the next local midnight.
    ("Europe/Berlin", (2026, 10, 25, 0, 0), "2026-10-25", 25),  # summer time ends
    ("Europe/Berlin", (2026, 3, 29, 0, 0), "2026-03-29", 23),  # and begins
    ("Africa/Cairo", (2026, 4, 24, 1, 0), "2026-04-24", 23),  # at midnight: 00:00 does not exist
    ("America/Havana", (2026, 11, 1, 0, 0), "2026-11-01", 25),  # 00:00 to 01:00 is there twice
    ("Asia/Kathmandu", (2026, 5, 1, 0, 0), "2026-05-01", 24),
    ("Pacific/Kiritimati", (2026, 5, 1, 0, 0), "2026-05-01", 24),
]


@pytest.mark.parametrize(("tz", "at", "name", "hours"), DAYS)
def test_a_day_is_the_stores_own_also_where_clocks_change(
    tz: str, at: tuple[int, int, int, int, int], name: str, hours: int
) -> None:
    zone = ZoneInfo(tz)
    day = day_of(us(*at, tz=zone), zone)
    assert (day.name, day.end_us - day.start_us) == (name, hours * 3600 * S)


@given(st.integers(0, 4_000_000_000), st.sampled_from([tz for tz, *_ in DAYS]))
def test_every_instant_lies_in_its_day_and_days_adjoin(at_s: int, tz: str) -> None:
    zone = ZoneInfo(tz)
    day = day_of(at_s * S, zone)
    assert day.start_us <= at_s * S < day.end_us
    assert day_of(day.end_us, zone).start_us == day.end_us
    assert day_of(day.end_us - S, zone) == day


def test_pseudonyms_live_as_long_as_the_key_and_a_backlog_of_yesterday_needs_none() -> None:
    world = World(("node-1",), start_us=us(2026, 11, 24, 23, 59))
    pseudonyms = Pseudonyms()
    world.nodes["node-1"].daykey.changed = pseudonyms.follow
    phone = bytes.fromhex("0050c2000001")
    assert pseudonyms.subject(phone, False, world.now_us) is None, "aggregates only until there is a key"
    world.run(40)
    heard_us = world.now_us
    told = pseudonyms.subject(phone, False, heard_us)
    assert told is not None
    world.run(40)
    assert pseudonyms.subject(phone, False, heard_us) is None, "a window of yesterday holds its pseudonym already"
    today = pseudonyms.subject(phone, False, world.now_us)
    assert today not in (told, None)


# -- a cloud that lies


def node(name: str = "node-1", identity: Identity | None = None) -> DayKey:
    made = DayKey(NodeAddress("acme", "main", name), BERLIN, identity or IDENTITIES[name], jitter=lambda low, _: low)
    made.tick(NOON_US, 0.0, online=True)
    return made


def holder(name: str = "node-1") -> DayKey:
    made = node(name)
    made.on_message(Roster("2026-11-24", (Sibling(name, True),)))
    made.tick(NOON_US, MAKE_AFTER_S, online=True)
    assert made.held
    return made


def want_of(name: str, identity: Identity, at_us: int = NOON_US) -> KeyWant:
    address = NodeAddress("acme", "main", name)
    (want,) = DayKey(address, BERLIN, identity, jitter=lambda low, _: low).tick(at_us, 0.0, online=True)
    assert isinstance(want, KeyWant)
    return want


STRANGERS = [
    ("another authority", "node-2", Maker().identity("acme/main/node-2")),
    ("a node of another store", "node-2", AUTHORITY.identity("acme/other/node-2")),
    ("a node of another tenant", "node-2", AUTHORITY.identity("rival/main/node-2")),
    ("a node under another's name", "node-2", IDENTITIES["node-3"]),
    ("the cloud itself", "node-2", AUTHORITY.identity("cloud")),
    ("a certificate that ended", "node-2", AUTHORITY.identity("acme/main/node-2", days=(-90, -1))),
    ("one that does not hold yet", "node-2", AUTHORITY.identity("acme/main/node-2", days=(1, 90))),
    ("a server's certificate", "node-2", AUTHORITY.identity("acme/main/node-2", usage=ExtendedKeyUsageOID.SERVER_AUTH)),
    ("an authority's certificate", "node-2", AUTHORITY.identity("acme/main/node-2", ca=True)),
]


@pytest.mark.parametrize(("name", "identity"), [pytest.param(*s[1:], id=s[0]) for s in STRANGERS])
def test_a_stranger_that_the_cloud_lets_ask_gets_nothing(name: str, identity: Identity) -> None:
    asked = holder()
    assert asked.on_message(want_of(name, identity)) == []
    assert asked.refused == 1
    assert asked.on_message(want_of("node-2", IDENTITIES["node-2"])) != [], "a sibling does"


@pytest.mark.parametrize(("name", "identity"), [pytest.param(*s[1:], id=s[0]) for s in STRANGERS])
def test_a_stranger_that_the_cloud_lets_offer_is_not_believed(name: str, identity: Identity) -> None:
    """The cloud knows the certificates of all: it could seal a key of its own, but for the signature."""
    asking = node("node-1")
    (want,) = asking.tick(NOON_US, 20.0, online=True)
    liar = node(name, dataclasses.replace(identity, authorities=(AUTHORITY.certificate,)))  # it answers us
    liar.on_message(Roster("2026-11-24", (Sibling(name, True),)))
    liar.tick(NOON_US, MAKE_AFTER_S, online=True)
    for offer in liar.on_message(want):
        asking.on_message(offer)
    assert asking.held is None
    assert asking.refused == 1


def exchange() -> tuple[DayKey, KeyWant, KeyOffer]:
    """A node that asked, its want, and a good answer to it."""
    asking = node("node-2")
    (want,) = asking.tick(NOON_US, 20.0, online=True)
    (offer,) = holder().on_message(want)
    assert isinstance(want, KeyWant) and isinstance(offer, KeyOffer)
    return asking, want, offer


def test_a_good_offer_opens_and_once_is_as_good_as_twice() -> None:
    asking, _, offer = exchange()
    asking.on_message(offer)
    held = asking.held
    assert held is not None and held.rank == offer.rank
    asking.on_message(offer)
    assert asking.held is held


BENT = [
    ("day", "2026-11-25"),
    ("to", "node-3"),
    ("node", "node-3"),
    ("rank", KeyRank(NOON_US, "node-0", "0" * 16)),
    ("sealed", bytes(48)),
    ("point", seal.point_of(seal.new_key())),
    ("point", b"\x04" + bytes(64)),
    ("asked", seal.point_of(seal.new_key())),
    ("certificate", IDENTITIES["node-4"].certificate),
    ("certificate", b"\x30\x80"),
    ("signature", bytes(70)),
]


@pytest.mark.parametrize(("part", "value"), [pytest.param(*b, id=f"{i} {b[0]}") for i, b in enumerate(BENT)])
def test_an_offer_of_which_any_part_was_changed_is_worth_nothing(part: str, value: object) -> None:
    asking, _, offer = exchange()
    asking.on_message(msgspec.structs.replace(offer, **{part: value}))
    assert asking.held is None


@pytest.mark.parametrize(
    ("part", "value"),
    [pytest.param(*b, id=f"{i} {b[0]}") for i, b in enumerate(BENT) if b[0] not in ("to", "sealed", "asked")],
)
def test_a_want_of_which_any_part_was_changed_is_not_answered(part: str, value: object) -> None:
    _, want, _ = exchange()
    assert holder().on_message(msgspec.structs.replace(want, **{part: value})) == []


def test_an_offer_recorded_yesterday_opens_nothing_today_nor_in_another_process() -> None:
    asking, want, offer = exchange()
    again = node("node-2")
    (new_want,) = again.tick(NOON_US, 20.0, online=True)
    assert isinstance(new_want, KeyWant)
    again.on_message(offer)
    again.on_message(msgspec.structs.replace(offer, asked=new_want.point))
    assert again.held is None, "another process of the same node"
    asking.tick(us(2026, 11, 25), 30.0, online=True)
    asking.on_message(offer)
    asking.on_message(msgspec.structs.replace(offer, day="2026-11-25"))
    assert asking.held is None
    tomorrow = node("node-1")
    tomorrow.tick(us(2026, 11, 25), 1.0, online=True)
    assert tomorrow.on_message(want) == [], "nor is yesterday's want answered"


@pytest.mark.parametrize("made", [0, us(2026, 11, 23, 23, 59), us(2026, 11, 25)])
def test_a_key_that_claims_to_be_made_on_another_day_does_not_win(made: int) -> None:
    asking, want, _ = exchange()
    sibling = holder()
    held = sibling.held
    assert held is not None
    sibling.held = dataclasses.replace(held, rank=KeyRank(made, held.rank.maker, held.rank.id))
    (offer,) = sibling.on_message(want)
    asking.on_message(offer)
    assert asking.held is None and asking.refused == 1


def test_an_offer_for_one_node_opens_at_no_other() -> None:
    _, _, offer = exchange()
    third = node("node-3")
    third.on_message(offer)
    third.on_message(msgspec.structs.replace(offer, to="node-3"))
    assert third.held is None


def test_what_the_cloud_carries_is_not_the_key_and_it_is_in_no_text_of_ours() -> None:
    world = World()
    world.run(20)
    key = world.one_key()
    carried = b"".join(world.carried)
    assert len(carried) > 10_000
    held = world.nodes["node-1"].daykey.held
    texts = carried + repr(held).encode() + repr(world.nodes["node-1"].daykey).encode()
    for form in (key, key.hex().encode(), base64.b64encode(key)[:40]):
        assert form not in texts


def test_a_flood_of_one_want_is_answered_twice_a_second_at_most() -> None:
    asked, want = holder(), want_of("node-2", IDENTITIES["node-2"])
    answers = 0
    for i in range(100):
        asked.tick(NOON_US + i * S // 100, MAKE_AFTER_S + i / 100, online=True)
        answers += len(asked.on_message(want))
    assert answers == 2


@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_a_certificate(data: bytes) -> None:
    assert not IDENTITIES["node-1"].signed_by(data, "acme/main/node-1", b"", b"")


@given(st.integers(0), st.integers(0, 255))
@settings(max_examples=200)
def test_a_certificate_with_any_byte_changed_is_not_taken(at: int, value: int) -> None:
    identity, message = IDENTITIES["node-1"], b"hello"
    bent = bytearray(identity.certificate)
    bent[at % len(bent)] = value
    good = bytes(bent) == identity.certificate
    assert identity.signed_by(bytes(bent), "acme/main/node-1", message, identity.sign(message)) is good


def test_a_certificate_of_a_negative_number_is_looked_at_in_silence() -> None:
    identity, message = IDENTITIES["node-1"], b"hello"
    number = x509.load_der_x509_certificate(identity.certificate).serial_number
    bent = bytearray(identity.certificate)
    bent[bent.index(number.to_bytes(number.bit_length() // 8 + 1))] |= 0x80  # the sign in DER
    assert not identity.signed_by(bytes(bent), "acme/main/node-1", message, identity.sign(message))


# -- any history


class Histories(RuleBasedStateMachine):
    """Lines cut and mended, nodes that reboot, losses, hours that pass; then all is well for a while."""

    @initialize(seed=st.integers(0, 1000), hour=st.sampled_from([12, 23]))
    def open(self, seed: int, hour: int) -> None:
        self.world = World(NAMES[:4], us(2026, 11, 24, hour, 55), seed)

    @rule(seconds=st.sampled_from([2, 12, 40, 400]))
    def pass_time(self, seconds: int) -> None:
        self.world.run(seconds, step_s=1 if seconds < 100 else 5)

    @rule(name=st.sampled_from(NAMES[:4]))
    def cut_or_mend(self, name: str) -> None:
        self.world.cut ^= {name}

    @rule(name=st.sampled_from(NAMES[:4]))
    def reboot(self, name: str) -> None:
        self.world.nodes[name].reboot()

    @precondition(lambda self: self.world.loss == 0)
    @rule()
    def lose(self) -> None:
        self.world.loss, self.world.doubled, self.world.delay_s = 0.4, 0.3, 5.0

    @invariant()
    def no_key_is_of_another_day(self) -> None:
        for node in self.world.nodes.values():
            held = node.daykey.held
            assert held is None or held.day == day_of(self.world.now_us, BERLIN)
            assert held is None or len(held.key) == 32

    def teardown(self) -> None:
        world = self.world
        world.loss, world.doubled, world.cut = 0.0, 0.0, set()
        world.run(600, step_s=1)
        assert world.one_key()
        assert all(node.daykey.refused == 0 for node in world.nodes.values()), "nobody lied"


Histories.TestCase.settings = settings(
    max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_history_ends_with_one_key = Histories.TestCase
