"""`explain` shows single events: on a terminal, in a pipe, as JSON and as curl commands that are safe to paste."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import Cli
from support.cli_modules import cli_module
from support.replays import write_events
from support.segment_events import identify, track
from support.terminal import Terminal, colourless, is_harmless, terminal_of
from support.waiting import HANG_S

from voucherify_sync import api
from voucherify_sync.events import Event
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.preview.explain import explained
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Api, Identify, Secret, Settings, Track

explanation_viewer = cli_module("explanation").explanation_viewer
curl = cli_module("explanation").curl
harmless = cli_module("render").harmless
comparison = cli_module("comparison")

HOSTILE = "'\"`$(id)${HOME} !x \x1b[31m\u202e</script><script>[red]:smiley:\n\x00\x9b2J\\ \U000e0041"


def drawn(
    monkeypatch: pytest.MonkeyPatch, columns: int, *events: Any, colours: bool = False, in_full: bool = False
) -> str:
    """Return what is drawn on a terminal of so many columns."""
    monkeypatch.setattr(sys, "stdout", stream := terminal_of(monkeypatch, columns))
    show, pipeline = explanation_viewer(in_full=in_full), Pipeline(Settings(), Selection())
    for event in events:
        show(explained(pipeline, event))
    return stream.getvalue() if colours else colourless(stream.getvalue())


ORDER = {
    "type": "track",
    "event": "Order Completed",
    "userId": "u1",
    "messageId": "m1",
    "properties": {"email": "a@b.c", "total": 9.5},
}


ACTIONS = """\
identify:
  mapping:
    traits.email: {to: customer.email, or: [context.traits.email], apply: strip | downcase}
  set:
    customer.metadata.tier:
      "@if": {exists: {"@path": $.traits.plan}, then: {"@template": "plan {{traits.plan}}"}, else: free}
  where: traits.plan != "none"
track:
  events:
    Order Done: {rename: Order, where: properties.total > 2, add: {metadata.kind: order}}
page:
  disabled: false
  set: {event: {"@template": "Viewed {{name}} Page"}}
