"""What a node asks of a reader, and what the reader's answers mean: all as values, the source sends and receives them.

Orders are JSON in the form of `view`, so that what is sent can be read, kept in a file and changed by hand.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.frames.llrp.codec import Element, decode_parameters
from edge.frames.llrp.reports import CUSTOM, IMPINJ
from edge.frames.llrp.tables import PARAMETERS, STATUS
from edge.frames.llrp.view import Json, from_json

ROSPEC_ID = 1
INVENTORY_ID = 1
GEN2 = 1
"""AirProtocolID of EPCglobal Class 1 Generation 2, the only one there is."""
IMMEDIATE, NULL_START = 1, 0
"""Start triggers of a ROSpec: as soon as it is enabled; by START_ROSPEC only."""
TAGS_OR_AISPEC_END = 1
"""Report trigger: every N tags, and when an AISpec ends."""

EVENT_ROSPEC, EVENT_BUFFER, EVENT_EXCEPTION, EVENT_ANTENNA = 2, 3, 4, 8
"""ReaderEventType of EventNotificationState."""

IMPINJ_ENABLE_EXTENSIONS, IMPINJ_ENABLE_EXTENSIONS_RESPONSE = 21, 22
"""Subtypes of Impinj's custom messages (Octane LLRP, 4.2)."""
IMPINJ_REPORT_CONTENT = 50
IMPINJ_CONTENTS = {"phase": 52, "rssi": 53, "doppler": 67}
"""Subtypes of what can be enabled in an ImpinjTagReportContentSelector; 1 enables."""

MAKERS = {161: "Zebra", IMPINJ: "Impinj"}
"""Enterprise numbers (IANA) of the makers most met; Zebra's was Motorola's."""
REFUSALS = {
    1: "it is connected to a client of its own choice",
    2: "it serves another client already",
    3: "it gives no reason",
    4: "another client wants it",
}
"""ConnectionAttemptEvent (LLRP 1.1, 15.2.6.4.11)."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a reader can do, as far as it matters here."""

    manufacturer: int
    """IANA enterprise number."""
    model: int
    firmware: str
    antennas: int
    powers: Mapping[int, float]
    """dBm by index."""
    hop_table: int
    """The first table of frequencies that it hops over; 0 where the region has fixed frequencies."""

    @property
    def impinj(self) -> bool:
        return self.manufacturer == IMPINJ

    @property
    def label(self) -> str:
        """For people."""
        maker = MAKERS.get(self.manufacturer, f"maker {self.manufacturer}")
        return f"{maker} model {self.model}, firmware {self.firmware or '?'}, {self.antennas} antennas"

    def power_index(self, dbm: float) -> int | None:
        """The strongest transmit power up to this, else the weakest there is; None if the reader tells none."""
        if not self.powers:
            return None
        fitting = {index: power for index, power in self.powers.items() if power <= dbm}
        return max(fitting, key=fitting.__getitem__) if fitting else min(self.powers, key=self.powers.__getitem__)


def capabilities(answer: Element) -> Capabilities:
    """What a GET_READER_CAPABILITIES_RESPONSE tells; zeros and nothing where it does not."""
    device = answer.child("GeneralDeviceCapabilities") or Element("GeneralDeviceCapabilities")
    band = answer.child("RegulatoryCapabilities", "UHFBandCapabilities") or Element("UHFBandCapabilities")
    frequencies = band.child("FrequencyInformation")
    hop_table = frequencies.child("FrequencyHopTable") if frequencies and frequencies.number("Hopping") else None
    return Capabilities(
        manufacturer=device.number("DeviceManufacturer"),
        model=device.number("Model"),
        firmware=device.text("FirmwareVersion"),
        antennas=device.number("MaxSupportedAntennas"),
        powers={
            level.number("Index"): level.number("TransmitPowerValue") / 100
            for level in band.all("TransmitPowerLevelTableEntry")
        },
        hop_table=hop_table.number("HopTableID") if hop_table else 0,
    )


