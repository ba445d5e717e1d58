"""The serial protocol of UHF modules: documented frames, any pieces, any noise, no bytes that raise."""

import random
from binascii import crc_hqx

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.frames import uhf_serial as uhf
from edge.frames.uhf_serial import Command, Decoder, Frame, FrameType, TagAnswer, encode, error_of, tag_frame, tag_of

# From the modules' documentation: MagicRF's M100 manual, and a vendor's list of quick commands for the R200.
READ = bytes.fromhex("BB 02 22 00 11 C9 34 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70 3A 76 EF 7E")
READ_R200 = bytes.fromhex("BB 02 22 00 11 D5 30 00 E2 00 10 71 00 00 52 9B 09 40 B4 02 EB 98 0C 7E")
NOTHING_READ = bytes.fromhex("BB 01 FF 00 01 15 16 7E")

frames = st.builds(
    Frame, st.sampled_from([0, 1, 2]), st.integers(0, 255), st.binary(max_size=40) | st.just(b"\xbb\x02\x22\x00\x7e")
)


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        (uhf.info(), "BB 00 03 00 01 00 04 7E"),
        (uhf.set_region("cn900"), "BB 00 07 00 01 01 09 7E"),
        (uhf.set_region("us"), "BB 00 07 00 01 02 0A 7E"),
        (uhf.set_power(20), "BB 00 B6 00 02 07 D0 8F 7E"),
        (uhf.set_power(18), "BB 00 B6 00 02 07 08 C7 7E"),
        (uhf.set_query(session=0, q=4), "BB 00 0E 00 02 10 20 40 7E"),
        (uhf.single_poll(), "BB 00 22 00 00 22 7E"),
        (uhf.multiple_poll(), "BB 00 27 00 03 22 FF FF 4A 7E"),
        (uhf.multiple_poll(10_000), "BB 00 27 00 03 22 27 10 83 7E"),
        (uhf.stop_poll(), "BB 00 28 00 00 28 7E"),
    ],
)
def test_commands_are_those_of_the_manual(frame: Frame, wire: str) -> None:
    assert encode(frame) == bytes.fromhex(wire)
    assert Decoder().feed(bytes.fromhex(wire)) == [frame]


@pytest.mark.parametrize(
    ("wire", "tag"),
    [
        (READ, TagAnswer(-55, 0x3400, bytes.fromhex("30751FEB705C5904E3D50D70"))),
        (READ_R200, TagAnswer(-43, 0x3000, bytes.fromhex("E20010710000529B0940B402"))),
    ],
)
def test_documented_reads_are_read_and_their_crc_is_right(wire: bytes, tag: TagAnswer) -> None:
    (frame,) = Decoder().feed(wire)
    assert tag_of(frame) == tag
    assert error_of(frame) is None


def test_a_round_without_tags_is_an_error_frame() -> None:
    (frame,) = Decoder().feed(NOTHING_READ)
    assert (error_of(frame), tag_of(frame)) == (uhf.NO_TAG, None)


def test_a_tag_whose_own_crc_is_wrong_is_not_read() -> None:
    (frame,) = Decoder().feed(READ)
    for at in range(1, len(frame.payload)):
        turned = bytearray(frame.payload)
        turned[at] ^= 0x10
        assert tag_of(frame._replace(payload=bytes(turned))) is None


def test_extended_protocol_control_is_no_part_of_the_epc() -> None:
    epc, xpc = bytes(range(1, 13)), b"\x00\x40"
    frame = tag_frame(-60, xpc + epc)  # its PC says seven words; a tag with XPC says six and sets XI
    body = (6 << 11 | 0x0200).to_bytes(2, "big") + xpc + epc
    crc = (crc_hqx(body, 0xFFFF) ^ 0xFFFF).to_bytes(2, "big")
    found = tag_of(frame._replace(payload=frame.payload[:1] + body + crc))
    assert found is not None and found.epc == epc


@given(st.integers(-128, 127), st.binary(min_size=2, max_size=62).filter(lambda epc: len(epc) % 2 == 0))
def test_a_tag_comes_back_as_it_was_told(rssi: int, epc: bytes) -> None:
    (frame,) = Decoder().feed(encode(tag_frame(rssi, epc)))
    assert tag_of(frame) == TagAnswer(rssi, len(epc) << 10, epc)


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 30), min_size=1))
def test_frames_come_out_whole_whatever_pieces_they_come_in(wanted: list[Frame], sizes: list[int]) -> None:
    line, decoder, found = b"".join(map(encode, wanted)), Decoder(), list[Frame]()
    at = turn = 0
    while at < len(line):
        size = sizes[turn % len(sizes)]
        found += decoder.feed(line[at : at + size])
        at, turn = at + size, turn + 1
    assert (found, decoder.frames, decoder.noise, decoder.resyncs) == (wanted, len(wanted), 0, 0)
    assert not decoder.waiting


@given(st.binary(max_size=600), st.integers(1, 50))
def test_no_bytes_make_the_decoder_raise_and_none_are_forgotten(data: bytes, size: int) -> None:
    decoder, found = Decoder(), list[Frame]()
    for at in range(0, len(data), size):
        found += decoder.feed(data[at : at + size])
    found += decoder.idle()
    assert decoder.noise + sum(len(encode(frame)) for frame in found) == len(data)
    assert not decoder.waiting
    for frame in found:
        tag_of(frame)
        error_of(frame)


def test_a_cut_frame_holds_up_the_next_ones_only_until_the_line_is_quiet() -> None:
    decoder = Decoder()
    cut = bytes((0xBB, 0x02, 0x22, 0x01, 0xFF))  # promises 511 bytes
    assert decoder.feed(cut + READ + READ) == []
    assert decoder.waiting
    assert len(decoder.idle()) == 2
    assert (decoder.resyncs, decoder.noise) == (1, len(cut))


def test_a_length_that_no_module_sends_is_no_frame() -> None:
    decoder = Decoder()
    assert len(decoder.feed(bytes((0xBB, 0x02, 0x22, 0xBB, 0xBB)) + READ)) == 1
    assert decoder.resyncs == 1


def test_of_20_000_frames_among_noise_only_the_damaged_are_lost() -> None:
    draw = random.Random(3)
    line, sent, noises = bytearray(), list[bytes](), 0
    for _ in range(20_000):
        wire = bytearray(encode(tag_frame(draw.randint(-80, -30), draw.randbytes(12))))
        if draw.random() < 0.01:
            line += bytes(draw.choices((0xBB, 0x02, 0x22, 0x00, 0x11, 0x7E), k=draw.randint(1, 40)))
            noises += 1
        if draw.random() < 0.005:
            wire[draw.randrange(len(wire))] ^= 1 << draw.randrange(8)
            noises += 1
        else:
            sent.append(bytes(wire))
        line += wire
    decoder, found = Decoder(), list[Frame]()
    for at in range(0, len(line), 173):
        found += decoder.feed(bytes(line[at : at + 173]))
    found += decoder.idle()
    assert [encode(frame) for frame in found] == sent
    assert 0.9 * noises <= decoder.resyncs <= noises, "those that follow each other are one"


def test_a_command_is_told_apart_from_a_read() -> None:
    assert tag_of(Frame(FrameType.COMMAND, Command.SINGLE_POLL, READ[5:-2])) is None
