"""The bad line does to bytes what it says, and nothing when it is good."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.fault_proxy import Fault, FaultProxy


class Echo:
    """Sends back what it gets, and remembers it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.heard = bytearray()
        self.ended: str | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            while data := self.connection.recv(65536):
                self.heard += data
                self.connection.sendall(data)
            self.ended = "closed"
        except OSError as error:
            self.ended = type(error).__name__
        self.connection.close()


class Server:
    """Accepts and echoes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.echoes: list[Echo] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                echo = Echo(self._socket.accept()[0])
                self.echoes.append(echo)
                echo.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def line(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        yield proxy


@contextlib.contextmanager
def client(line: FaultProxy, timeout_s: float = 5.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", line.port), timeout=timeout_s) as connection:
        yield connection


def exactly(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = connection.recv(size - len(got))
        assert part, f"ended after {len(got)} of {size} bytes"
        got += part
    return got


def ask(connection: socket.socket, data: bytes) -> tuple[bytes, float]:
    """The echo, and how long it took."""
    begun = time.monotonic()
    connection.sendall(data)
    return exactly(connection, len(data)), time.monotonic() - begun


def is_silent(connection: socket.socket, for_s: float = 0.3) -> bool:
    connection.settimeout(for_s)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def eventually(condition: object, what: str) -> None:
    end = time.monotonic() + 5
    while not (callable(condition) and condition()):
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_a_good_line_passes_every_byte_and_the_end(server, line) -> None:
    data = bytes(range(256)) * 4_000
    with client(line) as connection:
        threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
        assert exactly(connection, len(data)) == data
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    eventually(lambda: server.echoes[0].ended == "closed" and line.open == 0, "the end is passed on")
    assert (line.accepted, line.corrupted) == (1, 0)


def test_latency_is_added_each_way_and_does_not_narrow_the_line(line) -> None:
    with client(line) as connection:
        line.become(Fault(latency_s=0.15))
        _, took_s = ask(connection, b"x" * 200_000)
        assert 0.3 <= took_s < 1.0
        line.heal()
        _, took_s = ask(connection, b"x")
        assert took_s < 0.15


def test_a_narrow_line_passes_so_many_bytes_a_second(line) -> None:
    with client(line) as connection:
        line.become(Fault(bytes_per_s=100_000))
        data, took_s = ask(connection, b"n" * 50_000)
        assert data == b"n" * 50_000
        assert 0.45 <= took_s < 1.5


def test_a_stalled_line_goes_on_where_it_stopped(server, line) -> None:
    with client(line) as connection:
        ask(connection, b"before")
        line.become(Fault(stalled=True))
        connection.sendall(b"meanwhile")
        assert is_silent(connection)
        assert server.echoes[0].heard == b"before"
        line.heal()
        assert exactly(connection, 9) == b"meanwhile"


def test_a_half_open_connection_stays_dead_and_a_new_one_lives_once_the_line_is_good(server, line) -> None:
    with client(line) as old:
        ask(old, b"before")
        line.become(Fault(half_open=True))
        old.sendall(b"swallowed")
        with client(line) as other:
            other.sendall(b"swallowed too")
            assert is_silent(other)
            line.heal()
            assert is_silent(old) and is_silent(other), "nobody says goodbye"
        with client(line) as new:
            assert ask(new, b"alive")[0] == b"alive"
    assert server.echoes[0].heard == b"before"


def test_a_reset_reaches_both_ends_and_the_next_connection_is_taken(server, line) -> None:
    with client(line) as connection:
        ask(connection, b"before")
        line.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    eventually(lambda: server.echoes[0].ended == "ConnectionResetError", "the server is reset too")
    with client(line) as connection:
        assert ask(connection, b"again")[0] == b"again"


def test_a_cut_line_refuses_until_it_is_healed(line) -> None:
    with client(line) as connection:
        ask(connection, b"before")
        line.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionError), client(line) as connection:
        assert connection.recv(1)
        raise ConnectionError("ended in order: as good as refused")
    line.heal()
    with client(line) as connection:
        assert ask(connection, b"after")[0] == b"after"


def test_a_server_that_is_down_makes_a_line_that_refuses(server, line) -> None:
    server.close()
    with pytest.raises((ConnectionError, AssertionError)), client(line) as connection:
        ask(connection, b"anybody?")
    server.close = lambda: None


def test_a_bit_is_turned_over_and_counted(server) -> None:
    with FaultProxy(server.port, seed=7) as line, client(line) as connection:
        line.become(Fault(corrupt=1.0))
        data, _ = ask(connection, b"\x00" * 1_000)
        turned = sum(byte.bit_count() for byte in data)
        assert line.corrupted >= 2 and 0 <= turned <= line.corrupted, "once there and once back, perhaps the same bit"
        assert server.echoes[0].heard.count(0) < 1_000


def test_the_end_of_a_connection_may_be_told_late(server, line) -> None:
    with client(line) as connection:
        ask(connection, b"before")
        line.become(Fault(close_after_s=0.4))
        begun = time.monotonic()
        connection.shutdown(socket.SHUT_WR)
        eventually(lambda: server.echoes[0].ended == "closed", "told at last")
        assert time.monotonic() - begun >= 0.4


def test_what_a_corrupting_line_turns_over_inside_tls_is_noticed(server, tmp_path: Path) -> None:
    from cli.chaos.certificates import make

    served, trusting = make(tmp_path)
    with FaultProxy(server.port, tls=served) as door, FaultProxy(door.port, seed=3) as line:
        with client(line) as raw, trusting.wrap_socket(raw, server_hostname="localhost") as connection:
            assert ask(connection, b"whole")[0] == b"whole"
            line.become(Fault(corrupt=1.0))
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                ask(connection, b"never " * 100)
    assert bytes(server.echoes[0].heard) == b"whole", "not one wrong byte was let through"
