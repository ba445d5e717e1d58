"""What `./aisle demo --json` says of figures that a stranger cannot guess."""

import pytest
from typer.testing import CliRunner

from cli import demo


@pytest.mark.parametrize(
    ("without", "for_s", "said"),
    [
        (0, 60.0, "no offer was triggered by a true dwell in 60 s; --for 300 gives some"),
        (2, 60.0, "all offers shown were for dwells that began before the run, or for none; --for 300 gives some"),
        (None, 400.0, "no offer was triggered by a true dwell in 400 s; --for 800 gives some"),
    ],
)
def test_a_run_without_latencies_says_why_and_what_run_would_have_some(without, for_s, said):
    assert demo._why_no_latency({"pushes_without_trigger": without}, for_s) == said


@pytest.mark.parametrize(("p50", "said"), [(None, True), (-120.0, False)])
def test_the_reason_stands_on_stderr_and_the_figures_alone_on_stdout(monkeypatch, capfd, p50, said):
    figures = {"push_p50_ms": p50, "pushes_without_trigger": 0}
    monkeypatch.setattr(demo, "run", lambda *_, **__: figures)
    with pytest.raises(SystemExit) as end:
        demo.app(["--for", "60", "--json"])
    told = capfd.readouterr()
    assert end.value.code == 0 and told.out.count("\n") == 1 and told.out.startswith("{")
    assert ("no latencies: " in told.err) is said


def test_help_explains_the_figures():
    text = " ".join(CliRunner().invoke(demo.app, ["--help"]).output.split())
    for word in ("ghosts are", "pushes_without_trigger are", "negative is too", "null when"):
        assert word in text