"""


def test_filters_directives_branches_entry_and_conditions_are_shown(run_cli: Cli) -> None:
    """Beside the value that they made; in full, row by row and entry by entry; in JSON, in lists of their own."""
    (run_cli.folder / "s.yaml").write_text(ACTIONS)
    events = write_events(
        run_cli.folder,
        {"type": "identify", "userId": "u", "traits": {"email": " A@B.c "}},
        {
            "type": "identify",
            "userId": "u",
            "traits": {"plan": "pro"},
            "context": {"traits": {"email": "X@y.z"}},
        },
        {"type": "track", "userId": "u", "event": "Order Done", "properties": {"total": 3}},
        {"type": "track", "userId": "u", "event": "Order Done", "properties": {"total": 2}},
        {"type": "page", "userId": "u", "name": "Home"},
    )
    brief, full, lines = (
        run_cli("explain", "-c", "s.yaml", "--limit", "9", *mode, events)
        for mode in ([], ["--full"], ["--json"])
    )
    shown = re.sub(r" {2,}", " ", brief.out)
    for line in (
        '"email": "a@b.c", ← traits.email (strip | downcase)',
        '"tier": "free" ← set (@if, else)',
        '"email": "x@y.z", ← context.traits.email (strip | downcase)',
        '"tier": "plan pro" ← traits.plan (@if, then)',
        'where: traits.plan != "none": true',
        "entry of track.events: Order Done",
        "where: properties.total > 2: true",
        '"event": "Order", ← rename of the entry of track.events',
        '"kind": "order" ← constant of the settings',
        "→ skipped: where",
        "where: properties.total > 2: false\n properties.total: 2\n",
        '"event": "Viewed Home Page", ← name (@template)',
    ):
        assert line in shown
    for line in (
        'traits.email | strip | downcase = "a@b.c" → customer.email\n',
        'context.traits.email | strip | downcase = "x@y.z" → customer.email\n',
        'set.customer.metadata.tier = "free" (@if, else) → customer.metadata.tier\n',
        'set.event = "Viewed Home Page" (@template) → event\n',
        'rename of the entry of track.events → event = "Order"\n',
        'Constants\n  add → metadata.kind = "order"\n',
    ):
        assert line in full.out
    first, _, order, skipped, page = lines.lines
    assert first["rows"][0]["value"] == "a@b.c"
    assert first["set"] == [
        {
            "destination": "customer.metadata.tier",
            "directive": "@if",
            "value": "free",
            "from": [],
            "branches": ["else"],
            "not_sent": None,
        }
    ]
    assert (order["entry"], order["condition"]) == (
        "Order Done",
        [{"text": "properties.total > 2", "holds": True}],
    )
    assert order["constants"] == [{"destination": "metadata.kind", "value": "order"}]
    assert skipped["condition"] == [{"text": "properties.total > 2", "holds": False}]
    assert (page["entry"], page["request"]["body"]["event"]) == (None, "Viewed Home Page")


def test_the_first_three_events_are_explained(run_cli: Cli, samples: Path) -> None:
    """Each with the request, where its values come from, and what is not mapped; the first one on one screen."""
    ended = run_cli("explain", samples)
    assert ended.code == 0
    assert ended.out.count("\nRequest\n") == 3
    assert re.search(r'"email": "mia.hoffmann@example.com", +← traits.email\n', ended.out)
    assert re.search(r'"name": "Mia Hoffmann", +← traits.firstName \+ traits.lastName\n', ended.out)
    assert 'traits.loyalty_tier = "bean"  no row for it' in ended.out
    assert "context" not in ended.out
    assert ended.out.split("\n\ntrack")[0].count("\n") < 24


def test_in_full_event_rows_and_fallbacks_are_shown_too(run_cli: Cli, samples: Path) -> None:
    """A name that is made of two rows is shown as it is sent."""
    ended = run_cli("explain", "--full", "--limit", "1", samples)
    assert ended.out.count("Request as it would be sent") == 1
    assert '"channel": "server"' in ended.out
    assert 'traits.email = "mia.hoffmann@example.com" → customer.email' in ended.out
    assert "userId → customer.source_id" in ended.out
    assert ended.out.count('traits.firstName + traits.lastName → customer.name = "Mia Hoffmann"') == 1
    assert "customer.firstName" not in ended.out


def test_the_request_shown_is_the_one_of_a_dry_run(run_cli: Cli, samples: Path) -> None:
    """Event by event; only what is repeated in the input is not sent a second time."""
    explained = run_cli("explain", "--json", "--limit", "1000", samples).lines
    requests = {line["source"]: line["request"] for line in explained}
    dry = run_cli("replay", "--dry-run", "-q", samples).lines
    assert len(dry) > 70
    for line in dry:
        assert requests[line["source"]] == {key: line[key] for key in ("method", "path", "body")}
    assert all(line["reason"] for line in explained if not line["request"])


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        pytest.param(["--event", "Order *"], [1], id="event"),
        pytest.param(["--user", "u2"], [2], id="user"),
        pytest.param(["--line", "3"], [3], id="line"),
        pytest.param(["--message-id", "m1"], [1], id="message-id"),
        pytest.param(["--limit", "2"], [1, 2], id="limit"),
    ],
)
def test_events_are_picked(run_cli: Cli, options: list[str], lines: list[int]) -> None:
    """By name, customer, line, messageId; a broken line is explained, too."""
    file = write_events(run_cli.folder, ORDER, {"type": "identify", "userId": "u2", "traits": {}}, "{oops")
    found = run_cli("explain", "--json", *options, file).lines
    assert [int(line["source"].rpartition(":")[2]) for line in found] == lines


@pytest.mark.parametrize(
    ("event", "said"),
    [
        pytest.param(
            identify({"birthday": "05/01/1990", "email": "a@b.c"}),
            'traits.birthday = "05/01/1990" → customer.birthdate  it is no date of the calendar',
            id="no date",
        ),
        pytest.param(
            identify({"email": "  "}), 'traits.email = "  " → customer.email  it is blank', id="blank"
        ),
        pytest.param(
            identify({"email": True}),
            "traits.email = true → customer.email  the field holds text only",
            id="no text",
        ),
        pytest.param(
            identify({"name": "A", "firstName": "B"}),
            'traits.firstName = "B" → customer.name  the name has a value already',
            id="name given",
        ),
        pytest.param(identify("a text"), 'traits = "a text"  an object belongs there', id="no object"),
        pytest.param(
            identify({"a": None, "b": None, "c": None, "d": None}),
            "null, which counts as absent: traits.a, traits.b, traits.c and 1 more",
            id="nulls",
        ),
        pytest.param(
            identify(context={"traits": {"email": "a@b.c"}}),
            "those in its context stand in for them (RudderStack)",
            id="stand-in",
        ),
        pytest.param(
            identify(context={"traits": {"email": "a@b.c", "userId": "u2"}}),
            "are not used: they name another userId than the event",
            id="of another",
        ),
    ],
)
def test_what_does_not_arrive_as_it_came_says_why(
    monkeypatch: pytest.MonkeyPatch, event: Event, said: str
) -> None:
    """At the value, in the brief form."""
    monkeypatch.setattr(sys, "stdout", stream := Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    rules = Settings(
        identify=Identify(mapping={"traits.birthday": ["customer.birthdate"]}, extend_default=True)
    )
    explanation_viewer()(explained(Pipeline(rules, Selection()), event))
    assert said in colourless(stream.getvalue())


def test_a_value_that_is_sent_in_another_form_says_how_it_came(run_cli: Cli) -> None:
    """A number becomes text, and a datetime a date; a name of two parts shows only where they stand."""
    (run_cli.folder / "voucherify-sync.yaml").write_text(
        "identify: {extend_default: true, mapping: {traits.born: customer.birthdate, traits.n: customer.metadata.n}}\n"
    )
    traits = {"phone": 49301, "born": "1990-05-01T10:00:00Z", "n": 5, "firstName": "A", "lastName": "B"}
    file = write_events(run_cli.folder, {"type": "identify", "userId": 17, "traits": traits})
    out = run_cli("explain", file).out
    assert re.search(r'"source_id": "17", +← userId, which came as 17\n', out)
    assert re.search(r'"phone": "49301", +← traits.phone, which came as 49301\n', out)
    assert re.search(
        r'"birthdate": "1990-05-01", +← traits.born, which came as "1990-05-01T10:00:00Z"\n', out
    )
    assert re.search(r'"n": 5 +← traits.n\n', out)
    assert re.search(r"← traits.firstName \+ traits.lastName\n", out)


def test_a_value_that_another_row_has_sent_is_not_called_lost(run_cli: Cli) -> None:
    """Unless its field cannot hold it: that is told, whatever else becomes of the value."""
    (run_cli.folder / "voucherify-sync.yaml").write_text(
        "identify:\n  mapping:\n    traits.a: [customer.email, customer.metadata.a]\n    traits.b: customer.email\n"
        "    traits.born: [customer.birthdate, customer.metadata.born]\n"
    )
    traits = {"a": "1", "b": "2", "born": "never"}
    out = run_cli(
        "explain", write_events(run_cli.folder, {"type": "identify", "userId": "u", "traits": traits})
    ).out
    assert "traits.a =" not in out
    assert 'traits.born = "never" → customer.birthdate  it is no date' in out


def test_repaired_text_is_named_where_it_is_sent(run_cli: Cli) -> None:
    """Beside the line at the top, which names all of it."""
    line = b'{"type":"track","event":"Caf\xe9","userId":"u","properties":{"name":"Zo\xeb","x":"\xff"}}\n'
    (run_cli.folder / "latin.ndjson").write_bytes(line)
    out = run_cli("explain", "latin.ndjson").out
    assert re.search(r'"event": "Caf\ufffd", +← event, broken text repaired\n', out)
    assert re.search(r'"name": "Zo\ufffd" +← properties.name, broken text repaired\n', out)


def test_parts_of_an_object_row_name_the_row(run_cli: Cli) -> None:
    """`traits: customer` stands for rows of its own."""
    (run_cli.folder / "voucherify-sync.yaml").write_text("identify:\n  mapping:\n    traits: customer\n")
    file = write_events(run_cli.folder, {"type": "identify", "userId": "u", "traits": {"email": "a@b.c"}})
    assert re.search(r'"email": "a@b.c" +← traits.email\n', run_cli("explain", file).out)
    full = run_cli("explain", "--full", file).out
    assert 'traits.email = "a@b.c" → customer.email  by the row traits: customer' in full
    (row,) = run_cli("explain", "--json", file).lines[0]["rows"]
    assert (row["row"], row["part_of"]) == ("traits.email: customer.email", "traits: customer")


def test_a_skipped_event_says_by_which_rule(run_cli: Cli) -> None:
    """The settings that filter it are named."""
    (run_cli.folder / "voucherify-sync.yaml").write_text("track:\n  events_filter: [Signed Up]\n")
    ended = run_cli("explain", write_events(run_cli.folder, ORDER))
    assert "skipped: name_filtered (track.events_filter does not list its name)" in ended.out
    assert "Add the name to `track.events_filter`" in ended.out
    assert "Request" not in ended.out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        pytest.param(["--event", "Order Complete"], 2, 'did you mean "Order Completed" (1)?', id="near-miss"),
        pytest.param(["--line", "9"], 2, "No event matches (1 read)", id="no-such-line"),
        pytest.param(
            ["--where", "properties.totl > 4"],
            2,
            "--where: the condition holds of none of 1 event; none of them has properties.totl.",
            id="a-condition-that-never-holds",
        ),
        pytest.param(
            ["--where", 'event = "order completed"'],
            2,
            '--where: none of the 1 track event read is named "order completed"; did you mean "Order Completed" (1)?',
            id="a-name-in-a-condition",
        ),
        pytest.param(["--json", "--curl"], 2, "Choose one", id="two-formats"),
        pytest.param(["--full", "--curl"], 2, "Choose one", id="curl-is-brief"),
    ],
)
def test_what_cannot_be_shown_is_told(run_cli: Cli, options: list[str], code: int, said: str) -> None:
    """With what to do about it."""
    ended = run_cli("explain", *options, write_events(run_cli.folder, ORDER))
    assert ended.code == code
    assert said in ended.err
    assert not ended.out


def test_json_holds_everything_with_and_without_full(run_cli: Cli) -> None:
    """It is complete anyway."""
    file = write_events(run_cli.folder, ORDER)
    assert run_cli("explain", "--full", "--json", file) == run_cli("explain", "--json", file)


def test_a_line_needs_one_file(run_cli: Cli, samples: Path) -> None:
    """Otherwise nobody knows which."""
    ended = run_cli("explain", "--line", "1", samples)
    assert ended.code == 2
    assert "Name that file" in ended.err


def test_no_events_are_no_error(run_cli: Cli) -> None:
    """As in a replay."""
    ended = run_cli("explain", "-", stdin="")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.endswith(
        "standard input was empty: the command in front of the pipe has printed nothing.\nNo events were read.\n"
    )


def test_a_wide_terminal_shows_event_and_request_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 120 columns on."""
    event = identify({"email": "a@b.c"})
    wide = drawn(monkeypatch, 120, event, in_full=True)
    assert re.search(r"^Event +Mapping rows that matched", wide, re.MULTILINE)
    assert max(map(len, wide.splitlines())) <= 120
    assert re.search(r"^Event$", drawn(monkeypatch, 119, event, in_full=True), re.MULTILINE)


