"""The walk test: places in, what the nodes heard out, and a file that the cloud takes."""

import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.places.models import Survey
from edge import survey
from edge.survey import Beacon, Heard, Place, Row, Rules, SurveyError, Walk

TAG = Beacon("7b0c1a52-6f0e-4d7c-9a55-0d6f3c1e8a21", 1, 900, "survey tag")
THREE = [Heard("door-1", -61.0, 3.1, 48), Heard("aisle-1", -70.0, 3.5, 40), Heard("till-1", -80.0, 4.0, 22)]


class FakeCloud:
    """Its time passes while one sleeps; at each place it has heard what was put there for it."""

    def __init__(self, *places: list[Heard]) -> None:
        self.time_us = 1_000_000_000
        self.places = list(places)
        self.asked: list[tuple[int, int]] = []

    def now_us(self) -> int:
        return self.time_us

    def sleep(self, seconds: float) -> None:
        self.time_us += round(seconds * 1e6)

    def heard(self, beacon: Beacon, from_us: int, to_us: int) -> list[Heard]:
        assert beacon == TAG
        self.asked.append((from_us, to_us))
        found = self.places[0]
        if self.time_us >= to_us + 3_000_000:
            self.places.pop(0)
        return found


def walk_of(cloud: FakeCloud, file: Path, screen: io.StringIO | None = None, least: int = 3) -> Walk:
    return Walk(
        cloud, TAG, Rules(seconds=10, settle_s=3, least_nodes=least), file, screen or io.StringIO(), cloud.sleep
    )


# --- places


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("3.5 4", Place(3.5, 4)),
        (" 3.5,4 ", Place(3.5, 4)),
        ("3.5;4;till", Place(3.5, 4, "till")),
        ("3.5, 4, coffee shelf", Place(3.5, 4, "coffee shelf")),
        ("-1 2 the street", Place(-1, 2, "the street")),
        ("", None),
        ("3.5", None),
        ("x y", None),
        ("nan 1", None),
        ("1e9 1", None),
    ],
)
def test_a_place_as_it_is_typed(text, place):
    assert survey.parse_place(text) == place


@given(st.text(max_size=30))
def test_any_text_is_a_place_or_none(text):
    survey.parse_place(text)


def test_places_come_from_a_csv_with_or_without_headings():
    expected = [Place(1, 2, "door"), Place(3, 4)]
    assert survey.read_places("x_m,y_m,label\n1,2,door\n# later\n\n3,4\n") == expected
    assert survey.read_places("1,2,door\n3,4\n") == expected
    with pytest.raises(SurveyError, match="line 2: found 'x,4'"):
        survey.read_places("1,2\nx,4\n")


# --- walking


def test_a_place_is_asked_for_the_span_that_one_stood_there_and_what_came_late_is_waited_for(tmp_path):
    cloud = FakeCloud(THREE)
    begin_us = cloud.time_us
    assert walk_of(cloud, tmp_path / "survey.csv").take(Place(1, 2))
    assert set(cloud.asked) == {(begin_us, begin_us + 10_000_000)}
    assert cloud.time_us == begin_us + 13_000_000
    assert len(cloud.asked) == 13, "about once a second"


def test_what_was_kept_is_in_the_file_at_once_and_a_bell_rings(tmp_path):
    screen = io.StringIO()
    walk = walk_of(FakeCloud(THREE), tmp_path / "survey.csv", screen)
    walk.take(Place(1, 2))
    assert (tmp_path / "survey.csv").read_text().splitlines() == [
        "x_m,y_m,node,mean_dbm,sd_db,n",
        "1,2,door-1,-61.0,3.1,48",
        "1,2,aisle-1,-70.0,3.5,40",
        "1,2,till-1,-80.0,4.0,22",
    ]
    assert "\a" in screen.getvalue() and "kept: 1 places" in screen.getvalue()


def test_a_place_that_too_few_nodes_heard_is_not_kept(tmp_path):
    screen = io.StringIO()
    few = [*THREE[:2], THREE[2]._replace(n=survey.LEAST_PACKETS - 1)]
    walk = walk_of(FakeCloud(few), tmp_path / "survey.csv", screen)
    assert not walk.take(Place(1, 2))
    assert not (tmp_path / "survey.csv").exists()
    assert "\a" not in screen.getvalue() and "not kept: 2 nodes" in screen.getvalue()


