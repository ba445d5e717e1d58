"""Files that are nobody else's to read: keys, passwords, and what the node keeps of those it heard."""

import stat
from collections.abc import Iterator
from pathlib import Path

from edge.config import SECTIONS, NodeConfig
from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Patient
from edge.privacy import OPT_OUTS

_SECRETS = ("key_file", "password_file", "secret_file")
"""How the settings end that name a secret."""


def secrecy(patient: Patient) -> Iterator[Finding]:
    """The secrets that node.toml names, the outbox and the list of opt-outs."""
    if patient.config is None or patient.outbox is None:
        yield skipped("secrecy", patient.unread)
        return
    secrets = [patient.folder / name for name in named_secrets(patient.config)]
    outbox = patient.outbox
    kept = [outbox, *(outbox.with_name(outbox.name + more) for more in ("-wal", "-shm")), patient.folder / OPT_OUTS]
    found = [*map(judge_secret, secrets, map(mode_of, secrets)), *map(judge_kept, kept, map(mode_of, kept))]
    bad = [each for each in found if each is not None]
    yield from bad or [passed("secrecy", f"{len(secrets)} secrets and the outbox are the node's own to read")]


def named_secrets(config: NodeConfig) -> list[str]:
    """Every file with a key, a password or a secret that the settings name, once."""
    sections = [getattr(config, name) for name in SECTIONS]
    files = [
        getattr(section, key)
        for section in sections
        if section is not None
        for key in section.__struct_fields__
        if key.endswith(_SECRETS)
    ]
    return list(dict.fromkeys(file for file in files if file is not None))


def judge_secret(path: Path, mode: int | None) -> Finding | None:
    """Judges a secret's file by its permission bits; None if it is good, or cannot be looked at."""
    if mode is None or not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    return failed("secrecy", f"{path.name} has mode {mode:04o}: others may read it", f"sudo chmod 600 {path}")


def judge_kept(path: Path, mode: int | None) -> Finding | None:
    """Judges what the node keeps; None if it is good, not there, or cannot be looked at."""
    if mode is None or not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    return warned("secrecy", f"{path.name} has mode {mode:04o}: others may read it", f"sudo chmod 600 {path}")


def mode_of(path: Path) -> int | None:
    """A file's permission bits; None if it is not there or in a folder that is not ours to look into."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
