"""The fields of the JSON report, from its types, and of the dead letters. A test compares them with what runs write."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import NoneType
from typing import Final, get_args, get_origin, get_type_hints

from msgspec import Struct, UnsetType

from generating.markdown import code, table
from generating.markdown import page as page_of
from voucherify_sync.report.run_report import MAX_NAMES, OTHER, RunReport
from voucherify_sync.state.dead_letters import DEAD_LETTER_STATES

_NAMES: Final = {
    "by_type": ("type",),
    "outcomes": ("state",),
    "reasons": ("state", "reason"),
    "by_endpoint": ("endpoint", "state"),
    "mapping": ("section",),
    "findings": ("code",),
    "rows": ("row",),
    "set": ("destination",),
    "unmapped": ("path",),
    "dropped": ("path", "reason"),
}
"""Field that holds a map -> what its keys are, from the outermost map to the innermost."""


def _fields_of(struct: type, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each field of a struct by its path, with its meaning from the struct's docstring."""
    meanings = _attributes(struct)
    for name, type_ in get_type_hints(struct).items():
        yield from _fields_within(type_, f"{path}{name}", meanings[name], _NAMES.get(name, ()))


def _fields_within(
    type_: object, path: str, meaning: str, names: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    inside = [each for each in get_args(type_) if each is not NoneType and each is not UnsetType]
    if isinstance(type_, type) and issubclass(type_, Struct):
        yield from _fields_of(type_, f"{path}.")
    elif get_origin(type_) is dict:
        yield from _fields_within(inside[1], f"{path}.<{names[0]}>", meaning, names[1:])
    elif get_origin(type_) is list:
        yield from _fields_within(inside[0], f"{path}[]", meaning, names)
    elif inside:  # a union with null, or with nothing
        yield from _fields_within(inside[0], path, meaning, names)
    else:
        yield path, meaning


def _attributes(struct: type) -> dict[str, str]:
    """Return what the docstring of a struct says of its fields."""
    text = inspect.getdoc(struct) or ""
    found = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", text.partition("Attributes:\n")[2], re.MULTILINE)
    return {name: " ".join(meaning.split()).removesuffix(".") for name, meaning in found}


FIELDS: Final = dict(_fields_of(RunReport))
"""Path of a field -> what it holds. `<…>` stands for any key, `[]` for the items of a list."""

LETTER_FIELDS: Final = {
    "outcome": "the state: " + ", ".join(f"`{state}`" for state in sorted(DEAD_LETTER_STATES)),
    "reason": "as in the report",
    "source": "`file:line` where the event was read",
    "status": "HTTP status of the last answer, or null",
    "response": "the answer, or null",
    "key": "key of the record in the ledger, in hexadecimal: `retry FILE` updates that record, whatever you edited",
    "run": "id of the run that kept it",
    "event": "the event as it came; null if an earlier version did not keep it",
    "raw": "instead of `event`, if the line was not JSON",
    "raw_base64": "instead of `event`, if the line was not text",
    "order": "of an event of an order: the whole order as it failed, which `retry` sends",
}
"""Field of a line of dead letters -> what it holds."""

_INTRODUCTION: Final = f"""\
`--report FILE.json` writes one JSON object at the end of a run. `--report -` prints it. `--report FILE.html` writes the
same as a page for people. If a report cannot be written at the end, it goes to the state directory
(`~/.local/state/voucherify-sync/reports/RUN.json` or `.html`), and a warning says where. Later versions add fields,
but never rename them.

A map or list holds at most {MAX_NAMES:,} keys. What comes later is added up under `{OTHER}`. Reasons are codes of this
program and error keys of Voucherify, never its free text."""

_LETTERS: Final = """\
The ledger keeps every record that ended failed, in doubt or invalid as a [dead letter](../glossary.md#dead-letter).
`status --failed` and `status --doubt` print them, one JSON object per line. `--dead-letters FILE` writes those of one
run to a file, including all invalid records; only its owner can read it. `voucherify-sync retry` sends dead letters
again, `voucherify-sync retry FILE` those of an edited file. An event in doubt also has `sent_at`. If the event is not
known, `type`, `name` and `messageId` hold what is known."""

_DRY_RUN: Final = """\
`replay --dry-run` prints one JSON object per request: `method`, `path`, `body` (the exact bytes of the request),
`source` (`file:line`) and `messageId`. With `--bulk` the folded customers come first, one per line. Their `source` and
`messageId` are null. With `orders.disabled: false` the orders follow, one per line; `body` is one item of an import,
`source` and `messageId` are those of the latest event of the order."""


def page() -> str:
    """Return the page."""
    return page_of(
        "Report and dead letters",
        "the types of voucherify_sync/report/run_report.py",
        _INTRODUCTION,
        _fields(FIELDS),
        f"## Dead letters\n\n{_LETTERS}",
        _fields(LETTER_FIELDS),
        f"## Lines of a dry run\n\n{_DRY_RUN}",
    )


def _fields(fields: dict[str, str]) -> str:
    return table(("field", "what it holds"), [(code(name), meaning) for name, meaning in fields.items()])
