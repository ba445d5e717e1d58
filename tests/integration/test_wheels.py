"""A beacons-only node installs on a 64-bit Raspberry Pi from wheels alone, 20 MB of them at most; emulated, it runs."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.integration.edge_support import cloud, eventually, mosquitto, needs_mosquitto

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "edge.txt"
PYTHONS = ("3.11", "3.12", "3.13")
"""Debian 12 (Raspberry Pi OS bookworm) has 3.11, Debian 13 (trixie) 3.13."""
MOST_BYTES = 20_000_000
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
UNREACHABLE = re.compile(r"connect|dns|resolve host|timed out|network|offline|fetch", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that an index offers."""

    name: str
    file: str
    size: int
    sha256: str
    url: str


def uv() -> str:
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed: pip install -r requirements/tools.txt")
    return found


def offered(python: str, folder: Path) -> list[Wheel]:
    """Every wheel of the pinned versions for a 64-bit Pi with glibc 2.28 or later, as the index tells them."""
    out = folder / f"pylock.{python.replace('.', '')}.toml"
    command = [uv(), "pip", "compile", "--quiet", "--no-header", "--format", "pylock.toml", "--only-binary", ":all:"]
    command += ["--python-platform", "aarch64-manylinux_2_28", "--python-version", python, "--extra", "edge"]
    command += ["--constraint", str(LOCK), "--output-file", str(out), str(ROOT / "pyproject.toml")]
    # uv brings authorities of its own; a company's is in the system's, as the launcher knows too.
    trusting = {"SSL_CERT_FILE": str(AUTHORITIES)} if AUTHORITIES.is_file() else {}
    environ = trusting | os.environ
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=100)
    if done.returncode != 0 and UNREACHABLE.search(done.stderr) and "No solution" not in done.stderr:
        pytest.skip(f"no package index is reachable: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    packages = tomllib.loads(out.read_text())["packages"]
    return [
        Wheel(
            canonicalize_name(package["name"]),
            wheel["url"].rsplit("/", 1)[-1],
            wheel["size"],
            wheel["hashes"]["sha256"],
            wheel["url"],
        )
        for package in packages
        for wheel in package.get("wheels", [])
    ]


def chosen(wheels: list[Wheel], python: str) -> dict[str, Wheel]:
    """The wheel of each package that pip takes on such a machine: that of the first tag which fits."""
    version = tuple(map(int, python.split(".")))
    glibc = [f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)] + ["manylinux2014_aarch64", "linux_aarch64"]
    tags: list[Tag] = [*cpython_tags(version, platforms=glibc), *compatible_tags(version, platforms=glibc)]
    rank = {tag: number for number, tag in enumerate(tags)}
    found: dict[str, tuple[int, Wheel]] = {}
    for wheel in wheels:
        fits = [rank[tag] for tag in parse_wheel_filename(wheel.file)[3] if tag in rank]
        if fits and (wheel.name not in found or min(fits) < found[wheel.name][0]):
            found[wheel.name] = (min(fits), wheel)
    return {name: wheel for name, (_, wheel) in found.items()}


def pinned(python: str) -> dict[str, str]:
    """The packages that the lock asks for on such a machine, with all hashes it allows."""
    about = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": "aarch64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=[a-z0-9])", LOCK.read_text()):
        line = block.split("\\\n", 1)[0].strip()
        if line.startswith("#") or "==" not in line:
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(about):
            found[canonicalize_name(requirement.name)] = block
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_a_beacons_only_node_installs_on_a_64_bit_pi_from_wheels_of_20_mb_at_most(python, tmp_path):
    wheels = chosen(offered(python, tmp_path), python)
    lock = pinned(python)
    assert set(wheels) == set(lock), "each has a wheel for this machine, and no other package is needed"
    for name, wheel in wheels.items():
        assert f"sha256:{wheel.sha256}" in lock[name], f"{wheel.file} is not among those that the lock allows"
    total = sum(wheel.size for wheel in wheels.values())
    print({name: wheel.size for name, wheel in sorted(wheels.items())}, total)
    assert total <= MOST_BYTES, f"{total / 1e6:.1f} MB: " + ", ".join(f"{w.file} {w.size}" for w in wheels.values())


# --- emulated


PACKAGES = (
    "libbz2-1.0", "libc6", "libcrypt1", "libexpat1", "libffi8", "libgcc-s1", "liblzma5", "libpython3.11-minimal",
    "libpython3.11-stdlib", "libsqlite3-0", "libssl3", "libstdc++6", "libuuid1", "python3.11-minimal", "zlib1g",
)  # fmt: skip
"""Debian 12's Python and what it stands on."""


