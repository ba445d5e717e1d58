"""Going round the channels of an interface in monitor mode, with `iw`."""

import asyncio
import itertools
import logging
import os
import shutil
from collections.abc import Sequence

log = logging.getLogger(__name__)


class Hopper:
    """Sets a channel after another until cancelled. Where it cannot, it says so once and keeps trying."""

    def __init__(self, interface: str, channels: Sequence[int], dwell_s: float) -> None:
        self._interface = interface
        self._channels = channels
        self._dwell_s = dwell_s
        self._said = ""
        self.channel: int | None = None
        """The channel set last; None while it is whichever somebody else has set."""
        self.trouble = ""
        """Why the channel does not change; empty while it does."""

    async def run(self) -> None:
        """Returns only where there is nothing to do: no channels, or no iw."""
        if not self._channels:
            return
        iw = shutil.which("iw", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
        if iw is None:
            self._say("it stays on one channel, since iw is missing: apt install iw")
            return
        for channel in itertools.cycle(self._channels):
            refused = await _set_channel(iw, self._interface, channel)
            if refused:
                self._say(f"it stays on its channel: {refused}")
            else:
                self.channel, self.trouble = channel, ""
            await asyncio.sleep(self._dwell_s)

    def _say(self, trouble: str) -> None:
        if trouble != self._said:
            log.warning("Wi-Fi on %s: %s", self._interface, trouble)
        self.trouble = self._said = trouble


async def _set_channel(iw: str, interface: str, channel: int) -> str:
    """Why the channel could not be set; empty if it was."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(iw, "dev", interface, "set", "channel", str(channel)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return f"iw cannot be run: {error.strerror}"
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode == 0:
        return ""
    return " ".join(said.decode(errors="replace").split()) or f"iw ended with {process.returncode}"
