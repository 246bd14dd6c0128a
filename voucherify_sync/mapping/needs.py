"""What of an event the mapping and its filters look at, but for its time: no more of it has to be decoded."""

from __future__ import annotations

from typing import Final

from voucherify_sync.mapping.filters import OUR_INTEGRATIONS
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.paths import FieldPath

Needs = dict[str, frozenset[str] | None]
"""Top-level key of an event -> the keys of the object there that are looked at; None: all that is there."""

_ALWAYS: Final = ("type", "event", "messageId", "userId", "anonymousId", "traits", "properties")
_CONTEXT: Final = frozenset({"personas", "traits"})


def needs_of(mapper: Mapper) -> Needs:
    """Return what filters, keys and rows look at.

    Rows look at the keys of their sources, and at the spellings of a path as one key.
    """
    needs: Needs = {
        **dict.fromkeys(_ALWAYS),
        "integrations": frozenset(OUR_INTEGRATIONS),
        "context": _CONTEXT,
    }
    for rules in mapper.rules.values():
        for row in rules.rows:
            for source in (row.source, row.instead):
                if source is not None:
                    _add(needs, source)
    return needs


def _add(needs: Needs, source: FieldPath) -> None:
    first = source.steps[0]
    if first.whole is not None:
        needs.setdefault(first.whole, None)
    root = str(first.key)
    inside = needs.get(root, frozenset())
    if len(source.steps) < 2 or inside is None:
        needs[root] = None
        return
    second = source.steps[1]
    names = {second.key, second.whole} - {None}
    needs[root] = inside | frozenset(map(str, names))
