"""What a node reads of files, tools and the cloud: node.toml, opt-outs, desired configuration, keys, surveys."""

import datetime
import functools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contract.clock import SimulatedClock, clock_from
from contract.errors import ContractError
from contract.orders import (
    Desired,
    KeyWant,
    OptOutList,
    Roster,
    Section,
    Sibling,
    decode_keys,
    decode_order,
    encode_order,
)
from contract.topics import NAME, NodeAddress
from edge import claim, safe_mode
from edge.config import LISTS, SECTIONS, ConfigError, NodeConfig, parse_config
from edge.config_check import EXAMPLE, problem_fields
from edge.config_summary import summary
from edge.daykey import DayKey
from edge.desired import DesiredConfig
from edge.doctor.bluetooth import bluez_version
from edge.doctor.clock import offset_in
from edge.doctor.patient import read_patient
from edge.doctor.service import unit_properties
from edge.doctor.storage import written_gb_day
from edge.doctor.wifi import monitor_in
from edge.privacy import NotAnOptOutList, opt_outs_from_text, opt_outs_text, read_opt_outs
from edge.safe_mode import Loaded
from edge.seal import Identity, point_of, seal, unseal
from edge.survey import SurveyError, parse_place, read_places, read_survey
from tests.fuzz.mutate import JSON, TOML
from tests.fuzz.target import Target, scratch, text_of

NOW = datetime.datetime(2026, 11, 24, 11, tzinfo=datetime.UTC)
NOW_US = 1_795_518_000_000_000
NODE = """
[node]
tenant = "acme"
store = "main"
node = "door-1"
[uplink]
host = "localhost"
"""

SHAPES = (*SECTIONS.values(), *LISTS.values())

# -- configuration


def read_config(data: bytes) -> None:
    """a node.toml: the configuration, or every mistake in it"""
    try:
        config = parse_config(data, "node.toml", _folder())
    except ConfigError as error:
        assert error.problems and str(error)
        for problem in error.problems:
            assert problem.line >= 1 and problem_fields(problem)["line"] == problem.line
    else:
        _runs(config)


def read_broken_config(data: bytes) -> None:
    """a node.toml that may be broken, as safe mode and the doctor look at it"""
    path = _folder() / "node.toml"
    path.write_bytes(data)
    read_patient(path)
    try:
        loaded = safe_mode.load(path)
    except ConfigError:
        return
    assert loaded.mode == "normal"


def _runs(config: NodeConfig) -> None:
    """What the node does with it first."""
    assert list(summary(config))
    names = (config.node.tenant, config.node.store, config.node.node, config.node.zone or "none")
    assert all(NAME.fullmatch(name) for name in names), names
    clock = clock_from(config.node.clock)
    assert not isinstance(clock, SimulatedClock) or math.isfinite(clock.speed)
    assert msgspec.json.encode(config)


def configs() -> Iterator[bytes]:
    example = EXAMPLE.read_text()
    yield example.encode()
    yield NODE.encode()
    # every setting in use, with nothing beside it
    lines = (line.removeprefix("# ").partition("  ")[0] for line in example.splitlines())
    yield "\n".join(line for line in lines if " = " in line or line.startswith("[")).encode()
    for name in [*SECTIONS, *LISTS]:
        yield f"{NODE}\n[[{name}]]\nname = 1\n[{name}.x]\n".encode()
    yield from (f"{NODE}\nx = {value}".encode() for value in ("[" * 2_000, "1" * 5_000, "0x" + "f" * 5_000))
    yield NODE.replace("localhost", "x" * 300).encode() + b'ca_file = "' + b"x" * 300 + b'"\n'
    yield NODE.replace('"door-1"', '"door-1\\n"').encode()
    for setting in ('tz = "../../x"', 'clock = "0@0xinf"', 'clock = "0@0xnan"'):
        yield NODE.replace("[uplink]", f"{setting}\n[uplink]").encode()


def read_desired(data: bytes) -> None:
    """a desired configuration: taken or refused, kept, and there after a restart"""
    folder = _folder()
    keep = folder / "desired.json"
    keep.unlink(missing_ok=True)
    path = folder / "node.toml"
    clock = SimulatedClock(NOW_US, 0, 0.0)
    node = DesiredConfig(_loaded(), path, keep, clock)
    report = node.take(data)
    if report is None:
        return
    assert decode_order(encode_order(report), type(report)) == report
    again = DesiredConfig(_loaded(), path, keep, clock)
    assert again.version == node.version
    assert not again.restart and again.take(data) is not None and not again.restart, "the same order twice"


