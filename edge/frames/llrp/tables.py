"""What every LLRP message and parameter holds, as two tables in the standard's order; the codec and the view obey them.

Numbers and layouts: EPCglobal LLRP 1.0.1 (2007), chapters 15 to 17, and 1.1 (2010) for 19, 20 and 355 to 365. Names
are those of EdgeX device-rfid-llrp-go's JSON, so that its files and tools can be used with ours.

A row is a number, a name, its fields, and after `>` its parameters:

* `bool` is one bit; `u2`, `u16`,
     `s8` are whole numbers of so many bits; `-14` is so many reserved bits. What is missing
  to a whole byte is reserved too.
* `12B` is so many bytes; `text` UTF-8, `bytes`, `u16[]` and `u32[]` have their length before them in 16 bits; `bits`
  too, in bits; `rest` is all that follows.
* `Type` must be there, `Type?` may, `Type*` may be several, and of several `Type~` one is there: the view tells the
  others as zero. `Key:Type` is told under another name than the parameter's own.
"""

import re
from dataclasses import dataclass
from typing import Literal

MESSAGES_TEXT = """
1    GetReaderCapabilities          ReaderCapabilitiesRequestedData u8 > Custom*
2    GetReaderConfig                AntennaID u16, RequestedData u8, GPIPortNum u16, GPOPortNum u16 > Custom*
3    SetReaderConfig                ResetToFactoryDefaults bool
     > ReaderEventNotificationSpec?, AntennaProperties*, AntennaConfigurations:AntennaConfiguration*, ROReportSpec?,
       AccessReportSpec?, KeepAliveSpec?, GPOWriteData*, GPIPortCurrentStates:GPIPortCurrentState*, EventsAndReports?,
       Custom*
4    CloseConnectionResponse        > LLRPStatus
11   GetReaderCapabilitiesResponse
     > LLRPStatus, GeneralDeviceCapabilities?, LLRPCapabilities?, RegulatoryCapabilities?, C1G2LLRPCapabilities?,
       Custom*
12   GetReaderConfigResponse
     > LLRPStatus, Identification?, AntennaProperties*, AntennaConfigurations:AntennaConfiguration*,
       ReaderEventNotificationSpec?, ROReportSpec?, AccessReportSpec?, LLRPConfigurationStateValue?, KeepAliveSpec?,
       GPIPortCurrentStates:GPIPortCurrentState*, GPOWriteData*, EventsAndReports?, Custom*
13   SetReaderConfigResponse        > LLRPStatus
14   CloseConnection
20   AddROSpec                      > ROSpec
21   DeleteROSpec                   ROSpecID u32
22   StartROSpec                    ROSpecID u32
23   StopROSpec                     ROSpecID u32
24   EnableROSpec                   ROSpecID u32
25   DisableROSpec                  ROSpecID u32
26   GetROSpecs
30   AddROSpecResponse              > LLRPStatus
31   DeleteROSpecResponse           > LLRPStatus
32   StartROSpecResponse            > LLRPStatus
33   StopROSpecResponse             > LLRPStatus
34   EnableROSpecResponse           > LLRPStatus
35   DisableROSpecResponse          > LLRPStatus
36   GetROSpecsResponse             > LLRPStatus, ROSpecs:ROSpec*
40   AddAccessSpec                  > AccessSpec
41   DeleteAccessSpec               AccessSpecID u32
42   EnableAccessSpec               AccessSpecID u32
43   DisableAccessSpec              AccessSpecID u32
44   GetAccessSpecs
45   ClientRequestOp                > TagReportData
46   GetSupportedVersion
47   SetProtocolVersion             TargetVersion u8
50   AddAccessSpecResponse          > LLRPStatus
51   DeleteAccessSpecResponse       > LLRPStatus
52   EnableAccessSpecResponse       > LLRPStatus
53   DisableAccessSpecResponse      > LLRPStatus
54   GetAccessSpecsResponse         > LLRPStatus, AccessSpecs:AccessSpec*
55   ClientRequestOpResponse        > ClientRequestResponse
56   GetSupportedVersionResponse    CurrentVersion u8, MaxSupportedVersion u8 > LLRPStatus
57   SetProtocolVersionResponse     > LLRPStatus
60   GetReport
61   ROAccessReport                 > TagReportData*, RFSurveyReportData*, Custom*
62   KeepAlive
63   ReaderEventNotification        > ReaderEventNotificationData
64   EnableEventsAndReports
72   KeepAliveAck
100  ErrorMessage                   > LLRPStatus
1023 CustomMessage                  VendorID u32, MessageSubtype u8, Data rest
"""

