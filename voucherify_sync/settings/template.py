"""Writes settings as YAML: the commented file of `init`, and the effective settings of `check --show`, secrets masked.

Whatever is written here loads to the same settings.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml

from voucherify_sync.events import ORDERS, SECTION_TYPES, SENT_TYPES, Json
from voucherify_sync.settings.conversion import is_json_word
from voucherify_sync.settings.load import masked
from voucherify_sync.settings.types import (
    DEFAULT_TABLES,
    ENTRIES,
    SECTIONS,
    Rate,
    Rows,
    RowTarget,
    Secret,
    Setting,
    Settings,
    Track,
    TrackEntry,
    description_of,
    settings_of,
)

SCHEMA_FILE: Final = "voucherify-sync.schema.json"
"""What the file calls its schema, to lie beside it."""
_WIDTH: Final = 100
_INDENT: Final = "  "
_INTRODUCTION: Final = f"""\
# yaml-language-server: $schema=./{SCHEMA_FILE}
# With the line above, editors complete and check this file, also offline. Put the schema beside it:
# voucherify-sync init --schema > {SCHEMA_FILE}
#
# Settings of voucherify-sync. The values are the defaults: change what you need, delete the rest.
# Lines that begin with `#` and no space are examples: remove the # to use them.
# What several sections have is explained in the first of them.
#
# Any text may hold ${{VARIABLE}} or ${{VARIABLE:-default}}; $$ is a dollar sign.
# `voucherify-sync check` finds mistakes and runs the tests below. With --show, it prints the effective
# settings.
"""
TESTS_HEADING: Final = """\
# Mapping tests: an event, and the request that it must become. `voucherify-sync check` runs them.
# After a change of the mapping, `check --update` updates what they expect. *.test.yaml files beside
# this one may hold tests, too.
"""
_TESTS: Final = f"""\
{TESTS_HEADING}tests:
  # The whole request. Texts, numbers, true, false and null are read as in JSON.
  - name: an identify event becomes a customer
    event:
      type: identify
      userId: u-1001
      traits:
        firstName: Mia
        lastName: Hoffmann
        email: mia@example.com
        address: {{city: Berlin, postalCode: 10115}}
    expect:
      method: POST
      path: /v1/customers
      body:
        source_id: u-1001
        name: Mia Hoffmann
        email: mia@example.com
        address:
          city: Berlin
          postal_code: "10115"

  # A part of the request is enough. The event may also come from a file: `event: events.ndjson:12`.
  - name: a track event becomes a custom event of its customer
    event:
      type: track
      userId: u-1001
      event: Order Completed
      properties: {{total: 49.9, email: mia@example.com}}
    expect:
      contains:
        path: /v1/events
        body:
          event: Order Completed
          customer:
            source_id: u-1001
            email: mia@example.com

  # Nothing is sent, for this reason.
  - name: an event without a usable id is skipped
    event: {{type: track, event: Order Completed}}
    expect_skipped: no_id