@functools.cache
def _loaded() -> Loaded:
    return Loaded(parse_config(NODE.encode()), "normal", (), NODE.encode())


def desired() -> Iterator[bytes]:
    outs = OptOutList(bytes(16), b"abcdef", 2)
    wanted: list[dict[str, Section]] = [
        {"ble": {"mode": "passive"}},
        {"llrp": [{"name": "door", "host": "h"}]},
        {"node": {"zone": "x"}},
    ]
    for settings in wanted:
        yield encode_order(Desired(7, settings, outs))
    deep = b"[" * 600 + b"]" * 600
    for value in (b"null", b"1e99", b"1" * 30, b'"\\u007f"', b'{"":{}}', deep):
        yield b'{"version":1,"settings":{"windows":{"seconds":' + value + b"}}}"


# -- privacy and identity


def read_opt_out_list(data: bytes) -> None:
    """the technician's list of opt-outs"""
    path = _folder() / "opt-outs.txt"
    path.write_bytes(data)
    try:
        entries = read_opt_outs(path)
        assert entries is not None
        assert opt_outs_from_text(opt_outs_text(entries)) == entries
    except NotAnOptOutList:
        return


def opt_outs() -> Iterator[bytes]:
    text = opt_outs_text(OptOutList(bytes(16), b"abcdef"))
    yield from (text.encode(), b"# by hand\n" + text.encode() + b"\xc2\x85 a0b0c0 # x", text.encode("utf-16"))


def read_key_message(data: bytes) -> None:
    """what siblings say about the key of the day: certificates, signatures, sealed keys"""
    own = _identity("door-1")
    key, point = ec.derive_private_key(11, ec.SECP256R1()), data[:65]
    assert unseal(data[65:], key, point, b"") is None
    assert not own.signed_by(data, "acme/main/door-2", b"x", data[:72])
    sealed = seal(data, key, point, b"bound")
    assert sealed is None or len(sealed) == len(data) + 16
    try:
        message = decode_keys(data)
    except ContractError:
        return
    for node in (_day_key(False), _day_key(True)):
        for answer in node.on_message(message):
            assert decode_keys(encode_order(answer)) == answer


def key_messages() -> Iterator[bytes]:
    (want,) = _day_node("door-2").tick(NOW_US, 1.0, online=True)
    assert isinstance(want, KeyWant)
    yield encode_order(want)
    yield from map(encode_order, _day_key(True).on_message(want))
    yield encode_order(Roster(want.day, (Sibling("door-1", True),)))
    yield want.certificate
    yield point_of(ec.derive_private_key(12, ec.SECP256R1())) + bytes(48)


def _day_key(holds: bool) -> DayKey:
    """A node of the day, just begun or with the key."""
    made = _day_node("door-1")
    if holds:
        made.on_message(Roster(NOW.date().isoformat(), (Sibling("door-1", True),)))
        made.tick(NOW_US, 60.0, online=True)
        assert made.held
    return made


def _day_node(name: str) -> DayKey:
    berlin, identity = ZoneInfo("Europe/Berlin"), _identity(name)
    made = DayKey(NodeAddress("acme", "main", name), berlin, identity, bytes, jitter=lambda low, _: low)
    made.tick(NOW_US, 0.0, online=True)
    return made


@functools.cache
def _identity(node: str) -> Identity:
    """Of keys that are always the same, so that what was found once is found again."""
    authority = ec.derive_private_key(7, ec.SECP256R1())
    key = ec.derive_private_key(1_000 + sum(node.encode()), ec.SECP256R1())
    certificate = _signed(f"acme/main/{node}", key.public_key(), authority, False)
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Identity(der, key, (_signed("Authority", authority.public_key(), authority, True),), lambda: NOW)


def _signed(
    name: str, key: ec.EllipticCurvePublicKey, authority: ec.EllipticCurvePrivateKey, is_ca: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder(named("Authority"), named(name), key, 1 + len(name))
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority, hashes.SHA256())
    )