PARAMETERS_TEXT = """
1    AntennaID                      AntennaID u16
2    FirstSeenUTC                   FirstSeen u64
3    FirstSeenUptime                FirstSeen u64
4    LastSeenUTC                    LastSeen u64
5    LastSeenUptime                 LastSeen u64
6    PeakRSSI                       PeakRSSI s8
7    ChannelIndex                   ChannelIndex u16
8    TagSeenCount                   TagSeenCount u16
9    ROSpecID                       ROSpecID u32
10   InventoryParameterSpecID       InventoryParameterSpecID u16
11   C1G2CRC                        C1G2CRC u16
12   C1G2PC                         EPCMemoryLength u5, HasUserMemory bool, HasXPC bool, IsISO15961 bool,
     AttributesOrAFI u8
13   EPC96                          EPC 12B
14   SpecIndex                      SpecIndex u16
15   ClientRequestOpSpecResult      ClientRequestOpSpecResult u16
16   AccessSpecID                   AccessSpecID u32
17   OpSpecID                       OpSpecID u16
18   C1G2SingulationDetails         NumCollisionSlots u16, NumEmptySlots u16
19   C1G2XPCW1                      C1G2XPCW1 u16
20   C1G2XPCW2                      C1G2XPCW2 u16

128  UTCTimestamp                   Microseconds u64
129  Uptime                         Microseconds u64

137  GeneralDeviceCapabilities      MaxSupportedAntennas u16, CanSetAntennaProperties bool, HasUTCClock bool, -14,
     DeviceManufacturer u32, Model u32, FirmwareVersion text
     > ReceiveSensitivities:ReceiveSensitivityTableEntry*,
       PerAntennaReceiveSensitivityRanges:PerAntennaReceiveSensitivityRange*, GPIOCapabilities,
       PerAntennaAirProtocols:PerAntennaAirProtocol*, MaximumReceiveSensitivity?
139  ReceiveSensitivityTableEntry   Index u16, ReceiveSensitivity u16
140  PerAntennaAirProtocol          AntennaID u16, AirProtocolIDs bytes
141  GPIOCapabilities               NumGPIs u16, NumGPOs u16
142  LLRPCapabilities               CanDoRFSurvey bool, CanReportBufferFillWarning bool,
     SupportsClientRequestOpSpec bool, CanDoTagInventoryStateAwareSingulation bool, SupportsEventsAndReportHolding bool,
     -3, MaxPriorityLevelSupported u8, ClientRequestedOpSpecTimeout u16, MaxROSpecs u32, MaxSpecsPerROSpec u32,
     MaxInventoryParameterSpecsPerAISpec u32, MaxAccessSpecs u32, MaxOpSpecsPerAccessSpec u32
143  RegulatoryCapabilities         CountryCode u16, CommunicationsStandard u16 > UHFBandCapabilities?, Custom*
144  UHFBandCapabilities
     > TransmitPowerLevels:TransmitPowerLevelTableEntry*, FrequencyInformation, C1G2RFModes:UHFC1G2RFModeTable,
       RFSurveyFrequencyCapabilities?
145  TransmitPowerLevelTableEntry   Index u16, TransmitPowerValue s16
146  FrequencyInformation           Hopping bool > FrequencyHopTables:FrequencyHopTable*, FixedFrequencyTable?
147  FrequencyHopTable              HopTableID u8, -8, Frequencies u32[]
148  FixedFrequencyTable            Frequencies u32[]
149  PerAntennaReceiveSensitivityRange  AntennaID u16, ReceiveSensitivityIndexMin u16, ReceiveSensitivityIndexMax u16

177  ROSpec                         ROSpecID u32, Priority u8, ROSpecCurrentState u8
     > ROBoundarySpec, AISpecs:AISpec*, RFSurveySpecs:RFSurveySpec*, Custom*, LoopSpec?, ROReportSpec?
178  ROBoundarySpec                 > StartTrigger:ROSpecStartTrigger, StopTrigger:ROSpecStopTrigger
179  ROSpecStartTrigger             Trigger u8 > PeriodicTrigger:PeriodicTriggerValue?, GPITrigger:GPITriggerValue?
180  PeriodicTriggerValue           Offset u32, Period u32 > UTCTimestamp?
181  GPITriggerValue                Port u16, Event bool, -7, Timeout u32
182  ROSpecStopTrigger              Trigger u8, DurationTriggerValue u32 > GPITriggerValue?
183  AISpec                         AntennaIDs u16[]
     > StopTrigger:AISpecStopTrigger, InventoryParameterSpecs:InventoryParameterSpec*, Custom*
184  AISpecStopTrigger              Trigger u8, DurationTriggerValue u32
     > GPITrigger:GPITriggerValue?, TagObservationTrigger?
185  TagObservationTrigger          Trigger u8, -8, NumberOfTags u16, NumberOfAttempts u16, T u16, Timeout u32
186  InventoryParameterSpec         InventoryParameterSpecID u16, AirProtocolID u8
     > AntennaConfigurations:AntennaConfiguration*, Custom*
187  RFSurveySpec                   AntennaID u16, StartFrequency u32, EndFrequency u32
     > Trigger:RFSurveySpecStopTrigger, Custom*
188  RFSurveySpecStopTrigger        Trigger u8, Duration u32, N u32

207  AccessSpec                     AccessSpecID u32, AntennaID u16, AirProtocolID u8, IsActive bool, -7, ROSpecID u32
     > Trigger:AccessSpecStopTrigger, AccessCommand, AccessReportSpec?, Custom*
208  AccessSpecStopTrigger          Trigger u8, OperationCountValue u16
209  AccessCommand
     > C1G2TagSpec, C1G2Read?, C1G2Write?, C1G2Kill?, C1G2Recommission?, C1G2Lock?, C1G2BlockErase?, C1G2BlockWrite?,
       C1G2BlockPermalock?, C1G2GetBlockPermalockStatus?, ClientRequestOpSpec?, Custom*
210  ClientRequestOpSpec            OpSpecID u16
211  ClientRequestResponse          AccessSpecID u32
     > EPCData, C1G2Read?, C1G2Write?, C1G2Kill?, C1G2Recommission?, C1G2Lock?, C1G2BlockErase?, C1G2BlockWrite?,
       C1G2BlockPermalock?, C1G2GetBlockPermalockStatus?, ClientRequestOpSpec?, Custom?

217  LLRPConfigurationStateValue    LLRPConfigurationState u32
218  Identification                 IDType u8, ReaderID bytes
219  GPOWriteData                   Port u16, Data bool
220  KeepAliveSpec                  Trigger u8, Interval u32
221  AntennaProperties              AntennaConnected bool, -7, AntennaID u16, AntennaGain s16
222  AntennaConfiguration           AntennaID u16 > RFReceiver?, RFTransmitter?, C1G2InventoryCommand?, Custom*
223  RFReceiver                     ReceiverSensitivityIndex u16
224  RFTransmitter                  HopTableID u16, ChannelIndex u16, TransmitPowerIndex u16
225  GPIPortCurrentState            Port u16, Enabled bool, -7, State u8
226  EventsAndReports               HoldEventsAndReportsUponReconnect bool

237  ROReportSpec                   Trigger u8, N u16 > TagReportContentSelector, Custom*
238  TagReportContentSelector       EnableROSpecID bool, EnableSpecIndex bool, EnableInventoryParamSpecID bool,
     EnableAntennaID bool, EnableChannelIndex bool, EnablePeakRSSI bool, EnableFirstSeenTimestamp bool,
     EnableLastSeenTimestamp bool, EnableTagSeenCount bool, EnableAccessSpecID bool
     > C1G2EPCMemorySelector?, Custom*
239  AccessReportSpec               Trigger u8
240  TagReportData
     > EPCData~, EPC96~, ROSpecID?, SpecIndex?, InventoryParameterSpecID?, AntennaID?, PeakRSSI?, ChannelIndex?,
       FirstSeenUTC?, FirstSeenUptime?, LastSeenUTC?, LastSeenUptime?, TagSeenCount?, C1G2PC?, C1G2XPCW1?, C1G2XPCW2?,
       C1G2CRC?, AccessSpecID?, C1G2ReadOpSpecResult?, C1G2WriteOpSpecResult?, C1G2KillOpSpecResult?,
       C1G2LockOpSpecResult?, C1G2BlockEraseOpSpecResult?, C1G2BlockWriteOpSpecResult?, C1G2RecommissionOpSpecResult?,
       C1G2BlockPermalockOpSpecResult?, C1G2GetBlockPermalockStatusOpSpecResult?, ClientRequestOpSpecResult?, Custom*
241  EPCData                        EPC bits
242  RFSurveyReportData
     > ROSpecID?, SpecIndex?, FrequencyRSSILevelEntries:FrequencyRSSILevelEntry*, Custom*
243  FrequencyRSSILevelEntry        Frequency u32, Bandwidth u32, AverageRSSI s8, PeakRSSI s8 > UTCTimestamp~, Uptime~
244  ReaderEventNotificationSpec    > EventNotificationStates:EventNotificationState*
245  EventNotificationState         ReaderEventType u16, NotificationEnabled bool
246  ReaderEventNotificationData
     > UTCTimestamp~, Uptime~, HoppingEvent?, GPIEvent?, ROSpecEvent?, ReportBufferLevelWarningEvent?,
       ReportBufferOverflowErrorEvent?, ReaderExceptionEvent?, RFSurveyEvent?, AISpecEvent?, AntennaEvent?,
       ConnectionAttemptEvent?, ConnectionCloseEvent?, SpecLoopEvent?, Custom*
247  HoppingEvent                   HopTableID u16
248  GPIEvent                       Port u16, Event bool
249  ROSpecEvent                    Event u8, ROSpecID u32, PreemptingROSpecID u32
250  ReportBufferLevelWarningEvent  PercentFull u8
251  ReportBufferOverflowErrorEvent
252  ReaderExceptionEvent           Message text
     > ROSpecID?, SpecIndex?, InventoryParameterSpecID?, AntennaID?, AccessSpecID?, OpSpecID?, Custom*
253  RFSurveyEvent                  Event u8, ROSpecID u32
254  AISpecEvent                    Event u8, ROSpecID u32, SpecIndex u16 > SingulationDetails:C1G2SingulationDetails?
255  AntennaEvent                   Event u8, AntennaID u16
256  ConnectionAttemptEvent         Event u16
257  ConnectionCloseEvent

287  LLRPStatus                     Status u16, ErrorDescription text > FieldError?, ParameterError?
288  FieldError                     FieldIndex u16, ErrorCode u16
289  ParameterError                 ParameterType u16, ErrorCode u16 > ParameterError?, FieldError?

327  C1G2LLRPCapabilities           SupportsBlockErase bool, SupportsBlockWrite bool, SupportsBlockPermalock bool,
     SupportsTagRecommissioning bool, SupportsUMIMethod2 bool, SupportsXPC bool, -2, MaxSelectFiltersPerQuery u16
328  UHFC1G2RFModeTable             > UHFC1G2RFModeTableEntries:UHFC1G2RFModeTableEntry*
329  UHFC1G2RFModeTableEntry        ModeID u32, DivideRatio u1, IsEPCHagConformant bool, -6, Modulation u8,
     ForwardLinkModulation u8, SpectralMask u8, BackscatterDataRate u32, PIERatio u32, MinTariTime u32, MaxTariTime u32,
     StepTariTime u32
330  C1G2InventoryCommand           TagInventoryStateAware bool
     > Filters:C1G2Filter*, RFControl:C1G2RFControl?, SingulationControl:C1G2SingulationControl?, Custom*
331  C1G2Filter                     TruncateAction u2
     > TagInventoryMask:C1G2TagInventoryMask, AwareFilterAction:C1G2TagInventoryStateAwareFilterAction?,
       UnawareFilterAction:C1G2TagInventoryStateUnawareFilterAction?
332  C1G2TagInventoryMask           MemoryBank u2, -6, MostSignificantBit u16, TagMask bits
333  C1G2TagInventoryStateAwareFilterAction     Target u8, FilterAction u8
334  C1G2TagInventoryStateUnawareFilterAction   FilterAction u8
335  C1G2RFControl                  RFModeID u16, Tari u16
336  C1G2SingulationControl         Session u2, -6, TagPopulation u16, TagTransitTime u32
     > InvAwareAction:C1G2TagInventoryStateAwareSingulationAction?
337  C1G2TagInventoryStateAwareSingulationAction    SessionState u1, SLState u1
338  C1G2TagSpec                    > TagPattern1:C1G2TargetTag, TagPattern2:C1G2TargetTag?
339  C1G2TargetTag                  C1G2MemoryBank u2, MatchFlag bool, -5, MostSignificantBit u16, TagMask bits,
     TagData bits

341  C1G2Read                       OpSpecID u16, AccessPassword u32, C1G2MemoryBank u2, -6, WordAddress u16,
     WordCount u16
342  C1G2Write                      OpSpecID u16, AccessPassword u32, C1G2MemoryBank u2, -6, WordAddress u16, Data u16[]
343  C1G2Kill                       OpSpecID u16, KillPassword u32
344  C1G2Lock                       OpSpecID u16, AccessPassword u32 > C1G2LockPayloads:C1G2LockPayload*
345  C1G2LockPayload                LockPrivilege u8, LockData u8
346  C1G2BlockErase                 OpSpecID u16, AccessPassword u32, C1G2MemoryBank u2, -6, WordAddress u16,
     WordCount u16
347  C1G2BlockWrite                 OpSpecID u16, AccessPassword u32, C1G2MemoryBank u2, -6, WordAddress u16, Data u16[]
348  C1G2EPCMemorySelector          CRCEnabled bool, PCBitsEnabled bool, XPCBitsEnabled bool
349  C1G2ReadOpSpecResult           C1G2ReadOpSpecResultType u8, OpSpecID u16, Data u16[]
350  C1G2WriteOpSpecResult          C1G2WriteOpSpecResultType u8, OpSpecID u16, WordsWritten u16
351  C1G2KillOpSpecResult           C1G2KillResult u8, OpSpecID u16
352  C1G2LockOpSpecResult           C1G2LockResult u8, OpSpecID u16
353  C1G2BlockEraseOpSpecResult     C1G2BlockEraseResult u8, OpSpecID u16
354  C1G2BlockWriteOpSpecResult     C1G2BlockWriteResult u8, OpSpecID u16, WordsWritten u16
355  LoopSpec                       LoopCount u32
356  SpecLoopEvent                  ROSpecID u32, LoopCount u32
357  C1G2Recommission               OpSpecID u16, KillPassword u32, -5, SB3 bool, SB2 bool, LSB bool
358  C1G2BlockPermalock             OpSpecID u16, AccessPassword u32, C1G2MemoryBank u2, -6, BlockAddress u16,
     BlockMask u16[]
359  C1G2GetBlockPermalockStatus    OpSpecID u16, AccessPassword u32, C1G2MemoryBank u2, -6, BlockAddress u16,
     BlockRange u16
360  C1G2RecommissionOpSpecResult   C1G2RecommissionResult u8, OpSpecID u16
361  C1G2BlockPermalockOpSpecResult C1G2BlockPermalockResult u8, OpSpecID u16
362  C1G2GetBlockPermalockStatusOpSpecResult
     C1G2GetBlockPermalockStatusResult u8, OpSpecID u16, PermalockStatuses u16[]
363  MaximumReceiveSensitivity      MaxSensitivity s16
365  RFSurveyFrequencyCapabilities  MinFrequency u32, MaxFrequency u32
1023 Custom                         VendorID u32, Subtype u32, Data rest
"""