def test_a_narrow_terminal_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty columns, nothing beyond them, nothing lost."""
    event = identify({"email": "a@b.c", "a_long_name_of_a_trait": "x" * 60})
    assert max(map(len, drawn(monkeypatch, 40, event).splitlines())) <= 40
    text = drawn(monkeypatch, 40, event, in_full=True)
    assert max(map(len, text.splitlines())) <= 40
    assert "x" * 60 in re.sub(r"\s", "", text)


def test_colours_tell_what_is_mapped_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is used where NO_COLOR asks for none."""
    assert "\x1b[32m" in drawn(monkeypatch, 80, identify({"email": "a@b.c"}), colours=True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", stream := Terminal())
    explanation_viewer()(explained(Pipeline(Settings(), Selection()), identify({"email": "a@b.c"})))
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", stream.getvalue())


@pytest.mark.parametrize("in_full", [False, True], ids=["brief", "in full"])
@pytest.mark.parametrize("columns", [40, 130])
def test_hostile_data_does_nothing_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int, in_full: bool
) -> None:
    """In every field, names of keys included."""
    event = track(
        {HOSTILE: HOSTILE, "email": HOSTILE, "x": {HOSTILE: [HOSTILE]}},
        event=HOSTILE,
        userId=HOSTILE,
        context={HOSTILE: HOSTILE, "traits": {HOSTILE: HOSTILE}},
    )
    text = drawn(monkeypatch, columns, event, in_full=in_full)
    assert is_harmless(text)
    assert "[red]" in text
    assert ":smiley:" in text


