"""Whatever an event holds, a terminal that shows it is not told to do anything."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.text import Text
from support.cli_modules import cli_module

from voucherify_sync.text import clean, clean_lines

console = cli_module("render").console


def harmless(text: str) -> bool:
    """Tell whether no character controls a terminal or the direction of writing."""
    return all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Zoë 李 ☕", "Zoë 李 ☕", id="text-stays"),
        pytest.param("a\nb\tc", r"a\x0ab\x09c", id="line-feed-and-tab"),
        pytest.param("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m", id="escape"),
        pytest.param("\x9b2J", r"\x9b2J", id="one-byte-csi"),
        pytest.param("abc\u202egpj.exe", r"abc\u202egpj.exe", id="right-to-left-override"),
        pytest.param("\u2066x\u2069", r"\u2066x\u2069", id="isolates"),
        pytest.param("a\u200bb", r"a\u200bb", id="zero-width-space"),
        pytest.param("a\u2028b", r"a\u2028b", id="line-separator"),
        pytest.param("\U000e0041", r"\U000e0041", id="tag-character"),
        pytest.param("\udcff", r"\udcff", id="byte-of-a-file-name"),
        pytest.param("", "", id="empty"),
    ],
)
def test_what_does_not_print_is_shown_as_an_escape(text: str, shown: str) -> None:
    """Text that prints stays as it is, in any script."""
    assert clean(text) == shown


@given(st.text(st.characters(codec=None)), st.integers(1, 200))
@example("\x1b" * 500, 120)
def test_clean_text_is_harmless_and_within_its_limit(text: str, limit: int) -> None:
    """No byte below 0x20, no C1, no bidi control, one line."""
    shown = clean(text, limit)
    assert harmless(shown)
    assert len(shown) <= limit
    shown.encode("utf-8")


@given(st.text())
def test_text_that_fits_is_not_cut(text: str) -> None:
    """An ellipsis says that something is missing, and only then."""
    if text.isprintable() and len(text) <= 120:
        assert clean(text) == text


def test_text_beyond_the_limit_ends_in_an_ellipsis() -> None:
    """The ellipsis is part of the limit."""
    assert clean("x" * 121) == "x" * 119 + "…"
    assert clean("x" * 120) == "x" * 120


@given(st.text(st.characters(codec=None)))
def test_a_message_of_several_lines_keeps_its_line_ends_only(text: str) -> None:
    """Messages of ours have lines; data in them must not add control characters."""
    shown = clean_lines(text)
    assert harmless(shown.replace("\n", ""))
    assert shown.count("\n") == text.count("\n")


@given(st.text(st.sampled_from("[]/bold link=red:#@\\x")))
@example("[link=https://example.com]x[/link]")
@example("[/]")
@example(":smiley:")
def test_a_console_shows_brackets_as_they_are(text: str) -> None:
    """Data is never markup."""
    stream = io.StringIO()
    console(stream, width=1_000).print(Text(clean(text)), soft_wrap=True)
    console(stream, width=1_000).print(clean(text), soft_wrap=True)
    assert stream.getvalue() == f"{text}\n{text}\n"
