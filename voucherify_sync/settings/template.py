"""What a sample of events holds -> lines of a settings file, ready to be uncommented. A name in them is data only.

Settings -> YAML that loads to the same settings, secrets masked; and a digest of what shapes requests.

The commented settings file that `init` writes, made from the catalog: it loads to the defaults.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
import yaml
from msgspec import Struct, field

from voucherify_sync.paths import CUSTOMER_TEXTS, PathError, check_row, parse_destination, parse_source
from voucherify_sync.settings.conversion import is_json_word
from voucherify_sync.settings.load import masked
from voucherify_sync.settings.types import (
    DEFAULT_ROWS,
    Form,
    Rate,
    Secret,
    Section,
    Setting,
    Settings,
    sections,
)

MAX_LINES: Final = 200
"""Names or rows that are written of one kind, at most."""

_MAX_KEY: Final = 100  # a longer key would not stand on one line of YAML with its value
_PLAIN_KEY: Final = re.compile(r"[^.\[\]\"'\\*\s]+")
_OTHER_SPELLINGS: Final = {
    "first_name": "customer.firstName",
    "last_name": "customer.lastName",
    "address.postal_code": "customer.address.postal_code",
    "birthday": "customer.birthdate",
}

Keys = tuple[str, ...]
_Name = TypeVar("_Name", str, Keys)


class Found(Struct):
    """Counts of a sample.

    Attributes:
        records: how many were read.
        identifies: identify events among them.
        tracks: track events among them.
        names: how many track events have which name.
        traits: how many identify events have which trait; an address is taken apart.
        properties: the same for track events.
        uncounted: names, traits and properties that found no room any more.
    """

    records: int = 0
    identifies: int = 0
    tracks: int = 0
    names: dict[str, int] = field(default_factory=dict)
    traits: dict[Keys, int] = field(default_factory=dict)
    properties: dict[Keys, int] = field(default_factory=dict)
    uncounted: int = 0


def name_lines(found: Found) -> Iterator[str]:
    """Yield a list item for each event name, the most frequent first, with its count."""
    names = [name for name in _by_count(found.names) if name.strip() and len(name) <= 3 * _MAX_KEY]
    for name in names[:MAX_LINES]:
        yield f"#- {_scalar(escaped(name))}  # {found.names[name]:,} of {found.tracks:,}"
    yield from _rest(len(found.names) - len(names[:MAX_LINES]), "name", "names")


def default_row(root: str, source: str, found: Found) -> str:
    """Return how often a row of the default table finds something, as a comment behind it."""
    counts, total = _counts(root, found)
    count = counts.get(tuple(source.removeprefix(f"{root}.").split(".")), 0)
    return f"  # {count:,} of {total:,}" if count else ""


def row_lines(root: str, found: Found) -> Iterator[str]:
    """Yield a row for each trait or property that the default table does not take, the most frequent first."""
    counts, total = _counts(root, found)
    others = [keys for keys in _by_count(counts) if ".".join(keys) not in DEFAULT_ROWS]
    if others:
        kind = "identify" if root == "traits" else "track"
        yield f"# Found besides, with the number of {kind} events that have it:"
    possible = ((keys, row) for keys in others if (row := _row(root, keys)) is not None)
    rows = list(islice(possible, MAX_LINES))
    for keys, row in rows:
        yield f"#{row}  # {counts[keys]:,} of {total:,}"
    one = "trait" if root == "traits" else "property"
    yield from _rest(len(others) - len(rows), one, root)


def path_of(*keys: str) -> str:
    """Return the path of keys, those in brackets and quotes that are no plain names."""
    parts = [key if _PLAIN_KEY.fullmatch(key) else f'["{_quoted(key)}"]' for key in keys]
    return ".".join(parts).replace(".[", "[")


def _quoted(key: str) -> str:
    return key.replace("\\", "\\\\").replace('"', '\\"')


def _counts(root: str, found: Found) -> tuple[Mapping[Keys, int], int]:
    return (found.traits, found.identifies) if root == "traits" else (found.properties, found.tracks)


def _row(root: str, keys: Keys) -> str | None:
    """Return a row for what lies at the keys; None for a name that no row should be made of."""
    if sum(map(len, keys)) > _MAX_KEY or not all(key.strip() for key in keys):
        return None
    source, destination = path_of(root, *keys), _destination(root, keys)
    try:
        check_row(parse_source(source), parse_destination(destination))
    except PathError:
        return None
    return f"{_scalar(source)}: {_scalar(escaped(destination))}"


def _scalar(text: str) -> str:
    """Return a text on one line; PyYAML's own pairs may take several, where the key has line breaks."""
    return to_yaml([text]).removeprefix("- ").rstrip("\n")


def _destination(root: str, keys: Keys) -> str:
    name = ".".join(keys)
    if root == "properties":
        return path_of("metadata", "_".join(keys))
    if name in CUSTOMER_TEXTS and name not in {"id", "source_id"}:
        return f"customer.{name}"
    return _OTHER_SPELLINGS.get(name) or path_of("customer", "metadata", "_".join(keys))


def _by_count(counts: Mapping[_Name, int]) -> list[_Name]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def _rest(count: int, one: str, many: str) -> Iterable[str]:
    return [f"# … and {count:,} {one if count == 1 else many} more"] if count else []


Plain = dict[str, Any]
"""What can be written as YAML."""


def dump(settings: Settings) -> str:
    """Return the effective settings as YAML. Literal secrets are masked, references to variables stand."""
    return to_yaml({name: plain_section(getattr(settings, name)) for name in settings.__struct_fields__})