@pytest.mark.parametrize(
    "options", [[], ["--full"], ["--json"], ["--curl"]], ids=["brief", "full", "json", "curl"]
)
def test_hostile_data_does_nothing_in_a_pipe(run_cli: Cli, options: list[str]) -> None:
    """Nor in a log that is looked at later."""
    event = {**ORDER, "event": HOSTILE, "userId": HOSTILE, "properties": {HOSTILE: HOSTILE, "email": HOSTILE}}
    ended = run_cli(
        "explain", *options, write_events(run_cli.folder, event, f"no event {HOSTILE}".replace("\n", " "))
    )
    assert ended.code == 0
    assert is_harmless(ended.out)
    assert is_harmless(ended.err)


@pytest.mark.parametrize("columns", [None, 40, 130], ids=str)
def test_hostile_data_does_nothing_in_comparisons_and_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    """In a pipe and on terminals: names of fields and events, values, places."""
    hostile = {HOSTILE: HOSTILE, "email": HOSTILE, "x": {HOSTILE: [HOSTILE]}}
    event = {**ORDER, "event": HOSTILE, "properties": hostile}
    file = write_events(tmp_path, event, {**ORDER, "type": "identify", "traits": hostile})
    file = file.rename(tmp_path / "odd \x1b[31m\u202e.ndjson")
    after = Settings(
        identify=Identify(unmapped_traits="metadata", add={f'customer.metadata["{"x" * 99}"]': HOSTILE}),
        track=Track(unmapped_properties="metadata", events_exclude=[HOSTILE]),
    )
    found = api.changes(api.ExplainOptions(source=file, settings=after, against=Settings()))
    state = api.final_state(api.FinalOptions(source=file, settings=after, customer="u1"))
    report = api.compare(api.CoverageOptions(source=file, settings=after, against=Settings()))
    blocks = [
        comparison.heading(file, file),
        *map(comparison.change_block, found),
        *comparison.comparison_blocks(report),
        *cli_module("explanation").final_blocks(state, is_short=columns is not None),
    ]
    stream = io.StringIO() if columns is None else terminal_of(monkeypatch, columns)
    cli_module("render").show(stream, blocks)
    text = colourless(stream.getvalue())
    assert is_harmless(text)
    assert "[red]" in text
    assert columns is None or max(map(len, text.splitlines())) <= columns


@settings(max_examples=30)
@given(value=st.one_of(st.just(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=30)))
def test_a_shell_reads_the_curl_command_as_it_is_meant(value: str) -> None:
    """The words of the command, given to a real shell, hold the request and nothing is run or expanded."""
    explanation = explained(
        Pipeline(Settings(), Selection()), track({"email": value, "x": 1}, event=f"E{value}")
    )
    text = curl(explanation, Settings().api)
    printer = 'curl() { printf "%s\\0" "$@"; }\n'
    done = subprocess.run(
        ["sh", "-c", printer + text],
        capture_output=True,
        check=True,
        env={"VOUCHERIFY_API_KEY": "the key", "VOUCHERIFY_API_TOKEN": "the token"},
    )
    words = done.stdout.decode().split("\0")
    assert done.stderr == b""
    assert words[:3] == ["--request", "POST", "https://api.voucherify.io/v1/events"]
    assert words[3:9] == [
        "--header",
        "X-App-Id: the key",
        "--header",
        "X-App-Token: the token",
        "--header",
        "Content-Type: application/json",
    ]
    assert words[9] == "--data-raw"
    request = explanation.request
    assert request is not None
    assert json.loads(words[10]) == json.loads(request.payload)


