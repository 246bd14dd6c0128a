"""The commented settings file that `init` writes, made from the catalog: it loads to the defaults."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from voucherify_sync.settings.catalog import Form, Section, Setting, sections
from voucherify_sync.settings.effective import plain, to_yaml
from voucherify_sync.settings.found import Found, default_row, name_lines, row_lines

SCHEMA_FILE = "voucherify-sync.schema.json"
"""What the file calls its schema, to lie beside it."""

_WIDTH = 100
_INDENT = "  "
_INTRODUCTION = f"""\
# yaml-language-server: $schema=./{SCHEMA_FILE}
# Editors complete and check this file by the line above, also offline, once the schema lies beside it:
# voucherify-sync init --schema > {SCHEMA_FILE}
#
# Settings of voucherify-sync. What is set here are the defaults: change what you need, delete the rest.
# Lines that begin with `#` and no space are examples: take the # away to use them.
#
# Any text may hold ${{VARIABLE}} or ${{VARIABLE:-default}}; $$ is a dollar sign.
# `voucherify-sync check` finds mistakes, runs the tests below and shows what is in force.
"""
_FROM = """\
#
# The first {records} records of {sources} were read: {identifies} identify and {tracks} track events.
# What was found is written below with its counts, ready to uncomment.
"""
_TESTS = """\
# Mapping tests: an event, and what becomes of it. `voucherify-sync check` runs them; after a change of
# the mapping, `check --update` writes what is now. They may also stand in *.test.yaml beside this file.
tests:
  # The whole request, exact. Texts, numbers, true, false and null are read as in JSON.
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

  # A part of the request is enough. An event may also be one of a file: `event: events.ndjson:12`.
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

  # Nothing is sent, and this is the reason.
  - name: an event of nobody is skipped
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
        f"# Names that were met after so many others, {found.uncounted:,} times, are not counted.\n"
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
