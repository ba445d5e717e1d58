"""What a node thinks of its clock: readings in, trust, steps and corrected instants out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.clock import RELEASED_US, SimulatedClock, SystemClock
from contract.codec import decode, encode, restamped
from contract.errors import ContractError
from contract.messages import SIGHTING_COLUMNS, Crowd, CrowdRow, Header, Presence, PresenceRow, Sightings
from edge.time_trust import (
    HOLD_EXPECTED_S,
    HOLD_UNSET_S,
    HOLDOVER_US,
    NodeTime,
    Reading,
    Stamp,
    TimeTrust,
    boot_us,
    kernel_synced,
    read_machine,
    stamp,
)

HOUR_US = 3_600_000_000
NOW_US = RELEASED_US + 60 * 24 * HOUR_US
"""The true instant at which the machine booted."""
Y2024_US = 1_704_067_200_000_000


class Machine:
    """A machine whose true time is NOW_US + its count since boot, and whose clock is off by `error_us`."""

    def __init__(self, error_us: int = 0, synced: bool | None = False, expected: bool = False) -> None:
        self.boot_us = 5_000_000
        self.error_us = error_us
        self.synced = synced
        self.expected = expected

    def read(self) -> Reading:
        return Reading(self.true_us + self.error_us, self.boot_us, self.synced, self.expected)

    @property
    def true_us(self) -> int:
        return NOW_US + self.boot_us

    def run(self, us: int) -> None:
        self.boot_us += us

    def sync(self) -> None:
        """NTP steps the clock to the truth."""
        self.error_us, self.synced = 0, True

    def time(self, earliest_us: int = 0) -> NodeTime:
        return NodeTime(SystemClock(), earliest_us, self.read, lambda: self.boot_us)


@pytest.mark.parametrize(
    ("error_us", "synced", "earliest_us", "state"),
    [
        (0, True, 0, "synchronised"),
        (0, False, 0, "plausible"),  # a container, a clock with a battery
        (0, None, 0, "plausible"),  # a kernel that may not be asked
        (-NOW_US, False, 0, "unset"),  # no clock at all: 1970
        (-NOW_US, True, 0, "unset"),  # whatever the kernel says
        (Y2024_US - NOW_US, False, 0, "unset"),  # the image's own date
        (-2 * HOUR_US, False, 0, "plausible"),  # saved at the last shutdown: it may be right
        (-2 * HOUR_US, False, NOW_US - HOUR_US, "unset"),  # but not where an hour later was told before
        (-2 * HOUR_US, True, NOW_US - HOUR_US, "synchronised"),  # unless a time service vouches for it
        (20 * 366 * 24 * HOUR_US, False, 0, "unset"),  # a battery that is flat
    ],
)
def test_what_a_clock_is_taken_for(error_us, synced, earliest_us, state):
    trust = TimeTrust(Machine(error_us, synced).read(), earliest_us)
    assert (trust.state, trust.trusted) == (state, state == "synchronised")


@pytest.mark.parametrize("error_us", [-2 * HOUR_US, 2 * HOUR_US, -NOW_US, Y2024_US - NOW_US])
def test_a_step_of_ntp_is_noticed_and_tells_by_how_much_earlier_instants_were_off(error_us):
    machine = Machine(error_us)
    trust = TimeTrust(machine.read())
    heard_at = machine.boot_us
    early = trust.stamp(heard_at)
    assert early.mono_us == heard_at and not early.trusted
    machine.run(HOUR_US)
    assert not trust.look(machine.read()), "nothing new yet"
    machine.sync()
    assert trust.look(machine.read())
    assert (trust.steps, trust.stepped_us) == (1, -error_us)
    assert trust.stamp(heard_at) == Stamp(NOW_US + heard_at, True, None)


def test_a_clock_that_cannot_be_right_tells_the_newest_instant_known_and_the_time_since_boot():
    machine = Machine(-NOW_US)
    known_us = NOW_US - 5 * HOUR_US
    trust = TimeTrust(machine.read(), known_us)
    first = trust.stamp(machine.boot_us)
    machine.run(HOUR_US)
    later = trust.stamp(machine.boot_us)
    assert first.t0_us == known_us + 5_000_000
    assert later.t0_us - first.t0_us == HOUR_US
    assert TimeTrust(machine.read()).stamp(0).t0_us == RELEASED_US, "never an instant that no database takes"


def test_small_errors_are_slewed_and_no_step():
    machine = Machine(400_000, True)
    trust = TimeTrust(machine.read())
    machine.error_us = 0
    assert not trust.look(machine.read())
    assert (trust.steps, trust.offset_us) == (0, NOW_US), "yet followed"


def test_a_clock_that_was_synchronised_is_trusted_for_a_day():
    machine = Machine(0, True)
    trust = TimeTrust(machine.read())
    machine.synced = False
    machine.run(HOLDOVER_US)
    trust.look(machine.read())
    assert trust.trusted
    machine.run(1_000_000)
    assert trust.look(machine.read())
    assert trust.state == "plausible"


def test_a_step_by_hand_ends_the_trust():
    machine = Machine(0, True)
    trust = TimeTrust(machine.read())
    machine.synced, machine.error_us = False, HOUR_US
    trust.look(machine.read())
    assert (trust.state, trust.stepped_us) == ("plausible", HOUR_US)


def test_only_a_clock_that_can_be_waited_for_is_waited_for():
    assert TimeTrust(Machine(-NOW_US).read()).hold_s == HOLD_UNSET_S
    assert TimeTrust(Machine(0, False, expected=True).read()).hold_s == HOLD_EXPECTED_S
    assert TimeTrust(Machine(0, False).read()).hold_s == 0, "a container is not held back"
    assert TimeTrust(Machine(0, True, expected=True).read()).hold_s == 0


def test_the_steady_clock_knows_no_step_and_what_it_counted_is_told_right_afterwards():
    machine = Machine(2 * HOUR_US)
    time = machine.time()
    before = time.steady.now_us()
    machine.run(10_000_000)
    machine.sync()
    machine.run(1)
    assert time.steady.now_us() - before == 10_000_001
    assert time.look()
    assert not time.look()
    told = stamp(time.steady, before)
    assert told == Stamp(NOW_US + 5_000_000, True, None)
    assert time.wall.now_us() == machine.true_us
    assert (time.trusted, time.state, time.hold_s, time.stepped_us) == (True, "synchronised", 0, -2 * HOUR_US)
    assert time.wall.trusted and time.steady.trusted


def test_a_stamp_is_by_a_fresh_look():
    machine = Machine(2 * HOUR_US)
    time = machine.time()
    machine.sync()
    assert stamp(time.steady, time.steady.now_us()) == Stamp(machine.true_us, True, None)


@given(st.lists(st.tuples(st.integers(0, HOUR_US), st.integers(-180, 180), st.booleans()), max_size=20))
def test_whatever_the_clock_does_the_order_within_a_boot_stays_and_the_end_corrects_all(moves):
    machine = Machine(0)
    time = machine.time()
    monos, stamps = list[int](), list[Stamp]()
    for ran_us, error_min, synced in moves:
        machine.run(ran_us)
        machine.error_us, machine.synced = (0, True) if synced else (error_min * 60_000_000, False)
        at_us = time.steady.now_us()
        monos.append(machine.boot_us)
        stamps.append(stamp(time.steady, at_us))
    machine.sync()
    time.look()
    told = [s.t0_us if s.mono_us is None else s.mono_us + time.offset_us for s in stamps]
    assert told == sorted(told)
    wrong = [t - NOW_US - mono for t, mono, s in zip(told, monos, stamps, strict=True) if s.mono_us is not None]
    assert all(error == 0 for error in wrong)


def test_a_simulated_clock_is_both_clocks_always_trusted_and_never_corrected():
    clock = SimulatedClock(NOW_US, 0, 0.0)
    time = NodeTime(clock)
    assert time.steady is time.wall is clock
    assert not time.look()
    assert (time.trusted, time.state, time.hold_s, time.stepped_us) == (True, "synchronised", 0, 0)
    assert stamp(time.steady, 17) == Stamp(17, True, None)


def test_the_machines_own_clocks_can_be_read():
    one, other = read_machine(), read_machine()
    assert 0 <= other.boot_us - one.boot_us < 60_000_000
    assert one.boot_us <= boot_us()
    assert kernel_synced() in (True, False, None)
    assert NodeTime(SystemClock()).state in ("synchronised", "plausible", "unset")


HEADER = Header("sightings", "t", "s", "n", "ab" * 16, 7, "boot", "untrusted", 1_000, 2)
EACH = [
    Sightings(HEADER, tuple(bytes(range(column.width)) * 2 for column in SIGHTING_COLUMNS)),
    Presence(
        msgspec.structs.replace(HEADER, kind="presence", n=1),
        (PresenceRow("00" * 8, 1, "door", "enter", 0, -5, 0.25),),
    ),
    Crowd(msgspec.structs.replace(HEADER, kind="crowd", n=1), (CrowdRow(0, 300, 9, 4),)),
]


@given(st.sampled_from(EACH), st.integers(0, 253_402_300_799_999_999), st.sampled_from(["trusted", "untrusted"]))
def test_a_batch_told_anew_differs_in_time_and_trust_only(batch, t0_us, clock):
    header = msgspec.structs.replace(batch.header, t0=t0_us, clock=clock)
    again = msgspec.structs.replace(batch, header=header)
    assert restamped(encode(batch), t0_us, clock) == encode(again)
    assert decode(restamped(encode(batch), t0_us, clock)) == again


@given(st.binary(max_size=200) | st.sampled_from([b"{", b"{}", b"[]", b"\x90", b"\xdc\xff\xff"]))
def test_any_bytes_are_told_anew_or_refused(payload):
    try:
        assert isinstance(restamped(payload, 1, "trusted"), bytes)
    except ContractError:
        pass
