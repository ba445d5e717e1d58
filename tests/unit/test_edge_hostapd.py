"""hostapd: events in every form they come in, stations as it lists them, and no bytes that raise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.frames.hostapd import Station, StationEvent, parse_event, parse_station
from edge.frames.names import client_token_of, mac_bytes, mac_text

MAC = bytes.fromhex("020000000100")

# What hostapd 2.10 answers to STA-FIRST on an open network, shortened.
OPEN = b"""02:00:00:00:01:00
flags=[AUTH][ASSOC][AUTHORIZED][SHORT_PREAMBLE][WMM][HT]
aid=1
capability=0x421
listen_interval=5
timeout_next=NULLFUNC POLL
rx_packets=120
signal=-47
rx_rate_info=1300 vhtmcs 9 vhtnss 2
connected_time=31
"""


@pytest.mark.parametrize(
    ("line", "access_point"),
    [
        (b"<3>AP-STA-CONNECTED 02:00:00:00:01:00", ""),
        (b"<3>AP-STA-CONNECTED 02:00:00:00:01:00 keyid=guest auth_alg=open", ""),
        (b"IFNAME=wlan0 <3>AP-STA-CONNECTED 02:00:00:00:01:00", "wlan0"),
        (b"wlan0 AP-STA-CONNECTED 02:00:00:00:01:00\n", "wlan0"),
        (b"door/wlan0 AP-STA-CONNECTED 02:00:00:00:01:00", "door/wlan0"),
        (b"hostapd: phy1-ap0: AP-STA-CONNECTED 02:00:00:00:01:00 auth_alg=sae", "phy1-ap0"),
        (b"<30>Oct 10 12:00:00 door hostapd: phy0-ap0: AP-STA-CONNECTED 02:00:00:00:01:00", "door/phy0-ap0"),
        (b"<30>Oct 10 12:00:00 door hostapd[812]: wlan0: AP-STA-CONNECTED 02:00:00:00:01:00", "door/wlan0"),
        (b"Sat Oct 10 12:00:00 2026 daemon.notice hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:01:00", "wlan0"),
    ],
)
def test_a_station_that_joins_is_read_from_sockets_scripts_and_logs(line, access_point):
    assert parse_event(line) == StationEvent(MAC, True, access_point)
    left = line.replace(b"CONNECTED", b"DISCONNECTED")
    assert parse_event(left) == StationEvent(MAC, False, access_point)


@pytest.mark.parametrize(
    "line",
    [
        b"<3>AP-STA-CONNECTED",
        b"<3>AP-STA-CONNECTED nobody",
        b"<3>AP-STA-CONNECTED 02:00:00:00:01",
        b"<3>AP-STA-POSSIBLE-PSK-MISMATCH 02:00:00:00:01:00",
        b"wlan0: STA 02:00:00:00:01:00 IEEE 802.11: associated (aid 1)",
        b"<3>AP-STA-CONNECTED ff:ff:ff:ff:ff:ff",
    ],
)
def test_other_lines_are_no_event(line):
    assert parse_event(line) is None


def test_a_station_is_read_from_its_listing():
    assert parse_station(OPEN) == Station(MAC, -47, True, None)
    assert parse_station(OPEN.replace(b"[AUTHORIZED]", b"")) == Station(MAC, -47, False, None)
    by_name = parse_station(OPEN + b"dot1xAuthSessionUserName=0123456789abcdef\n")
    assert by_name is not None and by_name.token == 0x0123456789ABCDEF


@pytest.mark.parametrize("reply", [b"", b"FAIL\n", b"OK\n", b"UNKNOWN COMMAND\n"])
def test_the_end_of_the_list_is_no_station(reply):
    assert parse_station(reply) is None


@given(st.binary(max_size=300))
def test_no_bytes_make_a_parser_raise(data):
    parse_event(data)
    parse_event(b"wlan0: AP-STA-CONNECTED " + data)
    parse_event(data + b" AP-STA-CONNECTED 02:00:00:00:01:00")
    parse_station(data)
    parse_station(OPEN + data)


@pytest.mark.parametrize(
    "text", ["02:00:00:00:01:00", "02-00-00-00-01-00", "0200.0000.0100", "020000000100", "02:00:00:00:01:00".upper()]
)
def test_an_address_is_the_same_however_a_network_writes_it(text):
    assert mac_bytes(text) == MAC


@pytest.mark.parametrize("text", ["", "02:00:00:00:01", "02:00:00:00-01-00", "01:00:5e:00:00:01", "zz:00:00:00:01:00"])
def test_what_is_no_stations_address_is_none(text):
    assert mac_bytes(text) is None


@given(st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1))
def test_an_address_comes_back_from_its_text(mac):
    assert mac_bytes(mac_text(mac)) == mac


@given(st.text(max_size=24))
def test_no_text_makes_a_name_raise(text):
    mac_bytes(text)
    client_token_of(text)


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("0123456789abcdef", 0x0123456789ABCDEF),
        ("0123456789ABCDEF@guest.example", 0x0123456789ABCDEF),
        ("0123456789abcde", None),
        ("someone@example.com", None),
        ("020000000100", None),
        ("٠١٢٣٤٥٦٧٨٩٠١٢٣٤٥", None),
    ],
)
def test_only_sixteen_digits_are_a_token(text, token):
    assert client_token_of(text) == token
