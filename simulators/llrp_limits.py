"""What the simulated RFID reader can do: its capabilities, its factory settings, and what is wrong with an order."""

from collections.abc import Iterator, Sequence

from edge.frames.llrp.codec import Element, Raw, decode_parameters
from edge.frames.llrp.tables import BY_NAME
from edge.frames.llrp.view import Json, from_json

IMPINJ, ZEBRA = 25882, 161
POWERS_DBM = [10 + index / 4 for index in range(81)]
"""An R420's: 10 to 30 dBm in steps of 0.25."""
MODES = (0, 1, 2, 3, 4, 1000, 1002, 1003, 1004, 1005)
HOP_TABLE = 1
HOPS_KHZ = [902_750 + 500 * channel for channel in range(50)]
"""FCC part 15.247."""
MAX_ROSPECS = 1

NULL, IMMEDIATE, DURATION, OBSERVATION = 0, 1, 1, 3
"""Triggers: start by order, or at once; stop after a time; stop of an AISpec when enough was seen."""
GENERAL, LLRP, REGULATORY, AIR_PROTOCOL = 1, 2, 3, 4
"""What GET_READER_CAPABILITIES may ask for; 0 is all."""
CONFIG_ORDER = {
    1: "Identification",
    2: "AntennaProperties",
    3: "AntennaConfiguration",
    5: "ReaderEventNotificationSpec",
    4: "ROReportSpec",
    6: "AccessReportSpec",
    7: "LLRPConfigurationStateValue",
    8: "KeepAliveSpec",
    9: "GPIPortCurrentState",
    10: "GPOWriteData",
    11: "EventsAndReports",
}
"""What GET_READER_CONFIG may ask for, in the order of the answer; 0 is all."""

EVENTS = range(9)
"""ReaderEventType of what can be notified of; at first nothing is."""

M_PARAMETER_ERROR, M_FIELD_ERROR, M_MISSING, M_UNKNOWN, M_UNSUPPORTED, M_VERSION = 100, 101, 103, 107, 109, 110
P_FIELD_ERROR, P_OVERFLOW, P_UNSUPPORTED = 201, 205, 209
A_INVALID, A_OUT_OF_RANGE = 300, 301


class Wrong(Exception):
    """An order that cannot be done; `status` is the LLRPStatus to answer with."""

    def __init__(self, description: str, status: int = M_FIELD_ERROR, **errors: Json) -> None:
        super().__init__(description)
        self.status: Json = {"Status": status, "ErrorDescription": description, **errors}


def wrong_id(description: str) -> Wrong:
    """The id that is a message's only field names nothing, or nothing in a fitting state."""
    return Wrong(description, FieldError={"FieldIndex": 0, "ErrorCode": A_INVALID})


def wrong_field(description: str, parameter: str, index: int, code: int = A_INVALID) -> Wrong:
    """A field of a parameter in the message, counted from 0, cannot be so."""
    error: Json = {"ParameterType": BY_NAME[parameter].number, "ErrorCode": P_FIELD_ERROR}
    return Wrong(
        description, M_PARAMETER_ERROR, ParameterError={**error, "FieldError": {"FieldIndex": index, "ErrorCode": code}}
    )


def wrong_parameter(description: str, number: int, code: int) -> Wrong:
    """A parameter cannot be there."""
    return Wrong(description, M_PARAMETER_ERROR, ParameterError={"ParameterType": number, "ErrorCode": code})


# -- what it is


def capabilities(wanted: int, impinj: bool, antennas: int) -> list[Element]:
    """The parameters of a GET_READER_CAPABILITIES_RESPONSE after its status."""
    told: dict[int, tuple[str, Json]] = {
        GENERAL: ("GeneralDeviceCapabilities", _general(impinj, antennas)),
        LLRP: ("LLRPCapabilities", _llrp()),
        REGULATORY: ("RegulatoryCapabilities", _regulatory()),
        AIR_PROTOCOL: ("C1G2LLRPCapabilities", {"SupportsBlockWrite": True, "MaxSelectFiltersPerQuery": 2}),
    }
    return [from_json(name, values) for part, (name, values) in told.items() if wanted in (0, part)]


def _general(impinj: bool, antennas: int) -> Json:
    return {
        "MaxSupportedAntennas": antennas,
        "HasUTCClock": True,
        "DeviceManufacturer": IMPINJ if impinj else ZEBRA,
        "Model": 2001002 if impinj else 96004,
        "FirmwareVersion": "5.14.0.240" if impinj else "3.29.7.0",
        "ReceiveSensitivities": [{"Index": 1, "ReceiveSensitivity": 0}],
        "GPIOCapabilities": {"NumGPIs": 4, "NumGPOs": 4},
        "PerAntennaAirProtocols": [
            {"AntennaID": port, "AirProtocolIDs": "AQ=="}
            for port in range(1, antennas + 1)  # Gen2
        ],
    }


def _llrp() -> Json:
    return {
        "SupportsEventsAndReportHolding": True,
        "MaxPriorityLevelSupported": 1,
        "MaxROSpecs": MAX_ROSPECS,
        "MaxSpecsPerROSpec": 32,
        "MaxInventoryParameterSpecsPerAISpec": 1,
        "MaxAccessSpecs": 1508,
        "MaxOpSpecsPerAccessSpec": 8,
    }