def test_a_curl_command_never_holds_a_secret() -> None:
    """Variables of the settings are named; what stands in the file itself is not shown."""
    explanation = explained(Pipeline(Settings(), Selection()), identify({}))
    named = curl(explanation, Api(key=Secret("${SHOP_KEY}"), token=Secret("s3cr3t"), version="v2018"))
    assert '"X-App-Id: $SHOP_KEY"' in named
    assert '"X-App-Token: $VOUCHERIFY_API_TOKEN"' in named
    assert "'X-Voucherify-API-Version: v2018'" in named
    assert "s3cr3t" not in named


def test_a_skipped_event_is_a_comment_among_curl_commands(run_cli: Cli) -> None:
    """The output stays a script."""
    ended = run_cli("explain", "--curl", write_events(run_cli.folder, {"type": "page", "userId": "u"}))
    assert re.fullmatch(r"# \S+:1: skipped, type_page\n", ended.out)


@given(st.text(st.characters(codec="utf-8")))
def test_harmless_json_decodes_to_the_same(text: str) -> None:
    """Escapes change how it is written, not what it says."""
    encoded = harmless(json.dumps([text], ensure_ascii=False))
    assert json.loads(encoded) == [text]
    assert encoded.isprintable()


def test_numbers_come_out_exactly(run_cli: Cli) -> None:
    """Also those that other tools would round."""
    file = write_events(
        run_cli.folder, '{"type":"track","event":"E","userId":"u","properties":{"n":12345678901234567890123}}'
    )
    (run_cli.folder / "voucherify-sync.yaml").write_text("track:\n  mapping:\n    properties.n: metadata.n\n")
    assert "12345678901234567890123" in run_cli("explain", "--curl", file).out
    assert run_cli("explain", "--json", file).out.count("12345678901234567890123") == 3


