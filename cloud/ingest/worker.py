"""The ingest process: takes what has arrived, stores it in one transaction, tells the nodes, then tells the broker.

Run as many as you like: they share the messages (`$share`), and whatever two of them get is stored once. One of them
waits for nobody: what it has not taken stays at the broker, what the broker has not taken stays in the nodes' outboxes.
"""

import logging
import random
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mqtt5
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from cloud.config import Settings
from cloud.ingest.session import BrokerAway, Session
from cloud.ingest.store import Message, Outcome, Store
from contract.codec import encode_small
from contract.messages import DIGEST_DIGITS, Ack, Rejection, ranges
from contract.topics import ALL_STATUS, SHARED_UP

log = logging.getLogger(__name__)

WAIT_S = 0.5
"""For the first message, so that a signal is heard soon."""
RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0
STORED_WITHIN_S = 30.0
"""For one transaction. A connection of which only our end is left would be waited for until TCP gives it up, which may
be never; and the broker waits for a sign of us for one and a half times `session.KEEPALIVE_S`."""
HELD_S = 10.0
"""A session that held for less is a failure like any other."""


class TookTooLong(psycopg.OperationalError):
    """The database did not answer within STORED_WITHIN_S."""


class Ingest:
    """Connects broker and database; everything happens in `run`, on one thread."""

    def __init__(self, settings: Settings) -> None:
        self._dsn = settings.service_dsn
        self._broker = settings.broker
        self._store = Store(settings.clock)
        self._stopping = False
        self._conn: Connection[TupleRow] | None = None

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGALRM, _too_long)
        self._conn = self._database(None)
        log.info("ingest is ready")
        pauses, said = _Pauses(), False
        while not self._stopping:
            begun = time.monotonic()
            try:
                with self.open_session() as session:
                    log.info("broker connected")
                    said = False
                    self._serve(session)
            except BrokerAway as error:
                if time.monotonic() - begun > HELD_S:
                    pauses = _Pauses()
                if not said:
                    log.warning("broker away (%s), retrying", error)
                    said = True
                self._sleep(pauses.next_s(), None)
        if self._conn is not None:
            self._conn.close()

    def open_session(self) -> Session:
        """Connected and subscribed. Raises BrokerAway."""
        name = f"ingest-{socket.gethostname()}-{time.time_ns():x}"
        return Session.open(self._broker, name, (SHARED_UP, ALL_STATUS))

    def _serve(self, session: Session) -> None:
        while not self._stopping:
            arrived = session.receive(WAIT_S)
            outcome = self._take(session, arrived) if arrived else None
            if outcome is not None:
                session.send([*acks(outcome), *outcome.orders], arrived)

    def _take(self, session: Session, arrived: Sequence[mqtt5.PublishPacket]) -> Outcome | None:
        """Store it, however long the database is away; None if we are told to stop before."""
        messages = [
            Message(packet.topic, packet.payload, dict(packet.user_properties).get("id", "")) for packet in arrived
        ]
        pauses = _Pauses()
        while not self._stopping:
            self._conn = self._conn or self._database(session)
            if self._conn is None:
                break
            try:
                with _time_limit(STORED_WITHIN_S):
                    return self._store.take(self._conn, messages)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.warning("not stored, trying again: %s", _line(error))
                self._conn.close()
                self._conn = None
                self._sleep(pauses.next_s(), session)
        return None

    def _database(self, session: Session | None) -> Connection[TupleRow] | None:
        """A connection, waited for as long as it takes; None if we are told to stop before."""
        pauses, said = _Pauses(), False
        while not self._stopping:
            try:
                conn = psycopg.connect(self._dsn, autocommit=True, connect_timeout=2, application_name="aisle ingest")
            except psycopg.OperationalError as error:
                if not said:
                    log.warning("database away, retrying: %s", _line(error))
                    said = True
                self._sleep(pauses.next_s(), session)
                continue
            if said:
                log.warning("database is back")
            return conn
        return None

    def _sleep(self, seconds: float, session: Session | None) -> None:
        """Wait, and meanwhile keep the session and hear signals."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            if session is not None:
                session.keep_alive()
            time.sleep(min(left, WAIT_S))

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True


def _line(error: psycopg.Error) -> str:
    """What psycopg says first; the lines below are hints, and some errors say nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """SIGALRM after so many seconds, unless the block is done before."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _too_long(_signal: int, _frame: object) -> None:
    raise TookTooLong(f"no answer within {STORED_WITHIN_S:g} s")


class _Pauses:
    """Between attempts: twice as long each time, with jitter."""

    def __init__(self) -> None:
        self._next_s = RETRY_FIRST_S

    def next_s(self) -> float:
        """The next pause in seconds."""
        most_s, self._next_s = self._next_s, min(self._next_s * 2, RETRY_MOST_S)
        return random.uniform(most_s / 2, most_s)


def acks(outcome: Outcome) -> list[tuple[str, bytes]]:
    """One ack a node and epoch, as topic and payload: the ranges that the database holds, and what it refused."""
    told = []
    for address, epoch in outcome.stored.keys() | outcome.rejected.keys():
        digests = outcome.stored.get((address, epoch), {})
        ack = Ack(
            epoch=epoch,
            stored=ranges(digests),
            rejected=tuple(Rejection(*r) for r in outcome.rejected.get((address, epoch), [])),
            digests="".join([digests[seq].hex()[:DIGEST_DIGITS] for seq in sorted(digests)]),
        )
        told.append((address.down("ack"), encode_small(ack)))
    return told
