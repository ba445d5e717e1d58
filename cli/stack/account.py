"""Which account a local server runs under, and where its files may lie.

PostgreSQL refuses to run as root, and a broker has no business doing so. As root the servers therefore run as `nobody`.
That account must be able to reach their files: below a private home directory it cannot, so then they lie below
/var/lib/aisle in a folder named after the place they were asked to be in.
"""

import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ELSEWHERE = Path("/var/lib/aisle")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user to run a server as."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give one file or folder to the account."""
        os.chown(path, self.uid, self.gid)


def server_account() -> Account | None:
    """`nobody` when we are root, else None: a server then simply runs as we do."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path) -> bool:
    """Whether any account may enter the folders above `path` (those that exist)."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.absolute().parents if parent.exists())


def server_folder(root: Path, account: Account | None) -> Path:
    """Make the folder of a server asked to be in `root`; private to the account that runs it (mode 0700)."""
    root = root.absolute()
    if account is None:
        folder = root
    elif reachable(root / "data"):
        folder = root / "data"
    else:
        name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        folder = _elsewhere(name) / "data"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if account is not None:
        account.own(folder)
    return folder


def remove_server_folder(root: Path, account: Account | None) -> None:
    """Remove what `server_folder` made, wherever it lies, and `root`."""
    folder = server_folder(root, account)
    shutil.rmtree(folder)
    if ELSEWHERE in folder.parents:
        folder.parent.rmdir()
    shutil.rmtree(root, ignore_errors=True)


def readable_copy(sources: Sequence[Path], name: str, ignore: tuple[str, ...] = ()) -> Path:
    """A folder with a copy of each source folder where any account can read it, made once; complete or absent."""
    target = _elsewhere(name)
    for source in sources:
        copy = target / source.name
        if copy.exists():
            continue
        half_done = target / f"{source.name}.{os.getpid()}"
        shutil.copytree(source, half_done, ignore=shutil.ignore_patterns(*ignore))
        for path in [half_done, *half_done.rglob("*")]:
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
        half_done.rename(copy)
    return target


def _elsewhere(name: str) -> Path:
    folder = ELSEWHERE / name
    folder.mkdir(parents=True, exist_ok=True)
    for each in (ELSEWHERE, folder):
        each.chmod(0o711)
    return folder
