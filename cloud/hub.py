"""What the database announces, handed to the streams that wait for it: one LISTEN connection for all of them."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator

import psycopg

log = logging.getLogger(__name__)

CHANNELS = ("aisle_push", "aisle_now")
RETRY_S = 0.5


class Hub:
    """Streams wait under a key (`tenant/member` for pushes, `tenant/store` for people now) and are woken by it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def run(self) -> None:
        """Listen for ever. After a lost connection everyone is woken once, since something may have been missed."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as conn:
                    for channel in CHANNELS:
                        await conn.execute(f"LISTEN {channel}".encode())
                    self._wake_all()
                    async for note in conn.notifies():
                        self._wake("/".join(note.payload.split("/")[:2]))
            except psycopg.OperationalError as error:
                log.warning("streams: database away, retrying: %s", str(error).strip().splitlines()[-1])
                await asyncio.sleep(RETRY_S)

    @contextlib.asynccontextmanager
    async def waiting(self, key: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the key is announced; clear it before looking, so that nothing is missed."""
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def _wake(self, key: str) -> None:
        for event in self._waiting.get(key, ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
