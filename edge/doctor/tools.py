"""Other programs' words: run a command of the system and read what it says."""

import os
import shutil
import subprocess

_SYSTEM = "/usr/sbin:/sbin:/usr/local/sbin"
"""Where Debian keeps `iw` and `rfkill`, which a plain user's PATH leaves out."""


def find(program: str) -> str | None:
    """Where a program is; None if it is not installed."""
    return shutil.which(program) or shutil.which(program, path=_SYSTEM)


def say(*command: str, timeout_s: float = 5.0) -> str | None:
    """What a command prints, in English; None if it is not installed, fails or does not answer."""
    program = find(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def user_name() -> str:
    """The account that runs this, for commands that name it."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as containers have
        return str(os.getuid())


def in_group(name: str) -> bool | None:
    """Whether this process belongs to a group (root to all); None if there is no such group here."""
    import grp

    if os.geteuid() == 0:
        return True
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        return None
    return number in (os.getegid(), *os.getgroups())