def _regulatory() -> Json:
    mode: Json = {"IsEPCHagConformant": False, "BackscatterDataRate": 40_000, "PIERatio": 1500}
    tari: Json = {"MinTariTime": 6250, "MaxTariTime": 6250}
    return {
        "CountryCode": 840,
        "CommunicationsStandard": 1,
        "UHFBandCapabilities": {
            "TransmitPowerLevels": [
                {"Index": index, "TransmitPowerValue": round(dbm * 100)} for index, dbm in enumerate(POWERS_DBM, 1)
            ],
            "FrequencyInformation": {
                "Hopping": True,
                "FrequencyHopTables": [{"HopTableID": HOP_TABLE, "Frequencies": HOPS_KHZ}],
            },
            "C1G2RFModes": {"UHFC1G2RFModeTableEntries": [{"ModeID": number, **mode, **tari} for number in MODES]},
        },
    }


def factory_config(antennas: int) -> dict[str, list[Element]]:
    """Settings by the parameter that tells them."""
    told: dict[str, Sequence[Json]] = {
        "Identification": [{"IDType": 0, "ReaderID": "AgAA//8AAAE="}],  # of no maker: locally administered
        "AntennaProperties": [{"AntennaConnected": True, "AntennaID": port} for port in range(1, antennas + 1)],
        "AntennaConfiguration": [
            {
                "AntennaID": port,
                "RFReceiver": 1,
                "RFTransmitter": {"HopTableID": HOP_TABLE, "TransmitPowerIndex": len(POWERS_DBM)},
            }
            for port in range(1, antennas + 1)
        ],
        "ReaderEventNotificationSpec": [{"EventNotificationStates": [{"ReaderEventType": kind} for kind in EVENTS]}],
        "ROReportSpec": [
            {"Trigger": 2, "N": 1, "TagReportContentSelector": {"EnableAntennaID": True, "EnablePeakRSSI": True}}
        ],
        "AccessReportSpec": [{"Trigger": 1}],
        "LLRPConfigurationStateValue": [{}],
        "KeepAliveSpec": [{}],
        "EventsAndReports": [{}],
    }
    return {name: [from_json(name, value) for value in values] for name, values in told.items()}


# -- what is wrong


def check(element: Element) -> None:
    """Raises Wrong if a parameter is unknown or a required one is not there."""
    for slot in BY_NAME[element.name].slots:
        if slot.cardinality == "one" and element.child(slot.type) is None:
            number = BY_NAME[slot.type].number
            missing: Json = {"ParameterType": number, "ErrorCode": M_MISSING + 100}
            raise Wrong(f"{element.name} without {slot.type}", M_MISSING, ParameterError=missing)
    for child in element.children:
        if isinstance(child, Raw):
            raise Wrong(f"parameter {child.number} in {element.name}", M_UNKNOWN)
        check(child)


def check_rospec(spec: Element, impinj: bool, antennas: int) -> None:
    """Raises Wrong if a ROSpec is not one that this reader can do. `impinj`: its extensions are enabled."""
    if not spec.number("ROSpecID"):
        raise wrong_field("ROSpecID 0", "ROSpec", 0)
    if spec.number("ROSpecCurrentState"):
        raise wrong_field("a ROSpec is added disabled", "ROSpec", 2)
    start = spec.child("ROBoundarySpec", "ROSpecStartTrigger")
    if start is not None and start.number("Trigger") not in (NULL, IMMEDIATE):
        raise wrong_field("start triggers are null and immediate", "ROSpecStartTrigger", 0)
    stop = spec.child("ROBoundarySpec", "ROSpecStopTrigger")
    if stop is not None and stop.number("Trigger") not in (NULL, DURATION):
        raise wrong_field("stop triggers are null and duration", "ROSpecStopTrigger", 0)
    if not spec.all("AISpec"):
        raise wrong_parameter("a ROSpec without an AISpec", BY_NAME["AISpec"].number, M_MISSING + 100)
    for element in _within(spec):
        match element.name:
            case "AISpec":
                if not 0 <= max(element.numbers("AntennaIDs"), default=-1) <= antennas:
                    raise wrong_field(f"antennas are 1 to {antennas}", "AISpec", 0, A_OUT_OF_RANGE)
            case "AISpecStopTrigger" if element.number("Trigger") not in (NULL, DURATION, OBSERVATION):
                raise wrong_field("no stop by an input", "AISpecStopTrigger", 0)
            case "RFTransmitter":
                if not 1 <= element.number("TransmitPowerIndex") <= len(POWERS_DBM):
                    raise wrong_field("no such power", "RFTransmitter", 2, A_OUT_OF_RANGE)
                if element.number("HopTableID") != HOP_TABLE:
                    raise wrong_field("no such hop table", "RFTransmitter", 0, A_OUT_OF_RANGE)
            case "C1G2RFControl" if element.number("RFModeID") not in MODES:
                raise wrong_field("no such RF mode", "C1G2RFControl", 0)
            case "Custom" if not impinj or element.number("VendorID") != IMPINJ:
                raise wrong_parameter("extensions are not enabled", BY_NAME["Custom"].number, P_UNSUPPORTED)
            case "RFSurveySpec":
                raise wrong_parameter("no RF survey", BY_NAME["RFSurveySpec"].number, P_UNSUPPORTED)


def _within(element: Element) -> Iterator[Element]:
    """All parameters in a parameter, however deep."""
    for child in element.children:
        if isinstance(child, Element):
            yield child
            yield from _within(child)


def impinj_contents(report_spec: Element) -> set[int]:
    """Subtypes of what an ImpinjTagReportContentSelector enables."""
    wanted: set[int] = set()
    for custom in report_spec.all("Custom"):
        if custom.number("VendorID") == IMPINJ and custom.number("Subtype") == 50:
            for inner in decode_parameters(custom.data("Data")) or ():
                if isinstance(inner, Element) and inner.name == "Custom" and inner.data("Data")[:2] == b"\x00\x01":
                    wanted.add(inner.number("Subtype"))
    return wanted