def shell(*command: str, cwd: Path, reason: str) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"{reason}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """How to run Python for aarch64 here: qemu's user-mode emulation over Debian's own files. Nothing is installed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip("no apt-get and dpkg: Debian's files for aarch64 cannot be had")
    folder = tmp_path_factory.mktemp("aarch64")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        shell("apt-get", "download", "qemu-user-static", cwd=folder, reason="qemu-user-static cannot be had")
        shell(
            "sh", "-c", "dpkg -x qemu-user-static*.deb qemu", cwd=folder, reason="qemu-user-static cannot be unpacked"
        )
        emulator = str(folder / "qemu" / "usr" / "bin" / "qemu-aarch64-static")
    for part in ("apt/lists/partial", "apt/cache/archives/partial"):  # an apt of our own: the machine's stays as it is
        (folder / part).mkdir(parents=True)
    (folder / "apt" / "status").touch()
    apt = ["apt-get"]
    for setting in (
        "Dir::State=apt",
        "Dir::State::Lists=apt/lists",
        "Dir::State::status=apt/status",
        "Dir::Cache=apt/cache",
    ):
        key, _, path = setting.partition("=")
        apt += ["-o", f"{key}={folder / path}"]
    apt += ["-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64"]
    shell(*apt, "update", cwd=folder, reason="no list of Debian's packages for arm64")
    shell(
        *apt, "download", *(f"{name}:arm64" for name in PACKAGES), cwd=folder, reason="no package of Debian for arm64"
    )
    shell("sh", "-c", "for d in *arm64.deb; do dpkg -x $d root; done", cwd=folder, reason="they cannot be unpacked")
    wheels = [uv(), "pip", "install", "--quiet", "--target", "site", "--python-platform", "aarch64-manylinux_2_28"]
    wheels += ["--python-version", "3.11", "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK)]
    shell(*wheels, cwd=folder, reason="no package index is reachable")
    python = folder / "root" / "usr" / "bin" / "python3.11"
    path = f"PYTHONPATH={folder / 'site'}:{ROOT}"
    yield [emulator, "-L", str(folder / "root"), "-E", path, "-E", "PYTHONDONTWRITEBYTECODE=1", str(python)]
    shutil.rmtree(folder)


class BeaconAir:
    """An air with one iBeacon, ten adverts a second, as `simulators.ble` hears it."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        beacon = bytes.fromhex("02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000010002c5")
        frame = msgspec.msgpack.encode([bytes(5) + b"\x01", "public", -60, beacon])
        try:
            ear, _ = self._server.accept()
            with ear:
                while True:
                    ear.sendall(len(frame).to_bytes(4, "big") + frame)
                    time.sleep(0.1)
        except OSError:
            return


@pytest.mark.long
@pytest.mark.timeout(600)
@needs_mosquitto
def test_a_node_runs_on_an_emulated_64_bit_pi(pi: list[str], tmp_path: Path):
    told = subprocess.run([*pi, "-c", "import platform; print(platform.machine())"], capture_output=True, text=True)
    assert told.stdout.strip() == "aarch64", told.stderr
    air = BeaconAir()
    with mosquitto(tmp_path) as broker, cloud(broker.port) as heard:
        config = tmp_path / "node.toml"
        config.write_text(
            '[node]\ntenant = "acme"\nstore = "main"\nnode = "pi-1"\n'
            f'[uplink]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            '[ble]\nbackend = "simulators.ble:SimulatedScanner"\n'
            '[outbox]\npath = "outbox.db"\n[health]\nevery_s = 1\n'
        )
        environ = os.environ | {"AISLE_AIR": f"127.0.0.1:{air.port}/pi-1"}
        with (tmp_path / "log").open("wb") as log:
            node = subprocess.Popen([*pi, "-m", "edge", str(config)], cwd=ROOT, env=environ, stderr=log)
        try:
            eventually(lambda: heard.events >= 5 and heard.heartbeats, "an emulated node tells what it hears", 120)
            examined = subprocess.run(
                [*pi, "-m", "edge", "doctor", str(config), "--json"],
                cwd=ROOT,
                env=environ,
                capture_output=True,
                text=True,
            )
        except BaseException:
            print((tmp_path / "log").read_text())
            raise
        finally:
            node.terminate()
            node.wait(60)
            air.close()
    assert node.returncode == 0
    findings = {finding["check"]: finding for finding in json.loads(examined.stdout)["findings"]}
    assert findings["software"]["level"] == findings["cloud"]["level"] == "PASS"
    assert not [each for each in findings.values() if "failed itself" in each["found"]]
    assert all(batch.header.node == "pi-1" for batch in heard.sightings)
