"""Text from events, files and answers goes in; text that can do nothing to a terminal or a page comes out."""

from __future__ import annotations


def clean(text: str, limit: int = 120) -> str:
    r"""Return the text on one line of at most `limit` characters, with an escape for all that does not print.

    Control characters, line ends and the marks that turn the direction of writing become `\x1b` and the like.
    """
    head = text[: limit + 1]
    shown = _escaped(head)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def clean_lines(text: str) -> str:
    """Return a message of our own, of several lines, in which data may stand: only its line ends stay."""
    return "\n".join(_escaped(line) for line in text.split("\n"))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(ord(character)) for character in text)


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
