"""A small HTTP/1.1 receiver for feeds that post to the node: a few routes, tight limits, TLS with a certificate.

No framework: a node needs three routes, and h11 is all that parsing takes. Handlers are plain functions; they run on
the event loop and return at once.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import h11

from contract.messages import SourceHealth
from edge.settings import Http
from edge.sources.feeds import RETRY_S, Tally, host_port

log = logging.getLogger(__name__)

BODY_MOST = 8 << 20
"""Bytes. A network with 10,000 clients in Meraki's list posts about 5 MiB."""
HEADER_MOST = 16 << 10
CONNECTIONS_MOST = 32
HEADER_S = 10.0
"""A request's header must be there so soon after its first byte; a connection may wait so long for a request at all."""
BODY_S = 30.0
READ_BYTES = 64 << 10


class Request(NamedTuple):
    """A request whose body is complete."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes


class Response(NamedTuple):
    """An answer; the text never repeats what was sent."""

    status: int
    text: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Response]
Routes = Mapping[tuple[str, str], Handler]
"""By (method, path)."""


class _TooLarge(Exception):
    """The body is longer than is taken."""


class HttpReceiver:
    """The source `http`: everything that is posted to the node comes through it."""

    name = "http"

    def __init__(self, settings: Http, folder: Path, routes: Routes) -> None:
        """Raises ValueError or OSError if the certificate cannot be used."""
        self._settings = settings
        self._routes = dict(routes)
        self._tls = _tls(settings, folder)
        self._body_most = int(settings.max_mb * (1 << 20))
        self._tally = Tally()
        self._open: set[asyncio.Task[None]] = set()
        self.port: int | None = None
        """The port in use; None while it is closed."""

    async def run(self) -> None:
        """Listens until cancelled; says once why it cannot."""
        host, port = host_port(self._settings.listen)
        while True:
            try:
                server = await asyncio.start_server(self._accepted, host, port, ssl=self._tls, limit=READ_BYTES)
            except OSError as error:
                if not self._tally.trouble:
                    log.warning("http: cannot listen on %s: %s; trying again", self._settings.listen, error)
                self._tally.trouble = f"cannot listen on {self._settings.listen}"
                await asyncio.sleep(RETRY_S)
                continue
            self._tally.trouble = ""
            self.port = server.sockets[0].getsockname()[1]
            log.info("http: listening on %s%s", self._settings.listen, " with TLS" if self._tls else "")
            try:
                await asyncio.Event().wait()
            finally:
                self.port = None
                server.close()
                await self._hang_up()

    def health(self) -> SourceHealth:
        """Counts requests that were answered with success."""
        return self._tally.health("TLS" if self._tls else "")

    async def _hang_up(self) -> None:
        await asyncio.sleep(0)  # one that was just accepted has its turn, and is known
        open_now = list(self._open)
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # asyncio runs this as one
        self._open.add(task)
        try:
            if len(self._open) <= CONNECTIONS_MOST:
                await self._serve(reader, writer)
            else:
                self._tally.refused += 1
        except (OSError, TimeoutError, h11.RemoteProtocolError):
            self._tally.refused += 1  # cut off, too slow, or no HTTP: nobody is left to be answered
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 1.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_MOST)
        while True:
            request = await self._request(connection, reader, writer)
            if request is None:
                return
            await _send(connection, writer, self._answer(request))
            if connection.our_state is h11.MUST_CLOSE or connection.their_state is h11.MUST_CLOSE:
                return
            connection.start_next_cycle()

    async def _request(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Request | None:
        """The next request; None if there is none, or it was answered here because it cannot be taken."""
        try:
            try:
                async with asyncio.timeout(HEADER_S):
                    head = await _next(connection, reader)
            except TimeoutError:
                if connection.trailing_data[0]:
                    raise
                return None  # kept open for nothing
            if not isinstance(head, h11.Request):
                return None
            async with asyncio.timeout(BODY_S):
                body = await self._body(connection, reader, writer, head)
        except h11.RemoteProtocolError as error:
            if connection.our_state is h11.IDLE or connection.our_state is h11.SEND_RESPONSE:
                await self._refuse(
                    connection, writer, Response(error.error_status_hint, "not HTTP/1.1 as it should be")
                )
            return None
        except _TooLarge:
            await self._refuse(connection, writer, Response(413, f"more than {self._settings.max_mb:g} MiB"))
            return None
        path = head.target.partition(b"?")[0].decode("ascii", "replace")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        return Request(head.method.decode("ascii"), path, headers, body)

    async def _body(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: h11.Request
    ) -> bytes:
        length = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
        if length > self._body_most:
            raise _TooLarge
        if connection.they_are_waiting_for_100_continue:
            writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        parts: list[bytes] = []
        size = 0
        while isinstance(event := await _next(connection, reader), h11.Data):
            size += len(event.data)
            if size > self._body_most:
                raise _TooLarge
            parts.append(bytes(event.data))
        return b"".join(parts)

    def _answer(self, request: Request) -> Response:
        handler = self._routes.get((request.method, request.path))
        if handler is not None:
            response = handler(request)
        else:
            allowed = sorted(method for method, path in self._routes if path == request.path)
            response = Response(405, headers=(("Allow", ", ".join(allowed)),)) if allowed else Response(404)
        if response.status < 400:
            self._tally.hear()
        else:
            self._tally.refused += 1
        return response

    async def _refuse(self, connection: h11.Connection, writer: asyncio.StreamWriter, response: Response) -> None:
        self._tally.refused += 1
        with contextlib.suppress(h11.LocalProtocolError):
            await _send(connection, writer, response._replace(headers=(("Connection", "close"),)))


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Event | type[h11.PAUSED]:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            assert not isinstance(event, type) or event is h11.PAUSED  # what mypy cannot see in a sentinel
            return event
        connection.receive_data(await reader.read(READ_BYTES))


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, response: Response) -> None:
    body = response.text.encode()
    headers = [("Content-Type", response.content_type), ("Content-Length", str(len(body))), *response.headers]
    for event in (
        h11.Response(status_code=response.status, headers=headers),
        h11.Data(data=body),
        h11.EndOfMessage(),
    ):
        writer.write(connection.send(event) or b"")
    await asyncio.wait_for(writer.drain(), HEADER_S)


def _tls(settings: Http, folder: Path) -> ssl.SSLContext | None:
    if settings.cert_file is None and settings.key_file is None:
        return None
    if settings.cert_file is None or settings.key_file is None:
        raise ValueError("[http] cert_file: found it or key_file alone, expected both or neither")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / settings.cert_file, folder / settings.key_file)
    return context
