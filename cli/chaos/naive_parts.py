"""The naive design's two processes, as one would first write them: `python -m cli.chaos.naive_parts node|ingest …`.

Plain paho at QoS 1, sessions that last at the broker, a queue in memory. Good code of its kind: it reconnects, waits
for the database, and stores what has come in one COPY. What it lacks is a disk and an acknowledgement by the store.
"""

import json
import mmap
import os
import queue
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

MOST = 500
LISTENING = "listening"
"""Said by ingest: what is published before is lost by design, and nobody would start a fleet then."""


def client(name: str, port: int, user: str, password: str) -> mqtt.Client:
    """Connects by itself, again and again; the broker keeps its session."""
    made = mqtt.Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
    made.username_pw_set(user, password)
    made.max_inflight_messages_set(100)
    made.reconnect_delay_set(1, 4)
    made.connect_async("127.0.0.1", port, keepalive=5)
    return made


def node(air: str, port: int, user: str, password: str, taken: Path) -> None:
    """Every advert is an event, published as it is heard. How many paho took is noted outside the process, to be
    counted after a kill."""
    where, _, name = air.partition("/")
    host, _, air_port = where.partition(":")
    life = os.urandom(4).hex()
    line = client(name, port, user, password)
    line.loop_start()
    with taken.with_name(f"{taken.name}-{life}").open("w+b") as file:
        file.write(bytes(8))
        file.flush()
        counter = mmap.mmap(file.fileno(), 8)
        for n, _frame in enumerate(frames(host, int(air_port), name), 1):
            line.publish(f"aisle/v1/up/{user}/sightings", json.dumps({"life": life, "n": n}), qos=1)
            counter[:] = struct.pack("<q", n)


def frames(host: str, port: int, name: str) -> Iterator[bytes]:
    """Adverts from the simulated air, as its scanners get them."""
    with socket.create_connection((host, port)) as ear, ear.makefile("rb") as stream:
        ear.sendall(json.dumps({"node": name}).encode() + b"\n")
        while len(head := stream.read(4)) == 4:
            yield stream.read(int.from_bytes(head, "big"))


def ingest(port: int, user: str, password: str, dsn: str) -> None:
    """Takes what has come, stores it, for ever."""
    come: queue.Queue[bytes] = queue.Queue()
    line = client("naive-ingest", port, user, password)
    line.on_connect = lambda made, *_: made.subscribe("aisle/v1/up/#", qos=1)
    line.on_subscribe = lambda *_: print(LISTENING, flush=True)
    line.on_message = lambda _c, _d, message: come.put(bytes(message.payload))
    line.loop_start()
    conn: psycopg.Connection | None = None
    while True:
        taken = [come.get()]
        while len(taken) < MOST and not come.empty():
            taken.append(come.get_nowait())
        while True:
            try:
                if conn is None or conn.closed:
                    conn = psycopg.connect(dsn, connect_timeout=2)
                with conn.transaction(), conn.cursor() as cursor:
                    with cursor.copy("COPY naive_event (life, n) FROM STDIN") as copy:
                        for event in map(json.loads, taken):
                            copy.write_row((event["life"], event["n"]))
                break
            except psycopg.Error:
                if conn is not None:
                    conn.close()
                time.sleep(0.3)


if __name__ == "__main__":
    part, environ = sys.argv[1], os.environ
    login = (int(environ["NAIVE_PORT"]), environ["NAIVE_USER"], environ["NAIVE_PASSWORD"])
    if part == "node":
        node(environ["AISLE_AIR"], *login, Path(environ["NAIVE_TAKEN"]))
    else:
        ingest(*login, environ["NAIVE_DSN"])