def digest(settings: Settings) -> str:
    """Return a short hash of what shapes the requests: equal digests make equal requests of equal events."""
    shaping = (settings.identify, settings.track, settings.personas, settings.identity)
    text = json.dumps([msgspec.structs.asdict(section) for section in shaping])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def plain_section(section: Struct) -> Plain:
    """Return the settings of a section as they are written in a file."""
    return {name: plain(getattr(section, name)) for name in section.__struct_fields__}


def plain(value: Any) -> Any:
    """Return the value of a setting as it is written in a file."""
    match value:
        case Secret():
            return masked(value)
        case Rate():
            return str(value)
        case float():
            return f"{value * 100:.12g}%"
        case _:
            return escaped(value)


def to_yaml(value: Any, *, flow: bool = False) -> str:
    """Return YAML as people write it: no aliases, one item a line, long lines unbroken; or, as flow, on one line."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=math.inf
    )
    return re.sub(r"[^\n\x20-\x7e]", lambda sign: _printable(sign[0]), text)


def _printable(sign: str) -> str:
    """Return the sign or its escape: such signs stand in double quotes only, and may turn a terminal upside down."""
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"


def escaped(value: Any) -> Any:
    """Double the `$` of texts where the loader would take it for more than a `$`."""
    match value:
        case str():
            return re.sub(r"\$(?=[{$])", "$$", value)
        case list():
            return [escaped(item) for item in value]
        case dict():
            return {key: escaped(item) for key, item in value.items()}
        case _:
            return value


class _Dumper(yaml.SafeDumper):
    """Quotes whatever the loader would not read as the text that it is."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Represent a text; line breaks are escaped, because PyYAML does not bring all of them back otherwise."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if is_json_word(text) else style)


_Dumper.add_representer(str, _text)


SCHEMA_FILE = "voucherify-sync.schema.json"
"""What the file calls its schema, to lie beside it."""

_WIDTH = 100
_INDENT = "  "
_INTRODUCTION = f"""\
# yaml-language-server: $schema=./{SCHEMA_FILE}
# With the line above, editors complete and check this file, also offline. Put the schema beside it:
# voucherify-sync init --schema > {SCHEMA_FILE}
#
# Settings of voucherify-sync. The values are the defaults: change what you need, delete the rest.
# Lines that begin with `#` and no space are examples: remove the # to use them.
#
# Any text may hold ${{VARIABLE}} or ${{VARIABLE:-default}}; $$ is a dollar sign.
# `voucherify-sync check` finds mistakes, runs the tests below and shows the effective settings.
"""
_FROM = """\
#
# init read the first {records} records of {sources}: {identifies} identify and {tracks} track events.
# It lists what it found below, with counts. Remove the # to use a line.
"""
_TESTS = """\
# Mapping tests: an event, and the request that it must become. `voucherify-sync check` runs them.
# After a change of the mapping, `check --update` updates what they expect. *.test.yaml files beside
# this one may hold tests, too.
tests:
  # The whole request. Texts, numbers, true, false and null are read as in JSON.
  - name: an identify event becomes a customer
    event:
      type: identify
      userId: u-1001
      traits:
        firstName: Mia
        lastName: Hoffmann
        email: mia@example.com
        address: {city: Berlin, postalCode: 10115}
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
      properties: {total: 49.9, email: mia@example.com}
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
    event: {type: track, event: Order Completed}
    expect_skipped: no_id
"""


def template(found: Found | None = None, sources: str = "") -> str:
    """Return the text of a settings file that names and explains every setting, with three mapping tests.

    Args:
        found: what events hold, to be written as examples.
        sources: what they were read of.
    """
    introduction = _INTRODUCTION + ("" if found is None else _from(found, sources))
    return "\n".join([introduction, *(_section(section, found) for section in sections().values()), _TESTS])


def _from(found: Found, sources: str) -> str:
    numbers = {name: f"{getattr(found, name):,}" for name in ("identifies", "tracks")}
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in sources)
    text = _FROM.format(records=f"{found.records:,}", sources=shown, **numbers)
    return text + (
        f"# Names beyond the limit of init are not counted; they occurred {found.uncounted:,} times.\n"
        if found.uncounted
        else ""
    )


def _section(section: Section, found: Found | None) -> str:
    entries = [_entry(setting, found) for setting in section.settings.values()]
    return "\n".join([*_comment(section.help, ""), f"{section.name}:", *entries]) + "\n"


def _entry(setting: Setting, found: Found | None) -> str:
    return "\n".join([*_comment(setting.help, _INDENT), *_lines(setting, found)])


def _lines(setting: Setting, found: Found | None) -> Iterator[str]:
    """Yield the setting with its default, or as an example that is commented out."""
    if setting.form in {Form.NAMES, Form.ROWS, Form.CONSTANTS}:
        yield f"{_INDENT}{setting.name}:"
        for line in _examples(setting) if found is None else _found(setting, found):
            yield f"{_INDENT * 2}{line}"
    elif setting.default is None:
        yield f"{_INDENT}#{_live(setting, setting.example)}"
    else:
        yield f"{_INDENT}{_live(setting, plain(setting.default))}"


def _examples(setting: Setting) -> list[str]:
    return [f"#{line}" for line in to_yaml(setting.example).splitlines()]


def _found(setting: Setting, found: Found) -> Iterator[str]:
    """Yield the lines of a setting that names what events hold; those of another are its examples."""
    if setting.path == "track.events_filter" and found.names:
        yield from name_lines(found)
    elif setting.form is Form.ROWS:
        root = "traits" if setting.section == "identify" else "properties"
        for line, source in zip(_examples(setting), setting.example, strict=True):
            yield line + default_row(root, source, found)
        yield from row_lines(root, found)
    else:
        yield from _examples(setting)


def _live(setting: Setting, value: Any) -> str:
    line = to_yaml({setting.name: value}).rstrip("\n")
    return f"{line}  # {' | '.join(setting.choices)}" if setting.choices else line


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
