"""Every parser of the product: any bytes give a value, None or its own error, and the laws of its fuzz target hold."""

import ast
import importlib
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import ble, feeds, node, rfid, wifi, wire
from tests.fuzz.__main__ import main
from tests.fuzz.mutate import changed
from tests.fuzz.table import TARGETS
from tests.fuzz.target import Target

ROOT = Path(__file__).resolve().parents[2]
GROUPS = (ble, feeds, node, rfid, wifi, wire)
BY_NAME = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

MAKERS = {
    "column_bytes",
    "encode_frame",
    "advert_pdu",
    "mac_text",
    "accounting_request",
    "set_region",
    "tag_frame",
    "sgtin",
}
"""Functions of bytes or text that read none from outside: they make frames and names of our own values."""


_EPC = "8d3074257bf7194e4000001a85"
FOUND: list[tuple[str, bytes]] = [
    # a strength with two signs
    ("meraki", b'{"version":"3","secret":"","type":"WiFi","data":{"observations":[{"clientMac":"020000000100",'
     b'"latestRecord":{"time":"2021-11-23T14:01:49Z","nearestApRssi":"--5"}}]}}'),
    # another maker's RSSI, then Impinj's in the same place: the second was read as the first
    ("llrp-report", bytes.fromhex(
        f"00f0001f {_EPC} 03ff000e 000000a1 00000039 eb97"
        f"00f0001f {_EPC} 03ff000e 0000651a 00000039 eb97"
    )),
    # a list of something else than sections
    ("config", b"llrp = [1]"),
    ("tools", b"Offset: 2.5.5s"),
]  # fmt: skip
"""Inputs that fuzzing found, as short as they can be, by target."""


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[name for name, _ in FOUND])
def test_what_broke_a_parser_once_does_not_any_more(name: str, data: bytes):
    TARGETS[name].check(data)


@BY_NAME
def test_every_seed_is_read(target: Target):
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.check(seed)


@BY_NAME
def test_any_bytes_are_a_value_none_or_the_parsers_own_error(target: Target):
    @FEW
    @given(st.binary(max_size=target.longest))
    def holds(data):
        target.check(data)

    holds()


@BY_NAME
def test_so_are_good_inputs_with_some_bytes_changed(target: Target):
    @FEW
    @given(damaged(list(target.seeds())))
    def holds(data):
        target.check(data)

    holds()


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed in which bytes are put in, taken out or replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 6)) :]
    return data


def test_each_target_has_a_name_of_its_own():
    assert len(TARGETS) == sum(len(group.TARGETS) for group in GROUPS)


def test_no_parser_is_without_a_target():
    wanted = {code: name for name, code in parsers()}
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called.add(frame.f_code)

    sys.setprofile(note)
    try:
        for target in TARGETS.values():
            for seed in target.seeds():
                quietly(target.check, seed)
    finally:
        sys.setprofile(None)
    assert sorted(name for code, name in wanted.items() if code not in called) == []


def quietly(check: Callable[[bytes], None], seed: bytes) -> None:
    """Whether the laws hold is another test's."""
    try:
        check(seed)
    except Exception:
        return


def parsers() -> list[tuple[str, CodeType]]:
    """The public functions of edge/frames and the contract that take bytes or text, by the annotations."""
    found = []
    contract = [ROOT / "contract" / f"{name}.py" for name in ("clock", "codec", "epc", "orders", "topics")]
    for path in [*sorted((ROOT / "edge" / "frames").rglob("*.py")), *contract]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for made in ast.parse(path.read_text()).body:
            if isinstance(made, ast.FunctionDef) and not made.name.startswith("_") and made.name not in MAKERS:
                taken = {ast.unparse(each.annotation) for each in made.args.args if each.annotation}
                function = getattr(importlib.import_module(module), made.name)
                if taken & {"bytes", "str"} and isinstance(function, FunctionType):
                    found.append((f"{module}.{made.name}", function.__code__))
    return found


def test_the_command_lists_what_there_is(capsys):
    assert main(["--list"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == list(TARGETS)
    assert all(len(line.split()) > 2 for line in told)


def test_the_command_tries_an_input_again(tmp_path, capsys):
    (tmp_path / "input").write_bytes(b"\x30")
    assert main(["epc", "--input", str(tmp_path / "input")]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["--input", "x"], ["epc", "batch", "--input", "x"]])
def test_the_command_refuses_what_it_cannot_do(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "expected one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "target", [target for target in TARGETS.values() if target.forms], ids=lambda target: target.name
)
def test_documents_that_are_changed_by_meaning_are_read_too(target: Target):
    draw = random.Random(1)
    made = [changed(seed, target.forms, target.words, draw) for seed in target.seeds() for _ in range(25)]
    assert sum(data is not None for data in made) > 15
    for data in made:
        if data is not None:
            target.check(data)