def failure(answer: Element) -> str:
    """What an answer's LLRPStatus complains of, in one line; empty for success."""
    status = answer.child("LLRPStatus")
    if answer.name == "CustomMessage":
        inner = decode_parameters(answer.data("Data")) or ()
        status = next((found for found in inner if isinstance(found, Element) and found.name == "LLRPStatus"), None)
    if status is None:
        return "no LLRPStatus in its answer"
    if not status.number("Status"):
        return "the whole message" if answer.name == "ErrorMessage" else ""
    told = [_words(status.number("Status"))]
    if description := " ".join(status.text("ErrorDescription").split()):
        told.append(description)
    error, left = status, 4  # an honest reader nests them as deep as its message is
    while left:
        left -= 1
        if field := error.child("FieldError"):
            told.append(f"field {field.number('FieldIndex')}: {_words(field.number('ErrorCode'))}")
        inner_error = error.child("ParameterError")
        if inner_error is None:
            break
        error, number = inner_error, inner_error.number("ParameterType")
        name = PARAMETERS[number].name if number in PARAMETERS else f"parameter {number}"
        told.append(f"{name}: {_words(error.number('ErrorCode'))}")
    return ", ".join(told)


def _words(status: int) -> str:
    return STATUS.get(status, f"status {status}")


def reader_config(keepalive_ms: int) -> Json:
    """SET_READER_CONFIG: a sign of life at least so often, the events that matter, nothing held back."""
    wanted = (EVENT_ROSPEC, EVENT_BUFFER, EVENT_EXCEPTION, EVENT_ANTENNA)
    return {
        "ResetToFactoryDefaults": False,
        "ReaderEventNotificationSpec": {
            "EventNotificationStates": [{"ReaderEventType": event, "NotificationEnabled": True} for event in wanted]
        },
        "KeepAliveSpec": {"Trigger": 1, "Interval": keepalive_ms},
        "EventsAndReports": False,
    }


def rospec(
    antennas: Sequence[int] = (),
    session: int = 1,
    population: int = 32,
    mode: int | None = None,
    power: tuple[int, int] | None = None,
    report_every: int = 1,
    impinj: bool = False,
) -> Json:
    """A ROSpec that reads for ever from the moment it is enabled.

    No antennas are all of them. `power` is the hop table and the index of the transmit power; without it and `mode` the
    reader's own settings stay. `impinj` asks for Impinj's finer RSSI, phase and Doppler.
    """
    singulation = {"Session": session, "TagPopulation": population, "TagTransitTime": 0}
    command: Json = {"TagInventoryStateAware": False, "SingulationControl": singulation}
    if mode is not None:
        command["RFControl"] = {"RFModeID": mode, "Tari": 0}
    antenna: Json = {"AntennaID": 0, "C1G2InventoryCommand": command}  # 0: all that the AISpec names
    if power is not None:
        hop_table, index = power
        # Where frequencies are fixed the reader wants a channel, by its place in the table, from 1.
        antenna["RFTransmitter"] = {
            "HopTableID": hop_table,
            "ChannelIndex": 0 if hop_table else 1,
            "TransmitPowerIndex": index,
        }
    inventory = {"InventoryParameterSpecID": INVENTORY_ID, "AirProtocolID": GEN2, "AntennaConfigurations": [antenna]}
    return {
        "ROSpecID": ROSPEC_ID,
        "Priority": 0,
        "ROSpecCurrentState": 0,
        "ROBoundarySpec": {
            "StartTrigger": {"Trigger": IMMEDIATE},
            "StopTrigger": {"Trigger": 0, "DurationTriggerValue": 0},
        },
        "AISpecs": [
            {
                "AntennaIDs": list(antennas) or [0],
                "StopTrigger": {"Trigger": 0, "DurationTriggerValue": 0},
                "InventoryParameterSpecs": [inventory],
            }
        ],
        "ROReportSpec": {
            "Trigger": TAGS_OR_AISPEC_END,
            "N": report_every,
            "TagReportContentSelector": {
                "EnableAntennaID": True,
                "EnablePeakRSSI": True,
                "EnableFirstSeenTimestamp": True,
                "EnableTagSeenCount": True,
            },
            "Custom": [impinj_report_content()] if impinj else None,
        },
    }


def impinj_report_content() -> Json:
    """ImpinjTagReportContentSelector that adds RSSI, phase and Doppler to each tag."""
    wanted = b"".join(
        struct.pack(">HHIIH", CUSTOM, 14, IMPINJ, subtype, 1) for subtype in sorted(IMPINJ_CONTENTS.values())
    )
    return {"VendorID": IMPINJ, "Subtype": IMPINJ_REPORT_CONTENT, "Data": base64.b64encode(wanted).decode()}


def impinj_enable_extensions() -> Element:
    """The custom message after which an Impinj reader understands and sends Impinj's parameters."""
    told = {"VendorID": IMPINJ, "MessageSubtype": IMPINJ_ENABLE_EXTENSIONS, "Data": base64.b64encode(bytes(4)).decode()}
    return from_json("CustomMessage", told)
