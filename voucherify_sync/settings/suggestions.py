"""What an unknown key was meant to be: near names, right names in a wrong section, Segment's own names."""

from __future__ import annotations

import difflib
import re

from voucherify_sync.settings.catalog import all_settings, sections

TESTS = "tests"
"""The key beside the sections that holds a list: the mapping tests."""


def meant_setting(section: str, key: str) -> list[str]:
    """Return what an unknown key inside a section may stand for; at the top of the file the section is empty."""
    own = _own(section)
    wanted = _squashed(key)
    if wanted in own:
        return [own[wanted]]
    near = difflib.get_close_matches(wanted, own, n=1)
    return _elsewhere(wanted) or [own[name] for name in near] or _near_anywhere(wanted)


def question(meant: list[str]) -> str:
    """Return `; did you mean this or that?`, or nothing when there is nothing to suggest."""
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _own(section: str) -> dict[str, str]:
    """Return what may stand in a section: squashed name -> path."""
    if not section:
        return {_squashed(name): name for name in (*sections(), TESTS)}
    return {_squashed(name): f"{section}.{name}" for name in sections()[section].settings}


def _elsewhere(wanted: str) -> list[str]:
    """Return settings of any section with that name, or Segment's for it: trackEventsFilter, eventsFilter."""
    return [s.path for s in all_settings() if wanted in {_squashed(s.name), _squashed(s.path)}]


def _near_anywhere(wanted: str) -> list[str]:
    by_name = {_squashed(text): s.path for s in all_settings() for text in (s.name, s.path)}
    return [by_name[name] for name in difflib.get_close_matches(wanted, by_name, n=1, cutoff=0.75)]


def _squashed(name: str) -> str:
    """Return a name without case and separators: eventsFilter, events-filter and events_filter are one."""
    return re.sub(r"[^a-z0-9]", "", name[:60].lower())
