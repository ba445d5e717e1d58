"""What a node asks of a reader: what is shipped as JSON is what is sent, and what the reader says is put into words."""

import json
from pathlib import Path

import pytest

from contract.clock import SystemClock
from edge.frames.llrp.codec import Element, decode, encode, encode_parameter
from edge.frames.llrp.orders import Capabilities, capabilities, failure, reader_config, rospec
from edge.frames.llrp.tables import BY_NAME
from edge.frames.llrp.view import from_json, to_json
from edge.settings import Llrp
from edge.sources.llrp import LlrpSource
from simulators.llrp_limits import capabilities as simulated_capabilities
from simulators.llrp_limits import impinj_contents

SHIPPED = Path(__file__).parents[2] / "firmware_configs" / "rfid"


def answer(**told):
    return from_json("AddROSpecResponse", {"LLRPStatus": told})


def within(element: Element, *path: str) -> Element:
    found = element.child(*path)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("file", "name", "sent"),
    [
        ("rospec.json", "ROSpec", rospec()),
        ("reader-config.json", "SetReaderConfig", reader_config(round(Llrp(name="a", host="b").keepalive_s * 1000))),
    ],
)
def test_the_shipped_file_is_what_a_node_sends_and_goes_there_and_back(file, name, sent):
    shipped = json.loads((SHIPPED / file).read_text())
    element = from_json(name, shipped)
    assert element == from_json(name, sent)
    assert to_json(element) == shipped
    message = Element("AddROSpec", {}, (element,)) if name == "ROSpec" else element
    assert decode(BY_NAME[message.name].number, encode(message)) == message


def test_the_shipped_files_can_be_given_to_a_reader():
    settings = Llrp(name="door", host="x", rospec_file="rospec.json", reader_config_file="reader-config.json")
    assert LlrpSource(settings, lambda reads: None, SystemClock(), SHIPPED).name == "rfid.door"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "spec.json: found no ROSpec \\(Expecting"),
        ("[]", "spec.json: found no ROSpec \\(ROSpec: list, expected an object\\)"),
        ('{"ROSpecID": 1, "Prio": 2}', "spec.json: found no ROSpec \\(ROSpec.ROBoundarySpec: missing\\)"),
    ],
)
def test_a_file_that_is_no_order_is_told_with_its_name(tmp_path, text, complaint):
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        LlrpSource(Llrp(name="door", host="x", rospec_file="spec.json"), lambda reads: None, SystemClock(), tmp_path)


def test_all_settings_reach_the_rospec():
    spec = from_json("ROSpec", rospec((1, 3), session=2, population=200, mode=1002, power=(0, 7), report_every=20))
    assert within(spec, "AISpec").numbers("AntennaIDs") == (1, 3)
    antenna = within(spec, "AISpec", "InventoryParameterSpec", "AntennaConfiguration")
    # no hop table: the region has fixed frequencies, and the first is asked for
    fixed = {"HopTableID": 0, "ChannelIndex": 1, "TransmitPowerIndex": 7}
    assert within(antenna, "RFTransmitter").fields == fixed
    assert within(antenna, "C1G2InventoryCommand", "C1G2RFControl").number("RFModeID") == 1002
    control = within(antenna, "C1G2InventoryCommand", "C1G2SingulationControl")
    assert (control.number("Session"), control.number("TagPopulation")) == (2, 200)
    assert within(spec, "ROReportSpec").number("N") == 20
    assert impinj_contents(within(spec, "ROReportSpec")) == set()


def test_impinjs_content_is_asked_for_where_it_can_be():
    spec = from_json("ROSpec", rospec(impinj=True))
    assert impinj_contents(within(spec, "ROReportSpec")) == {52, 53, 67}


def test_capabilities_are_understood():
    message = Element("GetReaderCapabilitiesResponse", {}, tuple(simulated_capabilities(0, True, 2)))
    found = capabilities(message)
    assert found.impinj
    assert found.label == "Impinj model 2001002, firmware 5.14.0.240, 2 antennas"
    assert (found.powers[1], found.powers[81], found.hop_table) == (10.0, 30.0, 1)


def test_a_reader_that_tells_nothing_has_no_capabilities():
    assert capabilities(Element("GetReaderCapabilitiesResponse")) == Capabilities(0, 0, "", 0, {}, 0)


@pytest.mark.parametrize(("dbm", "index"), [(27.1, 69), (30, 81), (36, 81), (10.0, 1), (3, 1)])
def test_the_power_is_the_strongest_allowed(dbm, index):
    found = capabilities(Element("GetReaderCapabilitiesResponse", {}, tuple(simulated_capabilities(3, True, 4))))
    assert found.power_index(dbm) == index


def test_a_reader_without_a_table_of_powers_has_none():
    assert Capabilities(0, 0, "", 0, {}, 0).power_index(20) is None


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"Status": 0}, ""),
        ({"Status": 109}, "unsupported message"),
        ({"Status": 999}, "status 999"),
        ({"Status": 401, "ErrorDescription": "too\nhot "}, "device error, too hot"),
        (
            {
                "Status": 100,
                "ErrorDescription": "no",
                "ParameterError": {
                    "ParameterType": 177,
                    "ErrorCode": 200,
                    "ParameterError": {
                        "ParameterType": 183,
                        "ErrorCode": 201,
                        "FieldError": {"FieldIndex": 0, "ErrorCode": 301},
                    },
                },
            },
            "parameter error, no, ROSpec: error in a parameter, AISpec: error in a parameter's field, "
            "field 0: value out of range",
        ),
    ],
)
def test_a_status_is_put_into_words(told, words):
    assert failure(answer(**told)) == words


def test_a_custom_answer_has_its_status_within():
    def custom(**told):
        status = encode_parameter(from_json("LLRPStatus", told))
        return Element("CustomMessage", {"VendorID": 25882, "MessageSubtype": 22, "Data": status})

    assert failure(custom(Status=0)) == ""
    assert failure(custom(Status=401)) == "device error"
    assert failure(Element("CustomMessage", {"Data": b"?"})) == "no LLRPStatus in its answer"


def test_an_error_message_is_never_a_success():
    assert failure(from_json("ErrorMessage", {"LLRPStatus": {"Status": 0}})) != ""
