"""A step's output comes as lines, whatever the pieces, and a progress bar is one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asset.local.jobs.step import LogStream


def lines(*pieces: bytes) -> tuple[list[str], list[str]]:
    """Return the lines, and the states of bars that were drawn on the way."""
    complete: list[str] = []
    states: list[str] = []
    stream = LogStream(complete.append, states.append)
    for piece in pieces:
        stream.feed(piece)
    stream.close()
    return complete, states


def test_a_bar_is_its_last_state() -> None:
    assert lines(b"start\n", b"\r 10%", b"\r 50%", b"\r100%\n", b"done\n") == (
        ["start", "100%", "done"],
        [" 10%", " 50%"],
    )


def test_a_bar_that_wipes_itself_leaves_nothing() -> None:
    assert lines(b"\r 50%", b"\r     \r", b"done\n")[0] == ["done"]


def test_a_line_that_nothing_ends_is_given_at_the_close() -> None:
    assert lines(b"half")[0] == ["half"]


def test_windows_ends_of_line_are_ends_of_line() -> None:
    assert lines(b"one\r", b"\ntwo\r\n") == (["one", "two"], [])


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    assert lines(b"\xff\xfe caf\xc3", b"\xa9\n")[0] == ["\ufffd\ufffd café"]


# What a terminal shows of a line is what was written after the last return that something followed.
TEXT = st.text(st.sampled_from("ab é\r\n"), max_size=40)


@given(TEXT, st.lists(st.integers(0, 60)))
def test_lines_do_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    content = text.encode()
    places = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
    pieces = [content[start:end] for start, end in zip(places, places[1:], strict=False)]
    expected = [next((state for state in reversed(line.split("\r")) if state), "") for line in text.split("\n")]
    expected = expected if expected[-1].strip() else expected[:-1]
    assert lines(*pieces)[0] == expected
