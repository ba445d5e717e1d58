"""Members on the Wi-Fi: who is told where, what is forgotten and when, and that everybody else is a number."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clients import MEMBERS_MOST, SETTLE_S, STRONGER_DB, Clients, ClientTransition, StationSeen
from edge.crowd import SPAN_US

S = 1_000_000
NOON = 1_790_078_400 * S  # 2026-09-22 12:00 UTC
PHONE, TABLET = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ADA, BOB = 0x0123456789ABCDEF, 0xFEDCBA9876543210
SETTLE = int(SETTLE_S * S)


def station(at_s, zone="door", mac=PHONE, token=None, rssi=None, state="associated") -> StationSeen:
    return StationSeen(NOON + int(at_s * S), mac, token, zone, rssi, state)


def told(transitions: list[ClientTransition] | None) -> list[tuple[int, str, str, float]]:
    return [(t.subject, t.state, t.zone, (t.since_us - NOON) / S) for t in transitions or []]


def until(clients: Clients, at_s: float) -> list[ClientTransition]:
    """What falls due until an instant, asked for at the instants that `due_us` names, as the node does."""
    found: list[ClientTransition] = []
    while (due := clients.due_us()) is not None and due <= NOON + int(at_s * S):
        found += clients.close(due) or []
    return found


def with_ada(**settings) -> Clients:
    clients = Clients(**settings)
    clients.login(PHONE, ADA, NOON)
    return clients


def test_a_member_who_logged_in_is_told_with_her_token_and_never_an_address():
    clients = with_ada()
    (enter,) = clients.seen(station(5))
    assert enter == ClientTransition(ADA, "door", "enter", NOON + 5 * S, NOON + 5 * S, 0.9)
    assert clients.seen(station(9)) == []


def test_a_network_that_knows_the_token_needs_no_login_and_no_address():
    clients = Clients()
    assert told(clients.seen(station(1, mac=None, token=ADA))) == [(ADA, "enter", "door", 1)]
    assert clients.others.due_us() is None


def test_a_network_that_tells_the_token_first_and_the_address_alone_later_is_understood():
    clients = Clients()
    assert told(clients.seen(station(1, token=ADA))) == [(ADA, "enter", "door", 1)]
    clients.seen(station(60, state="left"))
    assert told(until(clients, 60 + SETTLE_S)) == [(ADA, "exit", "door", 60)]


def test_somebody_who_did_not_log_in_is_counted_and_told_nowhere():
    clients = Clients()
    for number in range(6):
        assert clients.seen(station(1, mac=bytes([2, 0, 0, 0, 1, number]), rssi=-50 - 10 * number)) == []
    assert clients.due_us() is None
    due = clients.others.due_us()
    assert due is not None
    span = clients.others.close(due)
    assert span is not None and (span.radios, span.strong, span.span_s) == (6, 0, SPAN_US // S)
    assert "010000" not in repr(vars(clients)) + repr(vars(clients.others)), "no address is left anywhere"


def test_the_same_station_is_counted_once_and_fewer_than_five_are_nobody():
    clients = Clients()
    for at in range(40):
        clients.seen(station(at))
    due = clients.others.due_us()
    assert due is not None and clients.others.close(due) is None


def test_digests_of_two_spans_have_nothing_in_common():
    keys = iter(bytes([number]) * 32 for number in range(99))
    clients = Clients(draw=lambda size: next(keys))
    macs = [bytes([2, 0, 0, 0, 1, number]) for number in range(5)]
    digests = []
    for span in range(2):
        for mac in macs:
            clients.seen(station(span * 300 + 1, mac=mac))
        digests.append(set(clients.others._crowd._peaks))
        due = clients.others.due_us()
        assert due is not None and clients.others.close(due) is not None
    assert len(digests[0]) == len(digests[1]) == 5 and not digests[0] & digests[1]


def test_somebody_who_leaves_is_told_when_it_held_with_the_instant_it_began():
    clients = with_ada()
    clients.seen(station(0))
    assert clients.seen(station(60, state="left")) == []
    assert until(clients, 60 + SETTLE_S - 1) == []
    (gone,) = until(clients, 60 + SETTLE_S)
    assert told([gone]) == [(ADA, "exit", "door", 60)] and gone.at_us == NOON + 60 * S + SETTLE


def test_a_phone_that_sleeps_for_some_seconds_never_left():
    clients = with_ada()
    clients.seen(station(0))
    clients.seen(station(60, state="left"))
    assert clients.seen(station(70)) == []
    assert until(clients, 600) == []


def test_changing_access_points_is_an_exit_and_an_entry_at_one_instant():
    clients = with_ada()
    clients.seen(station(0, rssi=-50))
    clients.seen(station(60, zone="coffee", rssi=-52))
    assert told(until(clients, 60 + SETTLE_S)) == [(ADA, "exit", "door", 60), (ADA, "enter", "coffee", 60)]
    assert clients.seen(station(90, zone="coffee")) == []


def test_a_stop_that_comes_after_the_next_start_does_not_end_the_visit():
    clients = Clients()
    clients.seen(station(0, mac=None, token=ADA))
    clients.seen(station(60, zone="coffee", mac=None, token=ADA))
    moved = clients.seen(station(61, zone="door", mac=None, token=ADA, state="left"))
    assert told(moved) == [(ADA, "exit", "door", 60), (ADA, "enter", "coffee", 60)]
    assert until(clients, 300) == []


def test_a_phone_between_two_access_points_does_not_flap():
    clients = with_ada()
    found = clients.seen(station(0, rssi=-60))
    for at in range(5, 300, 5):
        found += until(clients, at)
        found += clients.seen(station(at, zone="coffee" if at % 10 else "door", rssi=-60 - at % 3, state="seen"))
    assert told(found) == [(ADA, "enter", "door", 0)]


def test_being_heard_much_more_strongly_elsewhere_is_a_move_at_once():
    clients = with_ada()
    clients.seen(station(0, rssi=-60, state="seen"))
    assert clients.seen(station(60, zone="coffee", rssi=-60 + STRONGER_DB - 1, state="seen")) == []
    clients.seen(station(61, zone="door", rssi=-60, state="seen"))
    moved = clients.seen(station(62, zone="coffee", rssi=-60 + STRONGER_DB, state="seen"))
    assert told(moved) == [(ADA, "exit", "door", 62), (ADA, "enter", "coffee", 62)]


def test_who_is_only_heard_moves_when_heard_there_again():
    clients = with_ada()
    clients.seen(station(0, state="seen"))
    clients.seen(station(60, zone="coffee", state="seen"))
    assert until(clients, 110) == [], "once may be an echo"
    moved = clients.seen(station(120, zone="coffee", state="seen"))
    assert told(moved) == [(ADA, "exit", "door", 60), (ADA, "enter", "coffee", 60)]


def test_a_second_device_keeps_its_owner_where_it_stays():
    clients = with_ada()
    clients.login(TABLET, ADA, NOON)
    clients.seen(station(0, mac=TABLET))
    clients.seen(station(1, mac=PHONE))
    clients.seen(station(60, mac=PHONE, state="left"))
    assert until(clients, 120) == []
    clients.seen(station(121, mac=TABLET, state="left"))
    assert told(until(clients, 200)) == [(ADA, "exit", "door", 121)]


@pytest.mark.parametrize(("state", "gone_s"), [("seen", 100), ("associated", 900)])
def test_who_is_never_told_to_have_left_left_when_last_heard(state, gone_s):
    clients = with_ada(away_s=100, session_s=900)
    clients.seen(station(10, state=state))
    assert until(clients, 10 + gone_s - 1) == []
    assert told(until(clients, 10 + gone_s)) == [(ADA, "exit", "door", 10)]


def test_being_heard_does_not_shorten_a_session():
    clients = with_ada(away_s=100, session_s=900)
    clients.seen(station(10))
    clients.seen(station(20, state="seen"))
    assert until(clients, 900) == []


def test_what_is_older_than_the_last_word_is_left_out():
    clients = with_ada()
    clients.seen(station(100, zone="coffee"))
    assert clients.seen(station(40, zone="door", state="left")) == []
    assert clients.seen(station(40, zone="door")) == []
    assert until(clients, 300) == []


def test_an_access_point_that_nobody_placed_keeps_a_visit_but_begins_none():
    clients = with_ada(away_s=100)
    assert clients.seen(station(0, zone=None, state="seen")) == []
    assert told(clients.seen(station(5, state="seen"))) == [(ADA, "enter", "door", 5)]
    clients.seen(station(90, zone=None, state="seen"))
    assert told(until(clients, 189)) == []
    assert told(until(clients, 190)) == [(ADA, "exit", "door", 90)]


def test_logging_out_ends_it_at_once_and_the_device_is_a_strangers_again():
    clients = with_ada()
    clients.seen(station(0))
    assert told(clients.logout(PHONE, NOON + 30 * S)) == [(ADA, "exit", "door", 30)]
    assert clients.seen(station(40)) == []
    assert clients.others.due_us() is not None
    assert clients.logout(PHONE, NOON + 50 * S) == []


def test_another_member_on_the_same_device_takes_it_over():
    clients = with_ada()
    clients.seen(station(0))
    assert told(clients.login(PHONE, BOB, NOON + 30 * S)) == [(ADA, "exit", "door", 30)]
    assert told(clients.seen(station(31))) == [(BOB, "enter", "door", 31)]


def test_a_pair_is_forgotten_when_its_device_was_not_there_for_a_session():
    clients = with_ada(session_s=600)
    until(clients, 600)
    assert clients.due_us() is None
    assert clients.seen(station(601)) == []


def test_a_member_who_comes_back_within_the_session_need_not_log_in_again():
    clients = with_ada(session_s=600)
    clients.seen(station(0))
    clients.seen(station(300, state="left"))
    assert told(until(clients, 700)) == [(ADA, "exit", "door", 300)]
    assert told(clients.seen(station(701))) == [(ADA, "enter", "door", 701)]


def test_at_local_midnight_everything_is_forgotten():
    clients = with_ada(session_s=86_400, tz=ZoneInfo("Europe/Berlin"))
    clients.seen(station(0))
    midnight_s = 10 * 3600  # 22:00 UTC
    assert until(clients, midnight_s - 1) == []
    assert told(until(clients, midnight_s)) == [(ADA, "exit", "door", midnight_s)]
    assert clients.due_us() is None
    assert clients.seen(station(midnight_s + 1)) == []


def test_a_revoked_token_is_forgotten_in_silence_and_stays_so():
    clients = with_ada()
    clients.seen(station(0))
    clients.revoke([ADA])
    assert clients.seen(station(10)) == []
    assert clients.seen(station(11, mac=None, token=ADA)) == []
    assert clients.login(PHONE, ADA, NOON + 12 * S) == []
    assert clients.seen(station(13)) == [] and until(clients, 4000) == []
    clients.revoke([])
    assert told(clients.seen(station(5000, mac=None, token=ADA))) == [(ADA, "enter", "door", 5000)]


def test_a_device_whose_owner_opted_out_is_neither_told_nor_counted():
    clients = with_ada(is_out=lambda mac: mac == PHONE)
    assert clients.seen(station(0)) == [] and clients.others.due_us() is None
    assert told(clients.seen(station(0, mac=None, token=ADA))) == [(ADA, "enter", "door", 0)], "no address, no device"


def test_a_clock_that_went_back_starts_afresh_and_nobody_must_log_in_again():
    clients = with_ada()
    clients.seen(station(0))
    assert told(clients.clock_went_back(NOON - 7200 * S)) == [(ADA, "exit", "door", -7200)]
    assert told(clients.seen(station(-7000))) == [(ADA, "enter", "door", -7000)]


def test_memory_is_bounded_and_the_one_unheard_for_longest_goes_first():
    clients = Clients()
    for number in range(MEMBERS_MOST):
        clients.seen(station(number * 0.001, mac=None, token=number))
    assert told(clients.seen(station(10, mac=None, token=ADA))) == [
        (0, "exit", "door", 0),
        (ADA, "enter", "door", 10),
    ]
    for number in range(MEMBERS_MOST + 5):
        clients.login(number.to_bytes(6, "big"), number, NOON)
    assert len(clients._pairs) == MEMBERS_MOST


events = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from([PHONE, TABLET, None]),
        st.sampled_from([ADA, BOB, None]),
        st.sampled_from(["door", "coffee", "till", None]),
        st.sampled_from([None, -80, -60, -40]),
        st.sampled_from(["associated", "seen", "left", "login", "logout"]),
    ),
    max_size=40,
)


@given(events, st.sampled_from([1, 60]))
def test_whatever_happens_entries_and_exits_take_turns_and_all_end(happenings, away_s):
    clients = Clients(away_s=away_s, session_s=2 * away_s)
    now = 0.0
    found: list[ClientTransition] = []
    for pause, mac, token, zone, rssi, what in happenings:
        now += pause
        found += until(clients, now)
        if what == "login" and mac and token:
            found += clients.login(mac, token, NOON + int(now * S))
        elif what == "logout" and mac:
            found += clients.logout(mac, NOON + int(now * S))
        elif what in ("associated", "seen", "left"):
            found += clients.seen(station(now, zone, mac, token, rssi, what))
    found += until(clients, now + 10_000)
    assert clients.due_us() is None, "everything ends, and nothing is left to look for"
    for token in (ADA, BOB):
        mine = [t for t in found if t.subject == token]
        assert [t.state for t in mine] == ["enter", "exit"] * (len(mine) // 2)
        for enter, leave in zip(mine[::2], mine[1::2], strict=True):
            assert enter.zone == leave.zone and enter.since_us <= leave.since_us <= leave.at_us
        assert [t.at_us for t in mine] == sorted(t.at_us for t in mine)
