"""Format Markdown, and read the docstrings of enumeration members."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final


def page(title: str, origin: str, *parts: str) -> str:
    """Return a page: its title, a note that says not to edit it, and its parts."""
    note = f"<!-- Made from {origin} by docs/generate.py; do not edit. -->"
    return "\n\n".join([f"# {title}", note, *parts]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Cells are Markdown already; a bar in one is escaped, a line break is a space."""
    lines = [_line(head), "|---" * len(head) + "|", *map(_line, rows)]
    return "\n".join(lines)


_NAMES: Final = re.compile(
    r"(?<![`\w./-])("
    r"(?:api|identify|track|page|screen|group|orders|personas|identity|delivery)\.[a-z_]+"
    r"(?:: (?:bulk|each|clear|omit|verify)\b)?"
    r"|(?:\bcheck )?--[a-z][a-z-]*(?: SOURCE\b)?"
    r"|\bapply: (?:strip|downcase)\b"
    r")"
)


def code(text: str) -> str:
    """Return a text as code, or nothing for none."""
    return f"`{text}`" if text else ""


def json_code(value: Any) -> str:
    """Return a JSON value as code; it can be pasted into YAML, too."""
    return code(json.dumps(value, ensure_ascii=False))


def fenced(text: str, language: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def marked(text: str) -> str:
    """Return a text in which the names of settings and options are code."""
    return _NAMES.sub(r"`\1`", text.replace("<", "&lt;"))


def sentence(text: str) -> str:
    """Return words as a sentence: with a capital, a full stop, and names as code."""
    text = marked(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def member_docs(enum: type) -> dict[str, str]:
    """Return the docstrings below the members of an enumeration, by name of the member."""
    (definition,) = ast.parse(inspect.getsource(enum)).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  # the source of a class
    docs = {}
    for member, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(after, ast.Expr):
            (target,) = member.targets
            docs[ast.unparse(target)] = inspect.cleandoc(ast.literal_eval(after.value))
    return docs


def _line(cells: Iterable[str]) -> str:
    return (
        "| " + " | ".join(re.sub(r"\s*\n\s*", " ", cell.strip()).replace("|", "\\|") for cell in cells) + " |"
    )