"""


def dump(settings: Settings) -> str:
    """Return the effective settings as YAML. Literal secrets are masked, references to variables stand.

    Where the default table applies alone, its rows are shown as rows of the settings.
    """
    shown = {
        name: {each: plain(getattr(getattr(settings, name), each)) for each in settings_of(name)}
        for name in SECTIONS
    }
    for name, default in DEFAULT_TABLES.items():
        section = shown[name]
        # The table of orders says more than rows do: which total counts, and when the order was made.
        has_own = section["mapping"] or section["set"] or name == ORDERS.name
        section["extend_default"] = bool(section["extend_default"] and has_own)
        if not has_own:
            section["mapping"] = default
        section["mapping"] = _rows_as_written(section["mapping"])
    track = settings.track
    shows_table = not (track.mapping or track.set)  # which entries would take for rows of track
    shown["track"]["events"] = {
        escaped(name): _entry_as_written(_apart(entry, track) if shows_table else entry)
        for name, entry in track.events.items()
    }
    return to_yaml(shown)


def _rows_as_written(rows: Rows) -> Json:
    return {source: _as_written(target) for source, target in rows.items()}


def _as_written(target: list[str] | RowTarget) -> Any:
    """Return what stands behind the source of a row."""
    if isinstance(target, list):
        return target[0] if len(target) == 1 else target
    more = {"or": target.or_, "apply": target.apply}
    return {"to": _as_written(target.to)} | {name: escaped(value) for name, value in more.items() if value}


def _apart(entry: TrackEntry, track: Track) -> TrackEntry:
    """Return an entry that does not take over the rows of track: with `set` of its own it may have no table."""
    extends = track.extend_default if entry.extend_default is None else entry.extend_default
    mapping = {} if entry.mapping is None else entry.mapping
    return msgspec.structs.replace(entry, mapping=mapping, extend_default=extends)


def _entry_as_written(entry: TrackEntry) -> Json:
    """Return what an entry of `track.events` gives."""
    given = {
        name: plain(getattr(entry, name))
        for name, setting in settings_of(ENTRIES).items()
        if getattr(entry, name) != setting.default
    }
    return given if entry.mapping is None else given | {"mapping": _rows_as_written(entry.mapping)}


def digest(settings: Settings) -> str:
    """Return a short hash of what shapes the requests: equal digests make equal requests of equal events."""
    shaping = _mapping_of(settings)
    if settings.orders.disabled:
        del shaping[ORDERS.name]
    mapped = [shaping[name] for name in SECTION_TYPES if name in shaping]
    for section in (*mapped, *shaping["track"]["events"].values()):
        for name in ("disabled", "where"):  # they select events, and shape no request
            del section[name]
        section["extend_default"] = bool(section["extend_default"])
    return _hash(shaping)


def digest_of_all(settings: Settings) -> str:
    """Return a short hash of what selects events and shapes their requests: equal digests make equal runs."""
    return _hash(_mapping_of(settings))


def _mapping_of(settings: Settings) -> dict[str, Any]:
    names = (*SENT_TYPES, "personas", "identity", ORDERS.name)
    return {name: msgspec.to_builtins(getattr(settings, name)) for name in names}


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=6).hexdigest()


def plain(value: Any) -> Any:
    """Return the value of a setting as it is written in a file."""
    if isinstance(value, Secret):
        return masked(value)
    if isinstance(value, float):
        return f"{value * 100:.12g}%"
    return str(value) if isinstance(value, Rate) else escaped(value)


def escaped(value: Any) -> Any:
    """Double the `$` of texts where the loader would take it for more than a `$`."""
    if isinstance(value, str):
        return re.sub(r"\$(?=[{$])", "$$", value)
    if isinstance(value, list):
        return list(map(escaped, value))
    return {key: escaped(item) for key, item in value.items()} if isinstance(value, dict) else value


class _Dumper(yaml.SafeDumper):
    """Quotes whatever the loader would not read as the text that it is."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Escape line breaks, because PyYAML does not bring all of them back otherwise."""
        style = None if text.isprintable() else '"'
        return self.represent_scalar(
            "tag:yaml.org,2002:str", text, style="'" if is_json_word(text) else style
        )


_Dumper.add_representer(str, _Dumper.represent_text)


def to_yaml(value: Any) -> str:
    """Return YAML as people write it: no aliases, one item a line, long lines unbroken."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)

    # Such signs stand in double quotes only; unescaped they may turn a terminal upside down.
    def printable(sign: re.Match[str]) -> str:
        return sign[0] if sign[0].isprintable() else f"\\U{ord(sign[0]):08x}"

    return re.sub(r"[^\n\x20-\x7e]", printable, text)


def template(
    introduction: str = "",
    examples: Mapping[str, Iterable[str]] | None = None,
    helps: Mapping[str, str] | None = None,
    tests: str = _TESTS,
) -> str:
    """Return the text of a settings file that names and explains every setting, with mapping tests.

    Args:
        introduction: comment lines that follow the file's own.
        examples: lines that stand below a setting in place of its example, or of a setting without any, by its path.
        helps: what stands above a setting in place of its help, by its path.
        tests: what stands in the end.
    """
    lines = (_INTRODUCTION + introduction).split("\n")
    explained: set[str] = set()
    for section, cls in SECTIONS.items():
        lines += [*_comment(description_of(cls), ""), f"{section}:"]
        for setting in settings_of(section).values():
            help_text = (helps or {}).get(setting.path, setting.help)
            if help_text not in explained:
                lines += _comment(help_text, _INDENT)
                explained.add(help_text)
            lines += _lines(setting, (examples or {}).get(setting.path))
        lines.append("")
    return "\n".join([*lines, tests])


def lines_of(path: str, value: Any, remark: str = "") -> list[str]:
    """Return the lines of a setting with a value, as `template` takes them; a remark stands behind the value."""
    section, _, name = path.partition(".")
    if isinstance(settings_of(section)[name].default, list | dict):
        return to_yaml(escaped(value)).splitlines()
    return [to_yaml({name: escaped(value)}).rstrip("\n") + (f"  # {remark}" if remark else "")]


def _lines(setting: Setting, lines: Iterable[str] | None) -> Iterator[str]:
    """Yield the setting with its default, or as an example that is commented out; or the lines that are given."""
    if isinstance(setting.default, list | dict):
        yield f"{_INDENT}{setting.name}:"
        for line in (
            (f"#{each}" for each in to_yaml(setting.example).splitlines()) if lines is None else lines
        ):
            yield f"{_INDENT * 2}{line}"
        return
    if lines is not None:
        yield from (f"{_INDENT}{line}" for line in lines)
        return
    sign, value = ("#", setting.example) if setting.default is None else ("", plain(setting.default))
    line = to_yaml({setting.name: value}).rstrip("\n")
    yield f"{_INDENT}{sign}{line}" + (f"  # {' | '.join(setting.choices)}" if setting.choices else "")


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