FixedKind = Literal["bool", "unsigned", "signed"]
VariableKind = Literal["raw", "text", "bytes", "bits", "u16[]", "u32[]", "rest"]
Cardinality = Literal["one", "optional", "many", "choice"]


@dataclass(frozen=True, slots=True)
class Number:
    """A field within a row of fixed ones, which are read together as one big-endian number."""

    name: str
    kind: FixedKind
    width: int
    """Bits."""
    shift: int
    """Bits between it and the end of the row."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Fields of fixed width that stand together."""

    numbers: tuple[Number, ...]
    size: int
    """Bytes."""
    reserved: int
    """The bits that no field has."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A field of bytes, texts or numbers."""

    name: str
    kind: VariableKind
    size: int = 0
    """Bytes, where the kind is `raw`."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for parameters of one type."""

    key: str
    """What the view calls it."""
    type: str
    cardinality: Cardinality


@dataclass(frozen=True, slots=True)
class Shape:
    """A row of the tables."""

    number: int
    name: str
    parts: tuple[Fixed | Variable, ...]
    slots: tuple[Slot, ...]

    @property
    def size(self) -> int | None:
        """Bytes of its fields; None if that depends on them."""
        total = 0
        for part in self.parts:
            if isinstance(part, Variable) and part.kind != "raw":
                return None
            total += part.size
        return total

    @property
    def single(self) -> Number | None:
        """Its only content, where that is one number: the view tells the parameter as this number."""
        match self.parts, self.slots:
            case (Fixed((number,)),), ():
                return number
        return None


