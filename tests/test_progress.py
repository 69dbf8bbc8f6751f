"""Progress bars: drawn on a terminal only, and whatever the work is called."""

import io

import pytest

from modicum.progress import progress


class Screen(io.StringIO):
    """Text that takes itself for a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("name", ["[/x]", "[bold]sums", "plain"])
def test_a_name_with_brackets_is_drawn_as_it_is(monkeypatch, name):
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("modicum.progress._PATIENCE", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    with progress(name, 2) as advance:
        advance(1)
    assert name in screen.getvalue()


def test_nothing_is_drawn_where_there_is_no_terminal(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("modicum.progress._PATIENCE", -1.0)
    with progress("sums", 2) as advance:
        advance(1)
    assert screen.getvalue() == ""
