"""Readers of other vendors, as they look through reelyActive's software: raddecs over UDP, binary or JSON.

`python -m simulators.raddec --to 127.0.0.1:50001` sends adverts of made-up iBeacons and RFID tags until interrupted.
"""

import argparse
import random
import socket
import time
from collections.abc import Iterator

from edge.frames.raddec import (
    EPC96,
    EUI48,
    EUI64,
    PACKETS,
    RND48,
    UDP_PORT,
    Decoding,
    Raddec,
    advert_pdu,
    raddec_bytes,
    raddec_json,
)
from simulators.adverts import Advert, ibeacon_advert

ADV_NONCONN_IND = 2


def raddec_of_advert(advert: Advert, rssi_by_reader: dict[bytes, int], at_us: int) -> Raddec:
    """An advert that some readers heard, as their software sums it up. Readers have 8-byte names."""
    random_address = advert.address_type == "random"
    heard = sorted(rssi_by_reader.items(), key=lambda reader: -reader[1])
    return Raddec(
        transmitter=advert.address,
        transmitter_type=RND48 if random_address else EUI48,
        signature=tuple(Decoding(reader, EUI64, rssi) for reader, rssi in heard),
        timestamp_ms=at_us // 1_000,
        packets=(advert_pdu(ADV_NONCONN_IND, advert.address, random_address, advert.data),),
        events=(PACKETS,),
    )


def raddec_of_tag(epc: bytes, reader: bytes, antenna: int, rssi: int, at_us: int) -> Raddec:
    """A read of an RFID tag with a 96-bit EPC."""
    return Raddec(epc, EPC96, (Decoding(reader, EUI64, rssi, 1, antenna),), at_us // 1_000)


def made_up(readers: list[bytes], beacons: int, tags: int, seed: int) -> Iterator[Raddec]:
    """Beacons and tags by turns, for ever; each is nearest to one reader."""
    chance = random.Random(seed)
    adverts = [ibeacon_advert("2f234454-cf6d-4a0f-adf2-f4911ba9ffa6", 1, minor) for minor in range(beacons)]
    epcs = [bytes.fromhex("3074257bf7194e40") + number.to_bytes(4, "big") for number in range(tags)]
    while True:
        at_us = time.time_ns() // 1_000
        number = chance.randrange(beacons + tags)
        near = readers[number % len(readers)]
        if number < beacons:
            levels = {reader: round(chance.gauss(-55 if reader == near else -75, 4)) for reader in readers}
            yield raddec_of_advert(adverts[number], levels, at_us)
        else:
            yield raddec_of_tag(epcs[number - beacons], near, 1, round(chance.gauss(-60, 3)), at_us)


def main() -> None:
    """Sends until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", default=f"127.0.0.1:{UDP_PORT}", help="address and port")
    parser.add_argument("--reader", action="append", help="a reader's name, 16 hexadecimal digits; may be given again")
    parser.add_argument("--beacons", type=int, default=20)
    parser.add_argument("--tags", type=int, default=10)
    parser.add_argument("--rate", type=float, default=50.0, help="raddecs a second")
    parser.add_argument("--json", action="store_true", help="JSON in place of the binary form")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    host, _, port = arguments.to.rpartition(":")
    readers = [bytes.fromhex(name) for name in arguments.reader or ["001bc50940810000", "001bc50940810001"]]
    encode = raddec_json if arguments.json else raddec_bytes
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for raddec in made_up(readers, arguments.beacons, arguments.tags, arguments.seed):
            channel.sendto(encode(raddec), (host, int(port)))
            time.sleep(1 / arguments.rate)


if __name__ == "__main__":
    main()