_FIXED: dict[str, FixedKind] = {"u": "unsigned", "s": "signed"}
_VARIABLE: dict[str, VariableKind] = {
    "text": "text",
    "bytes": "bytes",
    "bits": "bits",
    "u16[]": "u16[]",
    "u32[]": "u32[]",
    "rest": "rest",
}
_CARDINALITY: dict[str, Cardinality] = {"?": "optional", "*": "many", "~": "choice", "": "one"}


def _shapes(text: str) -> dict[int, Shape]:
    rows = [" ".join(row.split()) for row in re.split(r"\n+(?=\d)", text.strip())]
    return {shape.number: shape for shape in map(_shape, rows)}


def _shape(row: str) -> Shape:
    head, _, slots = row.partition(">")
    number, name, *fields = head.split(maxsplit=2)
    return Shape(
        int(number),
        name,
        _parts([field.split() for field in (fields[0] if fields else "").split(",") if field.strip()]),
        tuple(_slot(slot.strip()) for slot in slots.split(",") if slot.strip()),
    )


def _slot(text: str) -> Slot:
    mark = text[-1] if text[-1] in _CARDINALITY else ""
    key, _, type_ = text.removesuffix(mark).rpartition(":")
    return Slot(key or type_, type_, _CARDINALITY[mark])


