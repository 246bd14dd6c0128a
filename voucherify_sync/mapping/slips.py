"""Recognise ids that look like a slip of a program, such as ``undefined``: many people may share one.

Nearly all ids begin with none of the ODD_STARTS and are none of the SPELLINGS: two look-ups for each record.
"""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = frozenset(
    {
        *("undefined", "null", "none", "nil", "nan", "object object", "true", "false", "-1", "\\n"),
        *("anonymous", "anon", "guest", "unknown", "unidentified", "unauthenticated", "not_authenticated"),
        *(
            "n/a",
            "#n/a",
            "na",
            "not set",
            "not_set",
            "notset",
            "not available",
            "no value",
            "empty",
            "missing",
        ),
        *("user", "userid", "user_id", "user-id", "default", "default_user"),
    }
)
SPELLINGS: Final = (
    _WORDS | {"NaN"} | {spell(word) for word in _WORDS for spell in (str.upper, str.capitalize, str.title)}
)
_EDGES: Final = " \t\"'`()<>[]{}"
ODD_STARTS: Final = frozenset(_EDGES + "$%*-.0#\\?_@")
"""First characters of slips that are none of the SPELLINGS."""
_TEMPLATE: Final = re.compile(
    r"\{\{.*\}\}|\$\{.*\}|<%.*%>|\{%.*%\}|%%.*%%|%[A-Za-z_]\w*%|\*\|.*\|\*|\[\[.*\]\]|\{[A-Za-z_][\w.]*\}",
    re.DOTALL,
)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{32}")


def looks_like_a_slip(source_id: str) -> bool:
    """Tell whether an id is a word for nothing, a row of zeros or of signs, or a template that was not filled in."""
    if source_id in SPELLINGS:
        return True
    if source_id[0] not in ODD_STARTS:
        return False
    word = source_id.strip(_EDGES).lower()
    if word in _WORDS or not word.strip("0-._*#?%$@\\ "):
        return True
    return _TEMPLATE.fullmatch(source_id) is not None and _HEX.fullmatch(word) is None
