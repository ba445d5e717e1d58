"""A raw socket on a network interface in monitor mode: management frames only, drops counted by the kernel."""

import ctypes
import errno
import fcntl
import socket
import struct

FRAME_MOST = 4_096
"""A management frame has 2,304 bytes at most (IEEE 802.11-2020, 9.3.3), its radiotap header rarely 100."""
BUFFER_BYTES = 8 * 1024 * 1024
"""Frames that wait while the node writes its outbox: seconds of a crowded air."""

MONITOR = 803
"""ARPHRD_IEEE80211_RADIOTAP, linux/if_arp.h: the link type of an interface whose frames begin with radiotap."""

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23  # linux/if_packet.h
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927  # linux/sockios.h
_IFF_UP = 0x1

_MANAGEMENT = (
    (0x30, 0, 0, 3),  # A = byte 3: the radiotap header's length, high byte (classic BPF loads are big-endian)
    (0x64, 0, 0, 8),  # A <<= 8
    (0x07, 0, 0, 0),  # X = A
    (0x30, 0, 0, 2),  # A = byte 2, the low byte
    (0x4C, 0, 0, 0),  # A |= X
    (0x07, 0, 0, 0),  # X = A
    (0x50, 0, 0, 0),  # A = the byte behind the header: frame control
    (0x54, 0, 0, 0x0F),  # A &= version and type
    (0x15, 0, 1, 0),  # version 0, type 0?
    (0x06, 0, 0, 0xFFFFFFFF),  # yes: take it all
    (0x06, 0, 0, 0),  # no: drop it before it wakes anybody
)
"""Classic BPF (code, jump if true, jump if false, k) that passes management frames behind any radiotap header."""


class CannotListen(Exception):
    """An interface that cannot be listened to; `str()` says what to do about it."""


def open_monitor(interface: str) -> socket.socket:
    """A non-blocking socket that gives each management frame the interface hears. Raises CannotListen."""
    found = _open(interface)
    try:
        check_monitor(found, interface)
    except CannotListen:
        found.close()
        raise
    return found


def open_packets(interface: str) -> socket.socket:
    """The same on an interface of any kind, such as a wire on which a simulator sends radiotap. Raises CannotListen."""
    found = _open(interface)
    try:
        _check_up(found, interface)
    except CannotListen:
        found.close()
        raise
    return found


def check_monitor(opened: socket.socket, interface: str) -> None:
    """Raises CannotListen if the interface is not in monitor mode or not up."""
    kind = _link_type(opened, interface)
    if kind != MONITOR:
        raise CannotListen(
            f"{interface} is not in monitor mode (its link type is {kind}, not {MONITOR}): "
            f"run `systemctl start radio-monitor@{interface}` (firmware_configs/wifi); "
            "`iw phy` lists `monitor` for a chip that can, the one built into a Raspberry Pi cannot"
        )
    _check_up(opened, interface)


def drops(opened: socket.socket) -> int:
    """Frames that the kernel had no room for since this was last asked."""
    try:
        _, dropped = struct.unpack("II", opened.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    except OSError:  # not a packet socket: a simulator's
        return 0
    return int(dropped)


def _open(interface: str) -> socket.socket:
    if not hasattr(socket, "AF_PACKET"):
        raise CannotListen("Wi-Fi can be listened to on Linux only")
    try:
        # Protocol 0 hears nothing, so that no frame of another interface slips in before the bind.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise CannotListen(
            "no permission to listen to an interface: the process needs CAP_NET_RAW "
            "(install firmware_configs/wifi/aisle-edge-wifi.conf, then `systemctl daemon-reload`)"
        ) from None
    try:
        _make_room(opened)
        _attach(opened)
        opened.setblocking(False)
        opened.bind((interface, _ETH_P_ALL))
    except OSError as error:
        opened.close()
        if error.errno == errno.ENODEV:
            raise CannotListen(
                f"there is no interface {interface}: plug the adapter in; `iw dev` lists what is there"
            ) from None
        raise CannotListen(f"{interface} cannot be listened to: {error.strerror}") from error
    return opened


def _make_room(opened: socket.socket) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    except PermissionError:  # without CAP_NET_ADMIN only as much as net.core.rmem_max allows
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


def _attach(opened: socket.socket) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _MANAGEMENT)
    held = ctypes.create_string_buffer(code)  # the kernel copies it within the call
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_MANAGEMENT), ctypes.addressof(held)))
    try:
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    except OSError:
        pass  # before Linux 4.20; in monitor mode a node sends nothing anyway


def _check_up(opened: socket.socket, interface: str) -> None:
    answer = _ask(opened, _SIOCGIFFLAGS, interface)
    if not struct.unpack_from("H", answer, 16)[0] & _IFF_UP:
        raise CannotListen(f"{interface} is down: run `ip link set {interface} up`")


def _link_type(opened: socket.socket, interface: str) -> int:
    return int(struct.unpack_from("H", _ask(opened, _SIOCGIFHWADDR, interface), 16)[0])


def _ask(opened: socket.socket, question: int, interface: str) -> bytes:
    try:
        return fcntl.ioctl(opened, question, struct.pack("16s24x", interface.encode()))
    except OSError as error:  # it went away since the bind
        raise CannotListen(f"{interface} cannot be asked: {error.strerror}") from error
