"""Posts of the Meraki Scanning API: shapes as a real network sent them are read, anything else has a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.frames.meraki import Malformed, Observation, Post, Scan, parse_post, scan_of

AP = bytes.fromhex("a8469d275663")
T_US = 1_637_676_109_000_000  # 2021-11-23T14:01:49Z

# The shape of what an MR access point's network posted in November 2021, with other addresses.
LATEST_ONLY: dict[str, object] = {
    "locations": [],
    "ipv4": None,
    "ssid": None,
    "os": None,
    "clientMac": "34:7e:5c:00:00:01",
    "latestRecord": {"time": "2021-11-23T14:01:49Z", "nearestApMac": "a8:46:9d:27:56:63", "nearestApRssi": -60},
    "ipv6": None,
    "manufacturer": "Sonos",
}
# As the documentation of version 3 has it: numbers as texts, several locations.
LOCATED: dict[str, object] = {
    "clientMac": "02:00:00:00:01:00",
    "ssid": "guest",
    "userId": "0123456789abcdef",
    "locations": [
        {
            "time": "2021-11-23T14:01:20Z",
            "x": 1.5,
            "y": "2.5",
            "lat": "1",
            "lng": 2,
            "variance": 2.2,
            "floorPlanId": "g_1",
            "nearestApTags": ["door"],
            "rssiRecords": [{"apMac": "00:18:0a:00:00:01", "rssi": -71}, {"apMac": "a8:46:9d:27:56:63", "rssi": "-48"}],
        }
    ],
    "latestRecord": {"time": "2021-11-23T14:01:49Z", "nearestApMac": "a8:46:9d:27:56:63", "nearestApRssi": "-52"},
}


def body(*observations: object, **changes: object) -> bytes:
    post = {"version": "3.0", "secret": "s", "type": "WiFi", "data": {"networkId": "N", "observations": observations}}
    return json.dumps({**post, **changes}).encode()


def scan(*observations: object) -> Scan:
    post = parse_post(body(*observations))
    assert isinstance(post, Post)
    read = scan_of(post)
    assert isinstance(read, Scan)
    return read


def test_a_client_without_a_location_is_where_it_was_heard_last():
    mac = bytes.fromhex("347e5c000001")
    assert scan(LATEST_ONLY) == Scan((Observation(T_US, mac, None, AP, -60, False),), 0)


def test_locations_give_the_strongest_access_point_in_the_order_of_time():
    mac, token = bytes.fromhex("020000000100"), 0x0123456789ABCDEF
    first, second = scan(LOCATED).observations
    assert first == Observation(T_US - 29_000_000, mac, token, AP, -48, True)
    assert second == Observation(T_US, mac, token, AP, -52, True)


def test_one_observation_that_makes_no_sense_does_not_lose_the_others():
    nonsense: list[object] = [None, 7, {}, {"clientMac": "ff:ff:ff:ff:ff:ff"}, {**LATEST_ONLY, "latestRecord": {}}]
    read = scan(*nonsense, LATEST_ONLY)
    assert (len(read.observations), read.unreadable) == (1, len(nonsense))


@pytest.mark.parametrize("time", ["", "yesterday", "9999-99-99T00:00:00Z", 5, None, "2021-11-23" * 9])
def test_a_time_that_is_none_is_no_observation(time):
    assert scan({**LATEST_ONLY, "latestRecord": {"time": time, "nearestApMac": "a8:46:9d:27:56:63"}}).unreadable == 1


@pytest.mark.parametrize("rssi", [None, "loud", True, 400, 1e999, [], "-" * 5])
def test_a_strength_that_is_none_is_left_out(rssi):
    record = {"time": "2021-11-23T14:01:49Z", "nearestApMac": "a8:46:9d:27:56:63", "nearestApRssi": rssi}
    (observation,) = scan({**LATEST_ONLY, "latestRecord": record}).observations
    assert (observation.access_point, observation.rssi) == (AP, None)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (body(secret=None), "secret: expected a text"),
        (body(version="2.0"), "version: expected 3.x"),
        (body(version=3), "version: expected 3.x"),
        (body(type="DevicesSeen"), "type: expected WiFi or Bluetooth"),
        (body(data=[]), "data: expected an object"),
    ],
)
def test_a_post_that_is_none_is_refused_with_its_reason(sent, reason):
    assert parse_post(sent) == Malformed(reason)


def test_observations_must_be_a_list():
    post = parse_post(body(data={"observations": {}}))
    assert isinstance(post, Post)
    assert scan_of(post) == Malformed("data.observations: expected a list")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("a8:46:9d:27:56:63"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*LOCATED, "time", "rssi"]), inner),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_raise(data):
    assert isinstance(parse_post(data), Malformed)


@given(st.lists(values | st.dictionaries(st.sampled_from([*LOCATED]), values).map(lambda v: {**LOCATED, **v})))
def test_no_observations_make_the_parser_raise(entries):
    scan(*entries)
