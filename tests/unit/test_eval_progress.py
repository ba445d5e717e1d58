"""What a long evaluation says on stderr: a bar on a terminal, one line in a pipe, nothing that a program would read."""

import io
import time

import pytest

from cli.evaluate import progress
from cli.evaluate.progress import working


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_in_a_pipe_what_takes_long_says_one_line_and_stdout_stays_clean(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    said = ""
    with working("eval x: 3 walks", 3) as step:
        until = time.monotonic() + 10
        while not said and time.monotonic() < until:
            step()
            said = capsys.readouterr().err
    assert said == "eval x: 3 walks\n"
    assert capsys.readouterr() == ("", "")


def test_in_a_pipe_what_is_quick_says_nothing(capsys):
    with working("eval x"):
        pass
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_runs_and_goes_away(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with working("eval x: 2 walks", 2) as step:
        step()
    drawn = screen.getvalue()
    assert "eval x: 2 walks" in drawn and "\x1b[2K" in drawn, "drawn, and erased at the end"


def test_as_a_decorator_it_gives_what_the_function_gives_each_time():
    @working("eval y")
    def evaluate(number: int) -> int:
        if number < 0:
            raise ValueError(number)
        return number + 1

    assert [evaluate(1), evaluate(2)] == [2, 3]
    with pytest.raises(ValueError, match="-1"):
        evaluate(-1)