def _parts(fields: list[list[str]]) -> tuple[Fixed | Variable, ...]:
    parts: list[Fixed | Variable] = []
    row: list[tuple[str, str]] = []  # fixed fields seen since the last variable one
    for *names, kind in fields:
        name = names[0] if names else ""
        if kind in _VARIABLE or kind.endswith("B"):
            parts += _fixed(row)
            row = []
            parts.append(
                Variable(name, _VARIABLE[kind]) if kind in _VARIABLE else Variable(name, "raw", int(kind[:-1]))
            )
        else:
            row.append((name, kind))
    return (*parts, *_fixed(row))


def _fixed(row: list[tuple[str, str]]) -> list[Fixed]:
    if not row:
        return []
    widths = [1 if kind == "bool" else int(kind[1:]) for _, kind in row]
    size = -(-sum(widths) // 8)
    numbers, reserved, left = [], (1 << size * 8) - 1, size * 8
    for (name, kind), width in zip(row, widths, strict=True):
        left -= width
        if name:
            numbers.append(Number(name, "bool" if kind == "bool" else _FIXED[kind[0]], width, left))
            reserved &= ~(((1 << width) - 1) << left)
    return [Fixed(tuple(numbers), size, reserved)]


MESSAGES = _shapes(MESSAGES_TEXT)
PARAMETERS = _shapes(PARAMETERS_TEXT)
BY_NAME = {shape.name: shape for shape in (*MESSAGES.values(), *PARAMETERS.values())}
"""No message is called like a parameter."""

STATUS = {
    0: "success",
    100: "parameter error",
    101: "field error",
    102: "unexpected parameter",
    103: "missing parameter",
    104: "duplicate parameter",
    105: "too many parameters",
    106: "too many fields",
    107: "unknown parameter",
    108: "unknown field",
    109: "unsupported message",
    110: "unsupported version",
    111: "unsupported parameter",
    112: "unexpected message",
    200: "error in a parameter",
    201: "error in a parameter's field",
    202: "unexpected parameter within a parameter",
    203: "missing parameter within a parameter",
    204: "duplicate parameter within a parameter",
    205: "too many parameters within a parameter",
    206: "too many fields within a parameter",
    207: "unknown parameter within a parameter",
    208: "unknown field within a parameter",
    209: "unsupported parameter within a parameter",
    300: "invalid value",
    301: "value out of range",
    401: "device error",
}
"""LLRPStatus codes (LLRP 1.1, 14.2.1), in words."""