@pytest.mark.parametrize("lang", ["C", "en_US.ISO-8859-1"])
def test_any_locale_will_do(run_cli: Cli, samples: Path, lang: str) -> None:
    """What the encoding does not know becomes an escape."""
    env = {"LANG": lang, "LC_ALL": lang, "PYTHONIOENCODING": "ascii" if lang == "C" else "latin-1"}
    done = subprocess.run(
        run_cli.command("explain", "--limit", "50", samples),
        capture_output=True,
        env={**run_cli.env, **env},
        check=True,
    )
    assert b"<- traits.email" in done.stdout
    assert not done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(run_cli: Cli, samples: Path) -> None:
    """`| head` ends it in order."""
    text = " ".join(run_cli.command("explain", "--limit", "1000", samples)) + " | head -n 1"
    done = subprocess.run(text, shell=True, capture_output=True, env=run_cli.env, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_first_event_is_shown_before_the_input_ends(run_cli: Cli) -> None:
    """A pipe that goes on is explained as it comes."""
    process = run_cli.start("explain", "--limit", "2", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(ORDER).encode() + b"\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"track")
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()


def test_help_begins_with_examples_and_is_light(run_cli: Cli) -> None:
    """Examples first; nothing that `--help` has no need of is imported."""
    ended = run_cli("explain", "--help")
    assert ended.out.count("\n    voucherify-sync explain ") == 3
    code = """
import sys
from importlib.metadata import entry_points
sys.argv = ["voucherify-sync", "explain", "--help"]
main = next(iter(entry_points(group="console_scripts", name="voucherify-sync"))).load()
try:
    main()
finally:
    print([name for name in ("requests", "rich", "yaml", "jinja2") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=run_cli.env)
    assert done.stdout.decode().splitlines()[-1] == "[]"


def after_and_before(folder: Path) -> list[str | Path]:
    """Write settings and earlier ones; return the options that compare them."""
    (folder / "voucherify-sync.yaml").write_text("track:\n  mapping:\n    properties.total: metadata.total\n")
    (folder / "before.yaml").write_text("track:\n  mapping:\n    properties.total: metadata.value\n")
    return ["--against", "before.yaml"]


def test_what_changes_against_other_settings_is_shown_as_a_diff(run_cli: Cli) -> None:
    """Which side is which stands above; events of which nothing changes are left out."""
    options = after_and_before(run_cli.folder)
    file = write_events(run_cli.folder, {"type": "identify", "userId": "u"}, ORDER)
    ended = run_cli("explain", *options, file)
    assert ended.out == (
        "--- before.yaml\n+++ voucherify-sync.yaml\n\n"
        f'track "Order Completed" of u1\n{file}:2\n'
        "- metadata.value = 9.5\n+ metadata.total = 9.5\n"
    )
    assert (ended.code, ended.err) == (0, "1 of 2 events changes.\n")
    (line,) = run_cli("explain", "--json", *options, file).lines
    assert line["changes"] == [
        {"path": "metadata.value", "change": "removed", "before": 9.5},
        {"path": "metadata.total", "change": "added", "after": 9.5},
    ]
    assert run_cli("explain", *options, "--limit", "1", file).err.startswith(
        "1 changed request shown. --limit N"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Stopped after 3 events: --limit N shows more, --type and --event choose, --full"),
        (["--json"], "Stopped after 3 events: --limit N shows more, --type and --event choose.\n"),
        (["--limit", "3", "--json"], ""),
        (["--type", "Page", "--json"], ""),
    ],
    ids=["text", "json", "named", "fewer"],
)
def test_the_default_limit_is_told_where_it_is_reached(run_cli: Cli, options: list[str], said: str) -> None:
    """A pipe whose limit was named gets no word of it."""
    calls = [{"type": kind, "userId": "u"} for kind in ("page", "identify", "page", "identify", "identify")]
    ended = run_cli("explain", *options, write_events(run_cli.folder, *calls))
    assert ended.err.startswith(said) if said else ended.err == ""
    assert ended.code == 0


def test_types_pick_skipped_events_too(run_cli: Cli) -> None:
    """An event that the settings leave out is shown with its reason; no event of the types is an error."""
    calls = [{"type": kind, "userId": "u"} for kind in ("page", "identify", "track", "page")]
    file = write_events(run_cli.folder, *calls)
    lines = run_cli("explain", "--type", "page", "--type", "TRACK", "--json", file).lines
    assert [(each["type"], each["reason"]) for each in lines] == [
        ("page", "type_page"),
        ("track", None),
        ("page", "type_page"),
    ]
    ended = run_cli("explain", "--type", "group", file)
    assert (ended.code, ended.err.splitlines()[0]) == (2, "Error: No event matches (4 read).")


def test_nothing_that_changes_is_said(run_cli: Cli) -> None:
    """That is no error; events that nothing picks are one."""
    options, file = (
        after_and_before(run_cli.folder),
        write_events(run_cli.folder, {**ORDER, "properties": {}}),
    )
    ended = run_cli("explain", *options, file)
    assert (ended.code, ended.out, ended.err) == (0, "", "None of 1 event changes.\n")
    assert run_cli("explain", *options, "--user", "nobody", file).code == 2


def test_an_event_that_is_sent_under_one_side_only_says_so(run_cli: Cli) -> None:
    """With the rule."""
    (run_cli.folder / "before.yaml").write_text("track: {events_filter: [Other]}\n")
    ended = run_cli("explain", "--against", "before.yaml", write_events(run_cli.folder, ORDER))
    assert "+++ the defaults, as there is no settings file\n" in ended.out
    assert "- skipped: name_filtered (track.events_filter does not list its name)\n+ sent\n" in ended.out


def test_the_final_state_of_a_customer_names_the_events(run_cli: Cli, samples: Path) -> None:
    """Field by field, and the custom events by name."""
    ended = run_cli("explain", "--final", "usr_1001", samples)
    assert ended.code == 0
    assert re.search(
        r'^  email +"mia.hk@example.com" +\S+wallet-app-2025-01.ndjson:13 +2025-01-12 10:46:00Z$',
        ended.out,
        re.MULTILINE,
    )
    assert re.search(
        r'^  "Order Completed" +2  2024-11-12 10:05:27Z  2025-01-12 10:45:21Z', ended.out, re.MULTILINE
    )
    (state,) = run_cli("explain", "--final", "usr_1001", "--json", samples).lines
    assert state["source_id"] == "usr_1001"
    unknown = run_cli("explain", "--final", "usr_10011", samples)
    assert unknown.code == 2
    assert 'did you mean "usr_1001"' in unknown.err


@pytest.mark.parametrize(
    "options",
    [
        ["--final", "u1", "--watch"],
        ["--final", "u1", "--against", "x.yaml"],
        ["--watch", "--against", "x.yaml"],
        ["--final", "u1", "--event", "A"],
        ["--final", "u1", "--user", "u1"],
        ["--final", "u1", "--limit", "3"],
        ["--final", "u1", "--full"],
        ["--final", "u1", "--curl"],
        ["--watch", "--json"],
        ["--watch", "--curl"],
        ["--against", "x.yaml", "--full"],
        ["--against", "x.yaml", "--curl"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_together_are_refused(run_cli: Cli, options: list[str]) -> None:
    """Before anything is read; both are named."""
    ended = run_cli("explain", *options, "nothere.ndjson")
    assert ended.code == 2
    assert "cannot be combined" in ended.err
    assert "nothere" not in ended.err


class Watching:
    """`explain --watch` on a pipe, with a settings file that is edited meanwhile."""

    def __init__(self, cli: Cli, *options: str | Path, text: str = "", **streams: Any) -> None:
        self.file = cli.folder / "voucherify-sync.yaml"
        self.file.write_text(text)
        self.process = cli.start("explain", "--watch", *options, **streams)
        self.seen = ""

    def until(self, text: str) -> str:
        """Read until a line holds the text; return what was read since the last time."""
        assert self.process.stdout is not None
        read, guard = "", threading.Timer(HANG_S, self.process.kill)
        guard.start()
        try:
            while text not in read:
                line = self.process.stdout.readline().decode()
                assert line, f"it never said {text!r}: {read}"
                read += line
        finally:
            guard.cancel()
        return read

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        for stream in (self.process.stdout, self.process.stderr, self.process.stdin):
            if stream is not None:
                stream.close()
        return code


def test_a_watch_shows_the_events_again_with_what_changed(run_cli: Cli) -> None:
    """Each time the file is saved, by whatever an editor does; mistakes are shown meanwhile."""
    watch = Watching(run_cli, write_events(run_cli.folder, ORDER), text=ROW.format("total"))
    assert "Changed" not in watch.until("properties.email =")
    other = run_cli.folder / "saved.yaml"
    other.write_text(ROW.format("amount"))
    other.rename(watch.file)  # as editors do that write a new file
    shown = watch.until("properties.email =")
    assert ": 1 of 1 event changed\n" in shown
    assert "Changed since the last save\n- metadata.total = 9.5\n+ metadata.amount = 9.5\n" in shown
    watch.file.write_text("track: [oops\n")
    assert "voucherify-sync.yaml:1:8: track:" in watch.until("Ctrl-C ends this")
    watch.file.write_text("track: {events_filter: [Other]}\n")
    assert "Changed since the last save\n- sent\n" in watch.until("+ skipped: name_filtered")
    watch.file.unlink()
    assert "there is no such file, so the defaults apply" in watch.until("properties.total =")
    assert watch.end() == 130


def test_a_default_that_a_later_filter_refuses_is_shown_by_the_path_of_its_row(run_cli: Cli) -> None:
    """The event holds nothing there, so nothing of the event is shown as the value."""
    (run_cli.folder / "s.yaml").write_text(
        "identify:\n  extend_default: true\n  mapping:\n"
        "    traits.x: {to: customer.metadata.x, apply: \"default: 'abc' | to_number\"}\n"
        "    traits.y: {to: customer.metadata.y, apply: \"default: 'abc'\"}\n"
    )
    events = write_events(run_cli.folder, {"type": "identify", "userId": "u-7", "traits": {}})
    brief, full, told = (
        run_cli("explain", "-c", "s.yaml", *mode, events).out for mode in ([], ["--full"], ["--json"])
    )
    assert "  traits.x = null → customer.metadata.x  a filter of the row does not take it\n" in brief
    assert "  traits.x | default: 'abc' | to_number = null → customer.metadata.x  not sent" in full
    assert "  traits.y | default: 'abc' = \"abc\" → customer.metadata.y\n" in full
    refused, filled = json.loads(told)["rows"]
    assert (refused["source"], refused["value"], refused["not_sent"]) == ("", None, "apply_failed")
    assert (filled["source"], filled["value"], filled["not_sent"]) == ("", "abc", None)


@pytest.mark.parametrize(
    ("text", "giver", "maker"),
    [
        ("identify: {set: {customer.firstName: Ann}}", "constant of the settings", ""),
        (
            "identify: {mapping: {traits.first: {to: customer.firstName, apply: \"default: 'Ann'\"}}}",
            "row traits.first",
            " (default: 'Ann')",
        ),
    ],
    ids=["set", "default"],
)
def test_a_name_made_of_the_settings_alone_is_no_rename(
    run_cli: Cli, text: str, giver: str, maker: str
) -> None:
    """Only the name of an event is renamed. The name of the customer is told once."""
    (run_cli.folder / "s.yaml").write_text(text)
    events = write_events(run_cli.folder, {"type": "identify", "userId": "u-7", "traits": {}})
    brief, full = (run_cli("explain", "-c", "s.yaml", *mode, events).out for mode in ([], ["--full"]))
    assert re.search(rf'"name": "Ann" +← {re.escape(giver + maker)}\n', brief)
    assert full.count(f'  {giver} → customer.name = "Ann"\n') == 1
    assert "rename" not in brief + full


def test_a_watch_marks_what_changed_in_set_conditions_and_entries(run_cli: Cli) -> None:
    """The fields of the request, and by which entry and conditions the event goes now."""
    watch = Watching(run_cli, write_events(run_cli.folder, ORDER), text="{}\n")
    watch.until("properties.total =")
    watch.file.write_text(
        'track:\n  where: userId != null\n  events:\n    "Order *":\n'
        "      set: {metadata.sum: {'@path': $.properties.total}}\n      extend_default: true\n"
    )
    shown = watch.until('"sum":')
    assert ": 1 of 1 event changed\n" in shown
    assert (
        "Changed since the last save\n+ entry of track.events: Order *\n+ where: userId != null: true\n"
        in shown
    )
    assert "+ metadata.sum = 9.5\n" in shown
    assert watch.end() == 130


ROW = "track:\n  mapping:\n    properties.total: metadata.{}\n"


@pytest.mark.parametrize("mode", [["--watch"], []], ids=["watch", "once"])
def test_what_is_doubtful_in_the_settings_is_told(run_cli: Cli, mode: list[str]) -> None:
    """It is what people meet with their first row; programs that read the output are not bothered."""
    file, said = write_events(run_cli.folder, ORDER), "track.mapping replaces the default table"
    if mode:
        watch = Watching(run_cli, file, text=ROW.format("total"))
        assert said in watch.until("properties.email =")
        watch.file.write_text(ROW.format("total").replace("properties", "props"))
        assert "voucherify-sync.yaml:3:5: track.mapping: 'props.total'" in watch.until("properties.email =")
        watch.end()
        return
    (run_cli.folder / "voucherify-sync.yaml").write_text(ROW.format("total"))
    assert said in run_cli("explain", file).err
    assert run_cli("explain", "--json", file).err == ""


def test_an_interrupted_look_at_a_customer_shows_nothing(run_cli: Cli) -> None:
    """Half of an archive would give a wrong answer."""
    process = run_cli.start("explain", "--final", "u1", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(
        b"\n".join([json.dumps(ORDER).encode()] * 10_000)
    )  # more than a pipe holds: it is reading
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert b"so nothing is shown" in err


def test_a_watch_begins_with_mistakes_too(run_cli: Cli) -> None:
    """The events are picked once the settings are right."""
    file = write_events(run_cli.folder, ORDER)
    watch = Watching(run_cli, file, text="trak: {}\n")
    assert "did you mean track" in watch.until("Ctrl-C ends this")
    watch.file.unlink()
    assert "the defaults apply" in watch.until("properties.total =")
    watch.file.write_text(ROW.format("total"))
    assert '"total": 9.5' in watch.until("properties.email =")
    assert watch.end(signal.SIGTERM) == 143


def test_a_watch_waits_for_a_settings_file_that_is_named(run_cli: Cli) -> None:
    """It is not there yet, or an editor has just moved it away."""
    watch = Watching(run_cli, "-c", "later.yaml", write_events(run_cli.folder, ORDER))
    said = watch.until("Ctrl-C ends this")
    assert "later.yaml: cannot be read" in said
    assert "defaults" not in said
    (run_cli.folder / "later.yaml").write_text(ROW.format("total"))
    assert '"total": 9.5' in watch.until("properties.email =")
    assert watch.end() == 130


def test_a_pipe_is_read_once_and_its_events_are_kept(run_cli: Cli) -> None:
    """It cannot be read again."""
    watch = Watching(run_cli, "-", text=ROW.format("total"), stdin=subprocess.PIPE)
    assert watch.process.stdin is not None
    watch.process.stdin.write(json.dumps(ORDER).encode() + b"\n")
    watch.process.stdin.close()
    watch.until("properties.email =")
    watch.file.write_text(ROW.format("amount"))
    assert "+ metadata.amount = 9.5" in watch.until("properties.email =")
    assert watch.end() == 130


def test_a_watch_ends_when_its_reader_has_gone(run_cli: Cli) -> None:
    """It does not wait for the next save."""
    watch = Watching(run_cli, write_events(run_cli.folder, ORDER))
    watch.until("Ctrl-C ends this")
    assert watch.process.stdout is not None
    watch.process.stdout.close()
    assert watch.process.wait(60) == 0
    assert watch.end() == 0


def test_a_watch_of_no_event_says_so(run_cli: Cli) -> None:
    """As without --watch; sources that are not there end it, too."""
    file = write_events(run_cli.folder, ORDER)
    assert "No event matches" in run_cli("explain", "--watch", "--event", "Other", file).err
    assert run_cli("explain", "--watch", "nothere.ndjson").code == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        pytest.param(["explain", "--event", "Other"], 2, id="nothing-matches"),
        pytest.param(["explain", "--limit", "9999"], 3, id="brief"),
        pytest.param(["explain", "--against", "same.yaml"], 3, id="against"),
        pytest.param(["explain", "--final", "u1"], 3, id="final"),
        pytest.param(["coverage"], 3, id="coverage"),
        pytest.param(["init", "-", "--from"], 0, id="init"),
    ],
)
def test_a_damaged_source_is_told(run_cli: Cli, arguments: list[str], exit_code: int) -> None:
    """What is said of events is true of those that could be read only."""
    (run_cli.folder / "same.yaml").write_text("{}\n")
    lines = b"".join(
        b'{"type": "identify", "userId": "u%d", "traits": {"n": %d}}\n' % (number, number * 7919)
        for number in range(500)
    )
    packed = gzip.compress(lines)
    (run_cli.folder / "cut.gz").write_bytes(packed[: len(packed) // 2])
    ended = run_cli(*arguments, "cut.gz")
    assert "Warning: cut.gz is damaged: cut off at byte" in ended.err
    assert ended.code == exit_code


def test_the_final_state_of_no_events_is_no_mistake(run_cli: Cli, tmp_path: Path) -> None:
    """As explain without --final."""
    for options in ([], ["--final", "u1"]):
        ended = run_cli("explain", *options, "/dev/null")
        assert (ended.code, ended.err) == (0, "No events were read.\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["events.ndjson"], "events.ndjson is a source", id="a source"),
        pytest.param(["--json", "events.ndjson"], "--json is an option", id="an option"),
    ],
)
def test_final_without_an_id_says_what_is_missing(run_cli: Cli, words: list[str], said: str) -> None:
    """It would take the next word for the id, and call something else missing."""
    (run_cli.folder / "events.ndjson").write_text("")
    ended = run_cli("explain", "--final", *words)
    assert (ended.code, ended.out) == (2, "")
    assert f"--final takes the id of a customer, but {said}." in ended.err