def read_claim(data: bytes) -> None:
    """the api's answer to a claim"""
    try:
        claim.claim("https://aisle.invalid", "code", _folder() / "claim", None, lambda _url, _body: data)
    except claim.ClaimError:
        return
    raise AssertionError("nobody can certify a key that was made just now")


def claims() -> Iterator[bytes]:
    certificate = x509.load_der_x509_certificate(_identity("door-1").certificate)
    (authority,) = _identity("door-1").authorities
    yield msgspec.json.encode(
        {
            **{"tenant": "acme", "store": "main", "node": "door-1", "tz": "Europe/Berlin"},
            **{"broker_host": "broker.invalid", "broker_port": 8883},
            "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
            "authority": authority.public_bytes(serialization.Encoding.PEM).decode(),
        }
    )
    yield b'{"x":' + b"[" * 2_000


# -- files and tools


def read_walk(data: bytes) -> None:
    """a technician's survey: places to walk to, and what was heard there"""
    text = text_of(data)
    try:
        read_places(text)
    except SurveyError:
        pass
    place = parse_place(text)
    assert place is None or (abs(place.x_m) <= 1000 and abs(place.y_m) <= 1000)
    for name in ("survey.csv", "survey.json"):
        path = _folder() / name
        path.write_bytes(data)
        try:
            read_survey(path)
        except SurveyError:
            continue


def walks() -> Iterator[bytes]:
    yield b"x_m,y_m\n3.5,4,coffee\n# by the door\n1;2\n"
    yield b"x_m,y_m,node,mean_dbm,sd_db,n\n3.5,4.0,door-1,-61.25,3.1,12\n"
    yield b'{"points":[{"x_m":3.5,"y_m":4,"node":"door-1","mean_dbm":-61.25,"sd_db":3.1,"n":12}]}'
    yield from (b"3.5 4 coffee shelf", b'"3.5\n",4', b"1\r2,3", b"nan,inf")


def read_tool(data: bytes) -> None:
    """what programs print that the doctor asks"""
    text = text_of(data)
    readers: list[Callable[[str], object]] = [offset_in, bluez_version, unit_properties, monitor_in]
    for read in readers:
        read(text)
    written_gb_day(text, "mmcblk0", "90000.5 1")
    written_gb_day(" 179 0 mmcblk0 1 2 3 4 5 6 99", "mmcblk0", text)


def tools() -> Iterator[bytes]:
    yield from (
        b"       Server: 192.0.2.1\n       Offset: +1min 2.5s\n",
        b"bluetoothctl: 5.66\n",
        b"LoadState=loaded\nNRestarts=3\n",
        b"\tSupported interface modes:\n\t\t * managed\n\t\t * monitor\n",
        b" 179 0 mmcblk0 1 2 3 4 5 6 99 8\n 179 1 mmcblk0p1 1\n",
        b"90000.5 1",
    )


@functools.cache
def _folder() -> Path:
    """With the files in it that a configuration names."""
    for name in re.findall(r'_file = "([^"]+)"', EXAMPLE.read_text()):
        (scratch() / name).write_text("x")
    return scratch()


_SETTINGS = (*SECTIONS, *LISTS, *sorted({key for shape in SHAPES for key in shape.__struct_fields__}))
_TOML = ('"""', "'''", "[[", "]]", "inf", "nan", "true", "1979-05-27T07:32:00Z", "\\u00E9")

TARGETS = [
    Target("config", read_config, configs, longest=4096, words=(*_SETTINGS, *_TOML), forms=(TOML,)),
    Target("config-broken", read_broken_config, configs, longest=2048, words=(*_SETTINGS, *_TOML), forms=(TOML,)),
    Target("desired", read_desired, desired, longest=1024, words=_SETTINGS, forms=(JSON,)),
    Target("opt-out-list", read_opt_out_list, opt_outs, longest=512, words=("salt",)),
    Target("key-message", read_key_message, key_messages, longest=2048, forms=(JSON,)),
    Target("claim", read_claim, claims, longest=2048, forms=(JSON,)),
    Target("survey", read_walk, walks, longest=512, forms=(JSON,)),
    Target("tools", read_tool, tools, longest=512),
]
