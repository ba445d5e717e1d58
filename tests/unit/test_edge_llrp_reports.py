"""Tag reports: the fast way reads what the general codec reads, no bytes raise, instants keep their spacing."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.frames.llrp.codec import Bits, Element, Raw, decode, encode, encode_parameter
from edge.frames.llrp.instants import AGE_MOST_US, STEP_US, ReaderTime
from edge.frames.llrp.reports import EPC_MOST, IMPINJ, NONE, TagColumns, TagReader
from edge.sources.llrp import tag_reads
from edge.tags import TagRead

RO_ACCESS_REPORT = 61
NOW_US = 1_790_000_000_000_000
EPC = bytes.fromhex("3074257bf7194e4000001a85")


def impinj(subtype, value, format_):
    return Element("Custom", {"VendorID": IMPINJ, "Subtype": subtype, "Data": struct.pack(format_, value)})


def tag(epc=EPC, **told):
    """A TagReportData as a reader sends it; `told` by name, in the order given."""
    parts = [Element("EPC96", {"EPC": epc}) if len(epc) == 12 else Element("EPCData", {"EPC": Bits(8 * len(epc), epc)})]
    keys = {"FirstSeenUTC": "FirstSeen", "FirstSeenUptime": "FirstSeen", "LastSeenUTC": "LastSeen"}
    parts += [Element(name, {keys.get(name, name): value}) for name, value in told.items()]
    return Element("TagReportData", {}, tuple(parts))


def report(*children):
    return b"".join(map(encode_parameter, children))


def by_the_codec(payload):
    """The same as `TagReader.read`, written plainly over the general codec."""
    rows = []
    message = decode(RO_ACCESS_REPORT, payload)
    assert message is not None
    for data in message.all("TagReportData"):
        epc = data.child("EPC96") or data.child("EPCData")
        if epc is None or not 0 < len(epc.data("EPC")) <= EPC_MOST:
            continue

        def one(name, key=None, data=data):
            found = data.child(name)
            return None if found is None else found.number(key or name)

        extras: dict[int, int] = {}
        for custom in data.all("Custom"):
            formats = {56: ">H", 57: ">h", 68: ">h"}
            if custom.number("VendorID") == IMPINJ and custom.number("Subtype") in formats:
                (value,) = struct.unpack_from(formats[custom.number("Subtype")], custom.data("Data"))
                extras.setdefault(custom.number("Subtype"), value)
        rssi = extras[57] / 100 if 57 in extras else one("PeakRSSI")
        seen = next(
            (
                value
                for name in ("FirstSeenUTC", "FirstSeenUptime", "LastSeenUTC", "LastSeenUptime")
                if (value := one(name, name[:-3] if name.endswith("UTC") else name[:-6])) is not None
            ),
            0,
        )
        times = one("TagSeenCount")
        rows.append(
            (
                epc.data("EPC"),
                one("AntennaID") or 0,
                rssi,
                seen,
                1 if times is None else times,
                (extras[56] & 0xFFF) / 4096 * 2 * math.pi if 56 in extras else None,
                extras[68] / 16 if 68 in extras else None,
            )
        )
    return rows


def rows(columns):
    return list(zip(*columns, strict=True))


def same(found, expected):
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        assert left == pytest.approx(right, abs=1e-9) if left[5] is not None else left == right


# -- by hand


def test_a_report_of_one_tag_is_read():
    # by hand: EPC-96, antenna 1, peak RSSI -48, first seen UTC
    payload = bytes.fromhex("00f0 001f 8d 3074257bf7194e4000001a85 81 0001 86 d0 82 0005a9e4bef862e0")
    assert rows(TagReader().read(payload)) == [(EPC, 1, -48.0, 0x5A9E4BEF862E0, 1, None, None)]


def test_impinjs_values_have_their_units():
    data = tag(AntennaID=2, PeakRSSI=-61)
    extras = (impinj(57, -6125, ">h"), impinj(56, 1024, ">H"), impinj(68, -40, ">h"))
    payload = report(Element("TagReportData", {}, (*data.children, *extras)))
    ((epc, antenna, rssi, _, _, phase, doppler),) = rows(TagReader().read(payload))
    assert (epc, antenna, rssi, doppler) == (EPC, 2, -61.25, -2.5)
    assert phase == pytest.approx(math.pi / 2)


def test_another_vendors_parameters_of_the_same_numbers_are_left_aside():
    other = Element("Custom", {"VendorID": 161, "Subtype": 56, "Data": bytes(2)})
    payload = report(Element("TagReportData", {}, (*tag(PeakRSSI=-50).children, other)))
    assert rows(TagReader().read(payload)) == [(EPC, 0, -50.0, 0, 1, None, None)]


def test_tags_of_several_lengths_keep_their_order():
    epcs = [bytes([at]) * length for at, length in enumerate((12, 12, 16, 12, 2, 62, 12))]
    payload = report(*(tag(epc, AntennaID=at + 1) for at, epc in enumerate(epcs)))
    found = TagReader().read(payload)
    assert list(found.epc) == epcs
    assert list(found.antenna) == [1, 2, 3, 4, 5, 6, 7]


def test_a_tag_without_epc_cannot_be_told_from_another_and_is_left_aside():
    empty = Element("TagReportData", {}, (Element("EPCData", {"EPC": Bits(0, b"")}),))
    too_long = tag(bytes(63))
    assert list(TagReader().read(report(empty, tag(), too_long, Element("TagReportData"))).epc) == [EPC]


def test_what_is_no_tag_report_is_left_aside():
    survey = Element("RFSurveyReportData")
    custom = Element("Custom", {"VendorID": IMPINJ, "Subtype": 1, "Data": b"?"})
    assert list(TagReader().read(report(survey, tag(), custom, tag())).epc) == [EPC, EPC]
    assert TagReader().read(b"") == NONE


def test_a_report_that_is_cut_short_gives_the_whole_tags_before():
    payload = report(tag(AntennaID=1), tag(AntennaID=2))
    assert list(TagReader().read(payload[:-1]).antenna) == [1]


def test_tags_of_one_length_with_other_contents_are_not_taken_for_each_other():
    first = tag(AntennaID=1, ChannelIndex=7)
    second = tag(ChannelIndex=7, AntennaID=1)
    third = tag(AntennaID=3, TagSeenCount=9)
    reader = TagReader()
    for _ in range(2):
        found = reader.read(report(first, second, third, first))
        assert list(found.antenna) == [1, 1, 3, 1]
        assert list(found.times) == [1, 1, 9, 1]


# -- laws

SCALARS = st.fixed_dictionaries(
    {},
    optional={
        "ROSpecID": st.integers(0, 2**32 - 1),
        "AntennaID": st.integers(0, 2**16 - 1),
        "PeakRSSI": st.integers(-128, 127),
        "ChannelIndex": st.integers(0, 2**16 - 1),
        "FirstSeenUTC": st.integers(1, 2**64 - 1),
        "FirstSeenUptime": st.integers(1, 2**64 - 1),
        "LastSeenUTC": st.integers(1, 2**64 - 1),
        "TagSeenCount": st.integers(0, 2**16 - 1),
        "C1G2CRC": st.integers(0, 2**16 - 1),
    },
)
EXTRAS = st.lists(
    st.one_of(
        st.builds(impinj, st.just(56), st.integers(0, 65535), st.just(">H")),
        st.builds(impinj, st.sampled_from([57, 68]), st.integers(-32768, 32767), st.just(">h")),
        st.builds(
            lambda data: Element("Custom", {"VendorID": 161, "Subtype": 57, "Data": data}), st.binary(max_size=4)
        ),
        st.just(Element("C1G2ReadOpSpecResult", {"OpSpecID": 1, "Data": (1, 2)})),
        st.just(Raw(900, b"of the future")),
    ),
    max_size=4,
)


@st.composite
def reports(draw):
    """Tags that are alike, and some that are not."""
    epcs = st.one_of(st.binary(min_size=12, max_size=12), st.binary(min_size=1, max_size=20))
    kinds = draw(st.lists(st.tuples(epcs, SCALARS, EXTRAS), min_size=1, max_size=3))
    tags = []
    for at in draw(st.lists(st.integers(0, len(kinds) - 1), max_size=12)):
        epc, told, extras = kinds[at]
        told = told if draw(st.booleans()) else {**told, "AntennaID": draw(st.integers(1, 9))}
        data = tag(epc, **told)
        tags.append(Element("TagReportData", {}, (*data.children, *extras)))
    return report(*tags)


@given(st.lists(reports(), min_size=1, max_size=4))
@settings(deadline=None)
def test_the_fast_way_reads_what_the_codec_reads(payloads):
    reader = TagReader()
    for payload in [*payloads, *payloads]:
        same(rows(reader.read(payload)), by_the_codec(payload))


@given(st.integers(1, 60), SCALARS, EXTRAS, st.randoms())
@settings(deadline=None)
def test_many_tags_alike_are_read_together(n, told, extras, random):
    tags = []
    for _ in range(n):
        data = tag(random.randbytes(12), **told)
        tags.append(Element("TagReportData", {}, (*data.children, *extras)))
    payload = report(*tags)
    same(rows(TagReader().read(payload)), by_the_codec(payload))


@given(st.lists(st.binary(max_size=80)), reports(), st.data())
@settings(deadline=None)
def test_any_bytes_give_columns_of_one_length(noise, payload, data):
    reader = TagReader()
    changed = bytearray(payload)
    for _ in range(3 if payload else 0):
        changed[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    for bytes_ in [*noise, bytes(changed)]:
        found = reader.read(bytes_)
        assert isinstance(found, TagColumns)
        assert len({len(column) for column in found}) == 1


# -- instants


def test_the_readers_spacing_is_kept_and_its_time_of_day_is_not_believed():
    reader_time = ReaderTime()
    assert reader_time.at_us([5_000, 6_000, 9_000], NOW_US) == [NOW_US - 4_000, NOW_US - 3_000, NOW_US]


def test_a_report_that_waited_is_told_at_its_own_time():
    reader_time = ReaderTime()
    reader_time.at_us([1_000_000], NOW_US)
    assert reader_time.at_us([2_000_000], NOW_US + 1_400_000) == [NOW_US + 1_000_000 + int(1_400_000 * 200e-6)]


def test_the_greeting_tells_the_offset_before_the_first_report():
    reader_time = ReaderTime()
    reader_time.heard(1_000_000, NOW_US)
    assert reader_time.at_us([1_500_000], NOW_US + 2_000_000)[0] == pytest.approx(NOW_US + 500_000, abs=500)


@pytest.mark.parametrize("step_us", [-2 * 3600 * 1_000_000, -STEP_US - 1_000_000, 1_000_000, 2 * 3600 * 1_000_000])
def test_a_reader_whose_clock_is_set_is_followed_at_once(step_us):
    reader_time, reader_us = ReaderTime(), 10**12
    reader_time.at_us([reader_us], NOW_US)
    assert reader_time.at_us([reader_us + step_us + 1_000_000], NOW_US + 1_000_000) == [NOW_US + 1_000_000]


@given(st.lists(st.tuples(st.lists(st.integers(0, 2**64 - 1), max_size=5), st.integers(0, 10**9)), max_size=10))
def test_no_instant_is_later_than_now_or_too_long_ago(heard):
    reader_time, now_us = ReaderTime(), NOW_US
    for seen_us, later_us in heard:
        now_us += later_us
        at_us = reader_time.at_us(seen_us, now_us)
        assert len(at_us) == len(seen_us)
        assert all(now_us - AGE_MOST_US <= at <= now_us for at in at_us)


def test_reads_have_the_nodes_time_and_the_antennas_name():
    payload = report(tag(AntennaID=2, PeakRSSI=-50, FirstSeenUTC=70, TagSeenCount=3))
    reads = tag_reads(TagReader().read(payload), ReaderTime(), {2: "door/2"}, NOW_US)
    assert reads == [TagRead(NOW_US, EPC, "door/2", -50.0, 3)]


def test_the_general_codec_reads_the_whole_report_too():
    payload = report(tag(AntennaID=1))
    message = decode(RO_ACCESS_REPORT, payload)
    assert message is not None
    assert encode(message) == payload
