"""What a person should know of an input is said by every command that shows what a replay would do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support.cli import Cli
from support.shell import run_in_shell

EVENTS = [
    {"type": "order", "items": {"id": 1}},
    {"type": "Identify", "userId": "undefined", "traits": {"email": "a@example.com"}},
    {"type": " identify ", "userId": "undefined", "traits": {"email": "b@example.com"}},
    {"type": "identify", "userId": "u", "traits": '{"email": "c@example.com"}'},
    {"type": "track", "userId": "u", "event": "Customer Rewarded"},
    {"type": "track", "userId": "u", "event": ["no name"]},
    {"type": "track", "userId": "u", "event": "order_completed"},
    {"type": "track", "userId": "u", "event": "Order Completed"},
    {"type": "track", "userId": "u", "event": "Signed Up"},
]
SETTINGS = 'track: {events_filter: ["*", Nowhere], events_exclude: [Order Completed]}\n'
SAID = [
    '1 record is of another type: "order" 1',
    '2 events have an id that looks like a slip of a program: "undefined" 2',
    "1 track event came from Voucherify itself",
    "1 track event has no name that can be used",
    "1 event has traits or properties that are no object",
    'none of the 5 track events read is named "Nowhere"',
    'track.events_exclude: 1 event has almost the name "Order Completed": "order_completed" (1)',
]


@pytest.fixture
def archive(run_cli: Cli) -> Path:
    """Write the events, and settings that filter them."""
    (run_cli.folder / "s.yaml").write_text(SETTINGS)
    file = run_cli.folder / "events.ndjson"
    file.write_text(
        "".join(json.dumps(event | {"messageId": f"m{n}"}) + "\n" for n, event in enumerate(EVENTS))
    )
    return file


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["replay", "--dry-run"], id="dry run"),
        pytest.param(["replay", "--dry-run", "--bulk"], id="dry run in bulk"),
        pytest.param(["replay", "--sandbox"], id="live"),
        pytest.param(["replay", "--sandbox", "--bulk"], id="live in bulk"),
        pytest.param(["plan"], id="plan"),
    ],
)
def test_every_way_says_what_a_person_should_know(run_cli: Cli, archive: Path, command: list[str]) -> None:
    """Once each, in a warning."""
    ended = run_cli(*command, "-c", "s.yaml", archive)
    assert ended.code == 0, ended.err
    shown = " ".join((ended.out if command == ["plan"] else ended.err).split())
    assert [shown.count(sentence) for sentence in SAID] == [1] * len(SAID)


def test_the_line_that_leaves_slips_out_works(run_cli: Cli, archive: Path) -> None:
    """Pasted from `plan` as it stands, it writes the file that the option takes."""
    said = run_cli("plan", "-c", "s.yaml", archive).out
    [line] = [line for line in said.splitlines() if line.startswith("  printf ")]
    assert run_in_shell(line, run_cli.folder, run_cli.env).returncode == 0
    ended = run_cli("replay", "--dry-run", "-c", "s.yaml", "--exclude-ids", "ids.txt", archive)
    assert "looks like a slip" not in ended.err
    assert '"undefined"' not in ended.out


def test_the_report_has_what_the_screen_says(run_cli: Cli, archive: Path) -> None:
    """Counts under the codes of the findings, and the sentences of filters; the page shows both."""
    outputs = ["--report", "r.json", "--report", "r.html"]
    assert run_cli("replay", "--dry-run", "-c", "s.yaml", *outputs, archive).code == 0
    report = json.loads((run_cli.folder / "r.json").read_text())
    assert {code: found["count"] for code, found in report["findings"].items()} == {
        "other_types": 1,
        "slip_ids": 2,
        "from_voucherify": 1,
        "named_by_type": 1,
        "no_object": 1,
    }
    assert [notice.split(":")[0] for notice in report["notices"] if notice.startswith("track.")] == [
        "track.events_filter",
        "track.events_exclude",
    ]
    page = (run_cli.folder / "r.html").read_text()
    assert "is named &#34;Nowhere&#34;" in page
    assert "looks like a slip" in page


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param([], "all are of other types (RECORD 2, STATE 1)", id="other types"),
        pytest.param(
            ["--type", "identify"], "all are of other types (RECORD 2, STATE 1)", id="a selection besides"
        ),
    ],
)
def test_a_run_that_sends_nothing_says_why_in_its_first_line(
    run_cli: Cli, options: list[str], why: str
) -> None:
    """Exit code 0 alone would look like success."""
    lines = "".join(json.dumps({"type": kind}) + "\n" for kind in ("RECORD", "STATE", "RECORD"))
    ended = run_cli("replay", "--dry-run", *options, "-", stdin=lines)
    assert ended.code == 0
    assert ended.err.splitlines()[0] == f"Read 3 records; nothing to send: {why}."
    planned = run_cli("plan", *options, "-", stdin=lines)
    assert planned.out.splitlines()[0] == f"Read 3 records; nothing to send: {why}."


def test_a_selection_that_selects_nothing_says_so(run_cli: Cli, samples: Path) -> None:
    """With what it left out, and what may be meant."""
    ended = run_cli("replay", "--dry-run", "--event", "order complete", samples)
    assert ended.code == 0
    assert "nothing to send. Reasons: --type, --event or --where selects other events (" in ended.err
    assert "--event: none of the" in ended.err
    assert 'did you mean "Order Completed"' in ended.err


@pytest.mark.parametrize(
    "command",
    [["replay", "--dry-run"], ["replay", "--dry-run", "--bulk"], ["plan"], ["coverage"]],
    ids=lambda words: " ".join(words),
)
@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        (
            "{}",
            ["--where", "properties.totl > 20"],
            ["--where: the condition holds of none of 80 events; none of them has properties.totl."],
        ),
        (
            "{}",
            ["--where", "properties.total > 9000"],
            ["--where: the condition holds of none of 80 events."],
        ),
        (
            "track: {where: 'properties.total > 1', events: {Order Completed: {where: 'properties.a = 1'}}}",
            [],
            ["track.events.Order Completed.where: the condition holds of none of"],
        ),
        ("track: {where: properties.a = null}", ["--where", 'event = "Signed Up"'], []),
    ],
    ids=["a field that no event has", "a value that no event has", "an entry", "conditions that hold"],
)
def test_a_condition_that_never_holds_says_so(
    run_cli: Cli, samples: Path, command: list[str], settings: str, options: list[str], said: list[str]
) -> None:
    """With the fields that no event has, which are the likely slip; a condition that held once is not named."""
    (run_cli.folder / "s.yaml").write_text(settings)
    ended = run_cli(*command, "-c", "s.yaml", *options, samples)
    shown = " ".join((ended.out + ended.err).split())
    assert shown.count("the condition holds of none") == len(said)
    assert all(sentence in shown for sentence in said)


def test_very_many_types_are_bounded(run_cli: Cli) -> None:
    """Neither the screen nor memory is filled."""
    lines = "".join(json.dumps({"type": f"T{number % 2_000}"}) + "\n" for number in range(5_000))
    ended = run_cli("replay", "--dry-run", "-", stdin=lines)
    assert len(ended.err) < 3_000
    assert "more types" in ended.err.splitlines()[0]


@pytest.mark.parametrize("mode", ["--dry-run", "--sandbox"])
@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (["--user", "nobody"], 'Warning: --user: "nobody" is the id of no event'),
        (["--event", "Nothing"], 'Warning: --event: none of the 5 track events read is named "Nothing"'),
        (["-c", "s.yaml"], 'none of the 5 track events read is named "Nowhere"'),
    ],
    ids=["user", "event", "filter"],
)
def test_a_quiet_run_says_what_selects_nothing(
    run_cli: Cli, archive: Path, mode: str, selection: list[str], said: str
) -> None:
    """It is no progress and no summary: without it, a slip of the pen ends a nightly run with 0, and nothing sent."""
    ended = run_cli("replay", mode, "--quiet", *selection, archive)
    assert ended.code == 0
    assert said in ended.err
    assert "9 records" not in ended.err


def test_a_quiet_run_names_what_it_did_not_read_and_why_it_ends_with_3(run_cli: Cli) -> None:
    """Files of other formats, damaged files, and records that are invalid; an ordinary run says nothing."""
    folder = run_cli.folder / "archive"
    folder.mkdir()
    event = '{"type":"identify","userId":"u","traits":{"email":"a@example.com"},"messageId":"%d"}\n'
    (folder / "1.ndjson").write_text(event % 1)
    assert run_cli("replay", "--sandbox", "-q", folder).err == ""
    (folder / "2.csv").write_text("id,email\n1,a@example.com\n")
    (folder / "3.ndjson.gz").write_bytes(gzip.compress((event % 3 * 900).encode())[:-20])
    (folder / "4.ndjson").write_text("{\n")
    ended = run_cli("replay", "--dry-run", "-q", folder)
    assert ended.code == 3
    csv, total, damage = ended.err.splitlines()
    assert "2.csv: skipped, this is a CSV file" in csv
    assert total.startswith("Dry run of ")
    assert ", 1 invalid" in total
    assert "3.ndjson.gz is damaged: cut off" in damage