def test_standing_at_a_place_again_replaces_it(tmp_path):
    again = [each._replace(mean_dbm=each.mean_dbm - 5) for each in THREE]
    walk = walk_of(FakeCloud(THREE, THREE, again), tmp_path / "survey.csv")
    for place in (Place(1, 2), Place(3, 4), Place(1, 2)):
        walk.take(place)
    assert walk.places == 2
    assert [row.mean_dbm for row in walk.rows if row.x_m == 1] == [-66.0, -75.0, -85.0]


def answers(*texts: str) -> Any:
    left = list(texts)
    return lambda question: left.pop(0) if left else None


def test_one_is_led_from_place_to_place_until_each_is_kept_skipped_or_one_stops(tmp_path):
    walk = walk_of(FakeCloud([], THREE, THREE), tmp_path / "survey.csv")
    places = [Place(1, 2, "door"), Place(3, 4), Place(5, 6), Place(7, 8)]
    # the first place needs two tries, the second is skipped, at the fourth one goes home
    survey.walk_all(walk, places, answers("", "", "s", "", "q"))
    assert {(row.x_m, row.y_m) for row in walk.rows} == {(1, 2), (5, 6)}


def test_without_a_list_places_are_typed(tmp_path):
    walk = walk_of(FakeCloud(THREE, THREE), tmp_path / "survey.csv")
    survey.walk_all(walk, [], answers("1 2", "here", "", "3 4", ""))
    assert {(row.x_m, row.y_m) for row in walk.rows} == {(1, 2), (3, 4)}


# --- files


@pytest.mark.parametrize("name", ["survey.csv", "survey.json"])
def test_a_survey_comes_back_from_its_file(tmp_path, name):
    rows = survey.rows_of(Place(1.25, -2), THREE)
    survey.write_survey(tmp_path / name, rows)
    assert survey.read_survey(tmp_path / name) == rows


