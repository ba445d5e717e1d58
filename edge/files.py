"""Files that are the node's own: readable by its user only, and written whole or not at all."""

import os
from pathlib import Path

OWN_FILE, OWN_FOLDER = 0o600, 0o700


def make_folder(path: Path) -> None:
    """Makes a folder that only this user may look into; one that is there stays as it is. Raises OSError."""
    path.mkdir(mode=OWN_FOLDER, parents=True, exist_ok=True)


def write_whole(path: Path, content: bytes, mode: int = OWN_FILE) -> None:
    """The file has its old content or the new one, whatever happens, and never another mode. Raises OSError.

    Root writes for whoever owns the folder: the node runs as that user.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask left of it
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
