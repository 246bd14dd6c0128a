"""Any key that `check` takes works as a source, a destination and a constant, in every mode."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from voucherify_sync.api import (
    CoverageOptions,
    ExplainOptions,
    Mode,
    ReplayOptions,
    check,
    coverage,
    explain,
    plan,
    replay,
)
from voucherify_sync.paths import path_of
from voucherify_sync.settings.template import escaped, to_yaml

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def write_input(folder: Path, key: str, below: str) -> tuple[Path, Path]:
    """Write settings that read two keys, one below the other, and events that have them."""
    names = (key, below)

    def section(root: str, place: tuple[str, ...]) -> dict[str, Any]:
        return {
            "mapping": {path_of(root, *names): escaped(path_of(*place, *names))},
            "add": {path_of(*place, "constants", *names): "c"},
        }

    sections = {
        "identify": section("traits", ("customer", "metadata")),
        "track": section("properties", ("metadata",)),
    }
    config, events = folder / "s.yaml", folder / "e.ndjson"
    config.write_text(to_yaml(sections), encoding="utf-8")
    common = {"userId": "u", "timestamp": "2024-01-01T00:00:00Z"}
    value = {key: {below: "v"}}
    lines = [
        common | {"type": "identify", "messageId": "i", "traits": value},
        common | {"type": "track", "messageId": "t", "event": "A", "properties": value},
    ]
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return config, events


def requests_of(options: ReplayOptions) -> list[dict[str, Any]]:
    """Return the requests of a dry run."""
    output = io.BytesIO()
    assert replay(options, output=output).outcomes["planned"] == 2
    return [json.loads(line) for line in output.getvalue().splitlines()]


@given(key=keys.filter(lambda key: key != "constants"), below=keys)
@example(key='TV 15" size', below="AD\\user")
@example(key="${HOME}", below="$$")
@example(key="*", below="a*")
@example(key="", below=" ")
@example(key="a.b", below="[0]")
@example(key="\x00\x85\u2028", below="\ufeff\U0001f600")
@hypothesis_settings(max_examples=4)
def test_any_key_works_everywhere(tmp_path: Path, key: str, below: str) -> None:
    """All modes give one and the same request, and the value arrives under the very key."""
    config, events = write_input(tmp_path, key, below)
    assert check(config).settings.identify.mapping
    wanted = {key: {below: "v"}, "constants": {key: {below: "c"}}}
    ways: tuple[Literal["each", "bulk"], ...] = ("each", "bulk")
    for way in ways:
        options = ReplayOptions(source=events, config=config, mode=Mode.DRY_RUN, customers=way)
        customer, event = requests_of(options)
        body = customer["body"]
        assert (body[0] if isinstance(body, list) else body)["metadata"] == wanted
        assert event["body"]["metadata"] == wanted
        assert plan(options).report.outcomes["planned"] == 2
    report = coverage(CoverageOptions(source=events, config=config))
    assert report.events.counted == 2
    explained = list(explain(ExplainOptions(source=events, config=config)))
    assert [each.request is not None for each in explained] == [True, True]


@pytest.mark.parametrize("customers", ["each", "bulk"])
def test_a_key_with_a_quote_or_a_backslash_arrives_in_a_live_run(tmp_path: Path, customers: Any) -> None:
    """The sandbox stands for Voucherify."""
    config, events = write_input(tmp_path, 'a"b', "c\\d")
    options = ReplayOptions(source=events, config=config, mode=Mode.SANDBOX, customers=customers)
    assert replay(options).outcomes["delivered"] == 2