def test_a_survey_file_in_json_is_what_the_cloud_takes(tmp_path):
    survey.write_survey(tmp_path / "survey.json", survey.rows_of(Place(1.25, 2), THREE))
    assert len(Survey.model_validate_json((tmp_path / "survey.json").read_text()).points) == 3


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "x_m,y_m,node,mean_dbm,sd_db,n\n1,2,door-1,loud,1,1\n", "{}", "[1]"]
)
@pytest.mark.parametrize("name", ["survey.csv", "survey.json"])
def test_a_file_that_is_no_survey_is_told(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    try:
        assert survey.read_survey(tmp_path / name) == []
    except SurveyError as error:
        assert name in str(error)


def test_a_row_is_a_point_of_the_clouds_survey():
    assert Row._fields == survey.HEADINGS
    Survey.model_validate({"points": [Row(1, 2, "door-1", -61, 3, 48)._asdict()]})


PLAN = {
    "floors": [{"floor": "0"}],
    "beacons": [
        {"uuid": TAG.uuid, "major": 1, "minor": 900, "role": "asset", "label": "Survey tag"},
        {"uuid": TAG.uuid, "major": 1, "minor": 1, "role": "fixed", "label": "door"},
    ],
}


@pytest.mark.parametrize("wanted", ["survey TAG", f"{TAG.uuid.upper()}/1/900"])
def test_the_beacon_is_meant_by_its_label_or_its_numbers(wanted):
    assert survey.choose_beacon(PLAN, wanted).minor == 900


def test_only_an_asset_can_be_carried():
    with pytest.raises(SurveyError, match="there is: 'Survey tag'"):
        survey.choose_beacon(PLAN, "door")


def test_the_floor_is_clear_or_asked_for():
    assert survey.choose_floor(PLAN, None) == "0"
    two = {"floors": [{"floor": "0"}, {"floor": "1"}]}
    assert survey.choose_floor(two, "1") == "1"
    for plan, wanted in ((two, None), (two, "9")):
        with pytest.raises(SurveyError, match="expected one of 0, 1"):
            survey.choose_floor(plan, wanted)


# --- over HTTP


class Answers(BaseHTTPRequestHandler):
    """A small cloud: one login, one plan, everything heard by three nodes; its clock is a day ahead."""

    calls: ClassVar[list[tuple[str, str, Any]]] = []
    nodes: ClassVar[list[Heard]] = THREE

    def do_POST(self) -> None:
        good = self._body() == {"login": "tech@acme", "password": "secret"}
        self._answer(200 if good else 401, {} if good else {"title": "Not signed in", "detail": "wrong password"})

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if "aisle_session=1" not in self.headers.get("Cookie", ""):
            return self._answer(401, {"title": "Not signed in"})
        self.calls.append(("GET", url.path, parse_qs(url.query)))
        if url.path == "/v1/stores/main/plan":
            return self._answer(200, PLAN)
        if url.path == "/v1/stores/main/heard":
            return self._answer(200, [each._asdict() for each in self.nodes])
        return self._answer(404, {"title": "Not found", "detail": "no store 'x'"})

    def do_PUT(self) -> None:
        assert self.headers["X-Aisle"] == "1"
        self.calls.append(("PUT", self.path, self._body()))
        self._answer(200, {"places": 1, "nodes": 3, "sd_db": 4.5})

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, code: int, body: object) -> None:
        payload = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("Set-Cookie", "aisle_session=1; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("X-Aisle-Now", str(time.time_ns() // 1_000 + 86_400_000_000))
        self.end_headers()
        self.wfile.write(payload)


@contextmanager
def small_cloud() -> Iterator[str]:
    Answers.calls.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def password(tmp_path: Path) -> Path:
    made = tmp_path / "password"
    made.write_text("secret\n")
    return made


def test_a_walk_from_the_command_line_to_the_radio_map(tmp_path, password, monkeypatch, capsys):
    points = tmp_path / "points.csv"
    points.write_text("x_m,y_m,label\n1,2,door\n")
    out = tmp_path / "survey.csv"
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    monkeypatch.setattr(survey, "SETTLE_S", 0.2)
    with small_cloud() as api:
        code = survey.main(
            ["--api", api, "--store", "main", "--login", "tech@acme", "--password-file", str(password)]
            + ["--beacon", "survey tag", "--points", str(points), "--seconds", "1", "--out", str(out), "--upload"]
        )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert json.loads(captured.out) == {"places": 1, "nodes": 3, "sd_db": 4.5}
    assert "stand at 1, 2 (door)" in captured.err and "\a" in captured.err
    (put,) = [body for method, path, body in Answers.calls if method == "PUT"]
    assert put == {"points": [row._asdict() for row in survey.read_survey(out)]} and len(put["points"]) == 3
    asked = next(query for _, path, query in Answers.calls if path.endswith("/heard"))
    assert asked["major"] == ["1"] and asked["minor"] == ["900"]
    ahead_us = int(asked["from_us"][0]) - time.time_ns() // 1_000
    assert ahead_us > 86_000_000_000, "by the cloud's time, not the laptop's"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--login", "nobody"], "wrong password"),
        (["--store", "x"], "no store 'x'"),
        (["--beacon", "trolley"], "no asset beacon 'trolley'"),
        (["--floor", "9"], "expected one of 0"),
        (["--points", "/nowhere.csv"], "nowhere.csv"),
        (["--api", "http://127.0.0.1:1"], "does not answer"),
    ],
)
def test_what_stands_in_the_way_is_said_in_a_line(tmp_path, password, capsys, more, said):
    with small_cloud() as api:
        words = ["--api", api, "--store", "main", "--login", "tech@acme", "--password-file", str(password)]
        code = survey.main([*words, "--beacon", "survey tag", "--out", str(tmp_path / "survey.csv"), *more])
    assert code == 1
    assert re.search(said, capsys.readouterr().err)


def test_a_file_can_be_uploaded_without_a_walk(tmp_path, password, capsys):
    survey.write_survey(tmp_path / "survey.json", survey.rows_of(Place(1, 2), THREE))
    words = ["--store", "main", "--login", "tech@acme", "--password-file", str(password)]
    with small_cloud() as api:
        code = survey.main(["--api", api, *words, "--no-walk", "--out", str(tmp_path / "survey.json")])
    assert code == 0
    assert [call[0] for call in Answers.calls] == ["GET", "PUT"]


@pytest.mark.parametrize("words", [["--store", "main"], ["--api", "x"], ["--api", "x", "--store", "main"]])
def test_a_command_that_lacks_something_says_what(words, capsys):
    with pytest.raises(SystemExit) as end:
        survey.main(words)
    assert end.value.code == 2
    assert "--" in capsys.readouterr().err
