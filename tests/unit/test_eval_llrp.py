"""`eval llrp`: recordings read exactly, what differs told with its place, and folders that hold none refused."""

import json
from pathlib import Path

import pytest

from cli.evaluate.llrp import difference, evaluate
from edge.frames.llrp.codec import encode
from edge.frames.llrp.view import from_json, to_json

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data" / "rfid_llrp"


def told():
    return to_json(
        from_json(
            "ROAccessReport",
            {"TagReportData": [{"EPC96": {"EPC": "MHQle/cZTkAAABqF"}, "AntennaID": 1, "PeakRSSI": -48}]},
        )
    )


@pytest.fixture
def payloads(tmp_path):
    (tmp_path / "ROAccessReport-001.bytes").write_bytes(encode(from_json("ROAccessReport", told())))
    (tmp_path / "ROAccessReport-001.json").write_text(json.dumps(told()))
    below = tmp_path / "more"
    below.mkdir()
    (below / "DeleteROSpec-000.bytes").write_bytes(bytes(4))
    (below / "DeleteROSpec-000.json").write_text('{"ROSpecID": 0}')
    return tmp_path


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS}")
def test_the_recordings_are_read_exactly():
    report = evaluate(RECORDINGS)
    files = len(list(RECORDINGS.glob("*.bytes")))
    assert (report.payloads, report.decoded, report.reencoded_exact) == (files, files, files)
    assert (report.tags, report.mismatches, report.wrong) == (5, 0, {})


def test_payloads_in_folders_below_count_too(payloads):
    report = evaluate(payloads)
    assert (report.decoded, report.reencoded_exact, report.tags, report.mismatches) == (2, 2, 1, 0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder, json_: json_["TagReportData"][0].update(PeakRSSI=-47), "TagReportData[0].PeakRSSI"),
        (lambda folder, json_: json_["TagReportData"][0].update(Extra=None), "TagReportData[0].Extra"),
        (lambda folder, json_: json_.update(TagReportData=[]), "TagReportData"),
        (lambda folder, json_: json_.pop("Custom"), "Custom"),
    ],
)
def test_what_differs_is_told_with_its_place(payloads, spoil, reason):
    json_ = told()
    spoil(payloads, json_)
    (payloads / "ROAccessReport-001.json").write_text(json.dumps(json_))
    report = evaluate(payloads)
    assert (report.decoded, report.reencoded_exact, report.mismatches) == (2, 2, 1)
    assert report.wrong == {"ROAccessReport-001.bytes": f"differs from ROAccessReport-001.json at {reason}"}


def test_bytes_that_are_no_message_are_told(payloads):
    (payloads / "more" / "DeleteROSpec-000.bytes").write_bytes(bytes(3))
    report = evaluate(payloads)
    assert (report.decoded, report.reencoded_exact, report.mismatches) == (1, 1, 1)
    assert report.wrong == {"more/DeleteROSpec-000.bytes": "is no DeleteROSpec"}


def test_json_that_is_missing_or_broken_is_told(payloads):
    (payloads / "ROAccessReport-001.json").unlink()
    (payloads / "more" / "DeleteROSpec-000.json").write_text("{")
    wrong = evaluate(payloads).wrong
    assert wrong["ROAccessReport-001.bytes"] == "has no ROAccessReport-001.json beside it"
    assert wrong["more/DeleteROSpec-000.bytes"].startswith("DeleteROSpec-000.json is no JSON (")


def test_a_folder_that_cannot_be_used_is_refused_with_the_reason(tmp_path, payloads):
    with pytest.raises(ValueError, match="absent: no such folder"):
        evaluate(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no \*.bytes in it"):
        evaluate(tmp_path / "empty")
    (payloads / "Nonsense-000.bytes").write_bytes(b"")
    with pytest.raises(ValueError, match=r"Nonsense-000.bytes: 'Nonsense' is no LLRP message"):
        evaluate(payloads)


@pytest.mark.parametrize(
    ("found", "expected", "place"),
    [
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, None),
        ({"a": True}, {"a": 1}, "a"),
        ({"a": 1}, {"a": 1.0}, "a"),
        ([1], [1, 2], "its root"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b"),
    ],
)
def test_the_first_difference_is_found(found, expected, place):
    assert difference(found, expected) == place
