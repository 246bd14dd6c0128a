"""`init --from-segment`, as one runs it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli

CLASSIC: dict[str, Any] = {
    "apiKey": "CANARY",
    "apiToken": "CANARY",
    "trackEventsFilter": ["Trip Booked"],
    "trackMapping": {"properties.trip": "metadata.trip"},
    "pageDisabled": True,
}
SUBSCRIPTIONS: dict[str, Any] = {
    "data": {
        "subscriptions": [
            {
                "name": "Trips",
                "actionSlug": "addCustomEvent",
                "enabled": True,
                "trigger": 'type = "track" and event = "Trip Booked" and properties.seats > 1',
                "settings": {
                    "event": {"@path": "$.event"},
                    "customer": {"source_id": {"@path": "$.userId"}},
                    "metadata": {"seats": {"@path": "$.properties.seats"}},
                },
            },
            {"name": "Off", "actionSlug": "upsertCustomer", "enabled": False, "trigger": "x", "settings": {}},
        ]
    }
}


def saved(run_cli: Cli, value: Any, name: str = "segment.json") -> str:
    """Write a configuration into the working directory, and return its name."""
    (run_cli.folder / name).write_text(json.dumps(value))
    return name


def test_the_file_works_at_once_and_stderr_says_what_was_taken(run_cli: Cli) -> None:
    """`check` has nothing to say against it, and a replay sends what the destination would."""
    ended = run_cli("init", "--from-segment", saved(run_cli, SUBSCRIPTIONS))
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.splitlines() == [
        "Wrote voucherify-sync.yaml.",
        "Taken:",
        '  track, "Trip Booked": 3 rows of "Trips", where properties.seats > 1',
        "Left out:",
        '  "Off": off at Segment',
        (
            "Keys: none written. Those of Voucherify (Actions) are keys of an integration, which the API refuses "
            "(integration_api_key_required): take Application ID and Secret Key from Voucherify's dashboard. Set "
            "VOUCHERIFY_API_KEY and VOUCHERIFY_API_TOKEN before a live run."
        ),
        "Next:",
        "  voucherify-sync check",
        "    find mistakes in it, after each change",
        "  voucherify-sync explain SOURCE",
        "    what becomes of single events, value by value",
    ]
    checked = run_cli("check")
    assert (checked.code, "Warning" in checked.err) == (0, False)
    assert "voucherify-sync.yaml: no mistakes, 1 mapping test passed" in checked.err
    events = [
        {"type": "track", "userId": "u", "event": "Trip Booked", "properties": {"seats": seats}}
        for seats in (1, 2)
    ]
    sent = run_cli("replay", "-n", "-", stdin="".join(json.dumps(event) + "\n" for event in events))
    assert [line["body"]["metadata"] for line in sent.lines] == [{"seats": 2}]


def test_keys_are_never_written(run_cli: Cli) -> None:
    """Not into the file, and not on the screen."""
    ended = run_cli("init", "--from-segment", saved(run_cli, CLASSIC), "new.yaml")
    text = (run_cli.folder / "new.yaml").read_text()
    assert "CANARY" not in text + ended.err
    assert "key: ${VOUCHERIFY_API_KEY}" in text
    assert "Keys: left out. Set VOUCHERIFY_API_KEY and VOUCHERIFY_API_TOKEN before a live run." in ended.err
    assert "  voucherify-sync check -c new.yaml\n" in ended.err
    assert run_cli("check", "-c", "new.yaml").code == 0


def test_several_files_and_standard_input_are_one_configuration(run_cli: Cli) -> None:
    """With - as PATH the file goes to stdout, and nothing is written."""
    destination = saved(run_cli, {"customURL": "https://us1.segmentio.voucherify.io", "secretKey": "CANARY"})
    ended = run_cli(
        "init", "-", "--from-segment", destination, "--from-segment", "-", stdin=json.dumps(SUBSCRIPTIONS)
    )
    assert ended.code == 0
    assert "  url: https://us1.api.voucherify.io\n" in ended.out
    assert "  events:\n    Trip Booked:\n      where: properties.seats > 1\n" in ended.out
    assert "from segment.json, standard input." in ended.out
    assert not (run_cli.folder / "voucherify-sync.yaml").exists()
    assert ended.err.startswith("Taken:\n  api.url: ")


def test_a_gzipped_file_is_decompressed(run_cli: Cli) -> None:
    """Its name does not matter."""
    plain = run_cli("init", "-", "--from-segment", saved(run_cli, CLASSIC))
    (run_cli.folder / "segment.json").write_bytes(gzip.compress(json.dumps(CLASSIC).encode()))
    assert run_cli("init", "-", "--from-segment", "segment.json") == plain


def test_a_file_that_is_there_is_not_overwritten(run_cli: Cli) -> None:
    """The command for another file is ready to be pasted."""
    (run_cli.folder / "voucherify-sync.yaml").write_text("mine")
    ended = run_cli("init", "--from-segment", "no such.json")
    assert (ended.code, "is there already" in ended.err) == (2, True)
    assert "voucherify-sync init --from-segment 'no such.json' FILE" in ended.err
    assert (run_cli.folder / "voucherify-sync.yaml").read_text() == "mine"


def test_a_second_file_of_segment_in_place_of_the_output_is_recognised(run_cli: Cli) -> None:
    """A glob after the option gives one file to it, and the next one as the file to write."""
    first, second = saved(run_cli, SUBSCRIPTIONS), saved(run_cli, {"customURL": ""}, "second.json")
    ended = run_cli("init", "--from-segment", first, second)
    command = f"voucherify-sync init --from-segment {first} --from-segment {second}"
    assert (ended.code, "second.json is there already" in ended.err) == (2, True)
    assert f"If it holds settings of Segment, too: {command}\n" in ended.err
    assert run_cli(*command.split()[1:]).code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--from-segment", "no.json"], "no.json: cannot be read: No such file or directory."),
        (["--from-segment", "."], ".: cannot be read: Is a directory."),
        (["--from-segment", "-", "--from-segment", "-"], "- is given twice"),
        (["--from-segment", "-", "--from", "e.ndjson"], "--from and --from-segment cannot be combined."),
        (["--from-segment", "-", "--schema"], "--schema prints the schema and writes no file"),
        (
            ["--from-segment", "main.tf"],
            "no Segment destination settings in main.tf: this is Terraform's own language",
        ),
        (["--from-segment", "-"], "no Segment destination settings in -: it is empty."),
        (["--from-segment", "cut.gz"], "cut.gz: cut off at byte 20, inside the compressed data."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_read_writes_nothing(run_cli: Cli, args: list[str], message: str) -> None:
    """Each with what to do instead."""
    (run_cli.folder / "main.tf").write_text('resource "x" "y" {\n  a = 1\n}\n')
    (run_cli.folder / "cut.gz").write_bytes(gzip.compress(json.dumps(CLASSIC).encode())[:20])
    ended = run_cli("init", *args)
    assert ended.code == 2
    assert message in ended.err
    assert not Path(run_cli.folder / "voucherify-sync.yaml").exists()


def test_segments_configuration_as_settings_leads_to_the_command(run_cli: Cli) -> None:
    """Which takes that very file."""
    name = saved(run_cli, CLASSIC)
    refused = run_cli("check", "-c", name)
    assert refused.code == 2
    assert "`voucherify-sync init --from-segment FILE` makes settings of it" in refused.err
    assert run_cli("init", "--from-segment", name).code == 0
