"""Wi-Fi captures in monitor mode: the packets of *.pcap and *.pcapng files, each file a stretch of time."""

from pathlib import Path

from cli.replay.place import plan
from cli.replay.recording import HeardFrame, Recording, UnknownRecording, Walk
from simulators.pcap import PcapError, read_radiotap

ENDINGS = (".pcap", ".pcapng")
NODE = "monitor"


def files(path: Path) -> list[Path]:
    """The captures of a file or a folder."""
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file for file in found if file.suffix in ENDINGS]


def read(path: Path, store: str | None) -> Recording:
    """The recording in a file or folder. Raises UnknownRecording, naming the file."""
    store = store or "wifi"
    node = f"{store}-{NODE}"
    walks = [_walk(file, node) for file in files(path)]
    return Recording(
        store=store,
        plan=plan(f"Replay of {path.name}", node, 10.0, 10.0),
        nodes=(node,),
        walks=[walk for walk in walks if walk.heard],
        notes=["frames count and are forgotten: what leaves the node is a count for each five minutes, from five on"],
        figures={"frames": sum(len(walk.heard) for walk in walks)},
    )


def _walk(file: Path, node: str) -> Walk:
    try:
        packets = list(read_radiotap(file))
    except PcapError as error:
        raise UnknownRecording(file, str(error).partition(": ")[2]) from None
    heard = [HeardFrame(packet.at_us, node, packet.data) for packet in packets]
    return Walk(file.stem, sorted(heard, key=lambda frame: frame.at_us))
