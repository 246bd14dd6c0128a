"""`coverage` shows what a mapping carries: as tables, as lines, as JSON, and as a gate for a pipeline."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, Ended
from support.cli_modules import cli_module
from support.replays import write_events
from support.segment_events import event_of
from support.settings_text import pasted
from support.terminal import colourless, is_harmless, terminal_of

from voucherify_sync.preview.coverage import Coverage
from voucherify_sync.preview.pasted_settings import pasted_yaml
from voucherify_sync.settings import Settings
from voucherify_sync.sources.reader import SourceFacts

view = cli_module("coverage")
outputs = cli_module("outputs")

HOSTILE = "'\"`$(id)${HOME} \x1b[31m\u202e</script><script>[red]:smiley:\n\x00\x9b2J\\ \U000e0041"
IDENTIFY: dict[str, Any] = {"type": "identify", "userId": "u1", "traits": {"email": "a@b.c", "plan": "pro"}}


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, *events: dict[str, Any]) -> str:
    """Return what is drawn on a terminal of so many columns, with its colours."""
    monkeypatch.setattr(sys, "stdout", stream := terminal_of(monkeypatch, columns))
    coverage = Coverage(Settings())
    coverage.add(map(event_of, events))
    result = coverage.report()
    rows = {name: section.proposal for name, section in result.sections.items()}
    view.show_coverage(result, pasted_yaml(rows, {}, "s.yaml"), "s.yaml", is_new=True)
    return stream.getvalue()


def test_paths_destinations_and_rows_are_shown(run_cli: Cli, samples: Path) -> None:
    """All on stdout, aligned where it is no terminal; the first line says what matters."""
    ended = run_cli("coverage", samples)
    assert ended.code == 0
    first, second, *_ = ended.out.splitlines()
    assert first == (
        "27.4 % of 321 values mapped; most often not: properties.currency 23, properties.order_id 17, "
        "properties.total 14"
    )
    assert second == "87 records read: 80 make a request, repeated ones included, 7 skipped"
    assert "  3  page.disabled is true: no page event is sent [type_page]\n" in ended.out
    assert re.search(
        r"^ +traits\.email +16 +100 % +→ customer\.email +string +\"mia", ended.out, re.MULTILINE
    )
    assert re.search(
        r"^ +traits\.loyalty_tier +7 +0 % +not mapped +string +\"bean\"", ended.out, re.MULTILINE
    )
    assert re.search(r"^ +customer\.source_id +100 % +string$", ended.out, re.MULTILINE)
    assert "properties.name: customer.name  matched in 2 events" in ended.out


def test_what_is_lost_most_often_comes_first(run_cli: Cli) -> None:
    """A value that arrives in every event matters less than one that is lost in one."""
    file = write_events(
        run_cli.folder, IDENTIFY, {**IDENTIFY, "traits": {"email": "x@b.c", "a": 1, "z": None}}
    )
    table = run_cli("coverage", file).out.partition("values  mapped\n")[2].partition("\n\n")[0]
    paths = [line.split()[0] for line in table.splitlines()]
    assert paths == ["traits.a", "traits.plan", "traits.email", "traits.z"]


def block_of(ended: Ended) -> str:
    """Return the rows that are printed, without their title."""
    return ended.out.partition("# Rows that map")[2].partition("\n")[2]


def test_the_rows_shown_are_a_settings_file_where_there_is_none(run_cli: Cli, samples: Path) -> None:
    """From the comment on, with which nearly all is mapped, and no customer gets the name of a product."""
    (run_cli.folder / "voucherify-sync.yaml").write_text(block_of(run_cli("coverage", samples)))
    assert run_cli("check").code == 0
    (after,) = run_cli("coverage", "--json", samples).lines
    assert after["values"]["share"] > 0.99
    assert "give customer.name" not in run_cli("plan", samples).out
    assert run_cli("coverage", samples).out.count("# Rows that map") == 0


def test_the_rows_shown_can_be_pasted_into_the_file_of_init(run_cli: Cli, samples: Path) -> None:
    """Each part below the line that it names: no key stands there twice, and the fields are mapped."""
    assert run_cli("init").code == 0
    file = run_cli.folder / "voucherify-sync.yaml"
    file.write_text(pasted(file.read_text(), run_cli("coverage", samples).out))
    assert run_cli("check").code == 0
    (after,) = run_cli("coverage", "--json", samples).lines
    assert after["values"]["share"] > 0.99


def test_init_and_coverage_propose_the_same_rows(run_cli: Cli, samples: Path) -> None:
    """Both take them from one place, so that after the one the other has nothing to add."""
    block = block_of(run_cli("coverage", samples))
    assert run_cli("init", "--from", samples).code == 0
    text = (run_cli.folder / "voucherify-sync.yaml").read_text()
    assert all(line in text for line in block.splitlines() if line.startswith("    "))
    assert "# Rows that map" not in run_cli("coverage", samples).out


def test_what_is_lost_is_what_plan_counts(run_cli: Cli, samples: Path) -> None:
    """And what the file of `init` counts: one number for a property, wherever one reads it."""
    (found,) = run_cli("coverage", "--json", samples).lines
    lost = {
        path["path"]: sum(path["lost"].values()) - path["lost"].get("null", 0)
        for kind in ("identify", "track")
        for path in found[kind]["paths"]
    }
    (planned,) = run_cli("plan", "--json", samples).lines
    counted = {
        path: times
        for kind in ("identify", "track")
        for path, times in planned["mapping"][kind]["unmapped"].items()
    }
    assert counted["properties.coupon"] == 4
    assert {path: times for path, times in counted.items() if path != "properties.answers"} == {
        path: times for path, times in lost.items() if times and path in counted
    }
    run_cli("init", "--from", samples)
    text = (run_cli.folder / "voucherify-sync.yaml").read_text()
    assert re.search(r"^    properties.coupon: metadata.coupon +# 4 of 57$", text, re.MULTILINE)


def test_what_comes_next_leads_on(run_cli: Cli, samples: Path) -> None:
    """To an event whose the is not mapped most lost value, and to the check of what was pasted; on stderr."""
    settings = run_cli.folder / "my settings.yaml"
    settings.write_text("track:\n")
    ended = run_cli("coverage", "-c", settings, samples)
    commands = [line.split("  ")[1] for line in ended.err.splitlines() if "voucherify-sync" in line[:18]]
    assert [command.split()[1] for command in commands] == ["explain", "check", "coverage"]
    assert commands[0].split()[2] == "--watch"
    told = run_cli(*[word for word in shlex.split(commands[0])[1:] if word != "--watch"])
    assert (told.code, '"currency"' in told.out or "properties.currency" in told.out) == (0, True)
    assert run_cli(*shlex.split(commands[1])[1:]).code == 0


def test_json_is_one_object(run_cli: Cli, samples: Path) -> None:
    """With all that was counted; the numbers are those of a dry run."""
    (result,) = run_cli("coverage", "--json", samples).lines
    report = run_cli.folder / "report.json"
    run_cli("replay", "--dry-run", "-q", "--report", report, samples)
    told = json.loads(report.read_text())
    assert result["events"]["read"] == told["events"]["read"]
    reasons = {reason: facts["count"] for reason, facts in told["reasons"]["skipped"].items()}
    assert result["events"]["skipped"] == reasons


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        pytest.param("50", 0, id="met"),
        pytest.param("50.1", 3, id="missed"),
        pytest.param("0", 0, id="none"),
        pytest.param("100", 3, id="all"),
    ],
)
def test_a_share_below_the_gate_ends_in_3(run_cli: Cli, gate: str, code: int) -> None:
    """The share is compared exactly, not as it is shown."""
    ended = run_cli("coverage", "--fail-under", gate, write_events(run_cli.folder, IDENTIFY))
    assert ended.code == code
    told = "" if code == 0 else f"50.0 % of 2 values are mapped, which is less than {gate} %\n"
    assert ended.err.partition("\nNext:")[0] == told


def test_a_gate_without_any_value_is_not_met(run_cli: Cli) -> None:
    """An empty archive proves nothing."""
    ended = run_cli("coverage", "--fail-under", "1", "-", stdin="")
    assert ended.code == 3
    assert ended.out == "No events were read.\n"


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        pytest.param(["--type", "identify"], {"identify": 1, "track": 0}, id="type"),
        pytest.param(["--event", "Order *"], {"identify": 0, "track": 1}, id="event"),
        pytest.param(["--limit", "1"], {"identify": 1, "track": 0}, id="limit"),
    ],
)
def test_events_are_picked_as_in_a_replay(run_cli: Cli, options: list[str], counted: dict[str, int]) -> None:
    """By type, by name, or the first ones."""
    file = write_events(
        run_cli.folder,
        IDENTIFY,
        {"type": "track", "event": "Order Completed", "userId": "u"},
        {"type": "track", "event": "Signed Up", "userId": "u"},
    )
    (result,) = run_cli("coverage", "--json", *options, file).lines
    assert {kind: result[kind]["events"] for kind in ("identify", "track")} == counted


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="whole"),
        pytest.param(["--limit", "30"], id="limit"),
        pytest.param(["--event", "Order *"], id="event"),
    ],
)
def test_several_processes_change_nothing(run_cli: Cli, samples: Path, options: list[str]) -> None:
    """Nor does it matter which file is whose."""
    told = run_cli("coverage", "--json", "--jobs", "1", *options, samples)
    run_cli.constants["voucherify_sync.run.options.MIN_SHARED_BYTES"] = 1
    assert run_cli("coverage", "--json", "--jobs", "2", *options, samples) == told
    assert told.code == 0


def test_a_pipe_is_counted_by_one_process(run_cli: Cli, samples: Path) -> None:
    """Nobody knows whether it is long; the result is the same."""
    run_cli.constants["voucherify_sync.run.options.MIN_SHARED_BYTES"] = 1
    events = "".join(file.read_text() for file in sorted(samples.glob("*.ndjson"))) or json.dumps(IDENTIFY)
    one, two = (run_cli("coverage", "--json", "--jobs", jobs, "-", stdin=events) for jobs in ("1", "2"))
    assert one == two


def test_a_row_that_finds_nothing_is_shown(run_cli: Cli, samples: Path) -> None:
    """With what is meant."""
    settings = run_cli.folder / "mine.yaml"
    settings.write_text("identify:\n  mapping:\n    traits.loyaltyTier: customer.metadata.tier\n")
    ended = run_cli("coverage", "-c", settings, samples)
    assert "traits.loyaltyTier: customer.metadata.tier  did you mean traits.loyalty_tier?" in ended.out


def test_what_init_writes_is_no_list_of_mistakes(run_cli: Cli) -> None:
    """It keeps rows of the default table that this archive does not need, and no row means a value that arrives."""
    (run_cli.folder / "e.ndjson").write_text(
        json.dumps(
            {
                "type": "track",
                "userId": "u",
                "event": "E",
                "messageId": "m",
                "timestamp": "2025-01-01T00:00:00Z",
            }
            | {"properties": {"name": "Shirt", "total": 1}}
        )
    )
    assert run_cli("init", "--from", "e.ndjson").code == 0
    shown = run_cli("coverage", "e.ndjson").out
    idle = shown.partition("Rows that matched nothing\n")[2].splitlines()
    assert len(idle) == 1
    assert re.fullmatch(r"  \d+ rows that the default table has, too", idle[0])


def test_rows_of_the_default_table_of_pages_and_groups_are_no_mistakes_either(run_cli: Cli) -> None:
    """Written out, they stay for events to come; only the other row is to be looked at."""
    (run_cli.folder / "s.yaml").write_text(
        "page: {disabled: false, mapping: {context.traits.email: customer.email}}\n"
        "group:\n  disabled: false\n"
        "  mapping: {groupId: customer.metadata.group_id, traits.plan: customer.metadata.plan}\n"
    )
    events = write_events(
        run_cli.folder,
        {"type": "page", "userId": "u", "properties": {}},
        {"type": "group", "userId": "u", "traits": {"seats": 3}},
    )
    shown = run_cli("coverage", "-c", "s.yaml", events).out
    idle = shown.partition("Rows that matched nothing\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split("  ")[1] for line in idle] == [
        "traits.plan: customer.metadata.plan",
        "2 rows that the default table has, too",
    ]


def test_no_warning_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Words stay whole."""
    facts = SourceFacts("a.gz", damaged="wrong bytes " * 20)
    monkeypatch.setattr(sys, "stderr", stream := terminal_of(monkeypatch, 40))
    outputs.warn_of_sources([facts])
    lines = colourless(stream.getvalue()).splitlines()
    assert len(lines) > 5
    assert all(len(line) <= 40 and not line.endswith("byte") for line in lines)


def test_a_damaged_source_is_told(run_cli: Cli, samples: Path) -> None:
    """What could be read is counted, and the exit code says that it was not all."""
    whole = next((samples / "segment-logs").rglob("*.gz")).read_bytes()
    (run_cli.folder / "cut.gz").write_bytes(whole[: len(whole) // 2])
    ended = run_cli("coverage", "cut.gz")
    assert ended.code == 3
    assert "cut.gz is damaged" in ended.err


def test_very_many_names_are_bounded_and_said(run_cli: Cli) -> None:
    """Memory and output stay small."""
    file = write_events(
        run_cli.folder, {"type": "identify", "userId": "u", "traits": {f"k{n}": n for n in range(5_000)}}
    )
    ended = run_cli("coverage", file)
    assert "and 3,000 more paths, which are counted in the share only" in ended.out


def test_a_terminal_shows_the_most_frequent_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is for --json."""
    text = colourless(drawn(monkeypatch, 120, {**IDENTIFY, "traits": {f"k{n}": n for n in range(50)}}))
    assert "and 10 more, which --json lists" in text


def test_a_table_is_drawn_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path on one line."""
    text = colourless(drawn(monkeypatch, 100, IDENTIFY))
    assert re.search(r"^ +traits\.email +1 +100 % +→ customer\.email +string +\"a@b\.c\"", text, re.MULTILINE)


def test_a_narrow_terminal_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty columns, nothing beyond them but the rows to be pasted."""
    text = colourless(drawn(monkeypatch, 40, IDENTIFY)).partition("# Rows")[0]
    assert max(map(len, text.splitlines())) <= 40
    assert "\n    → customer.email" in text


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mapped is green and what is not is yellow, unless nobody wants colours."""
    text = drawn(monkeypatch, 100, IDENTIFY)
    assert "\x1b[32m" in text
    assert "\x1b[33m" in text
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", drawn(monkeypatch, 100, IDENTIFY))


@pytest.mark.parametrize("columns", [40, 140])
def test_hostile_data_does_nothing_to_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """In names, in values, in names inside of values."""
    event = {**IDENTIFY, "traits": {HOSTILE: HOSTILE, "x": {HOSTILE: [HOSTILE]}, "email": HOSTILE}}
    text = colourless(drawn(monkeypatch, columns, event))
    assert is_harmless(text)
    assert "[red]" in text.replace("\n", "")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_hostile_data_does_nothing_in_a_pipe(run_cli: Cli, options: list[str]) -> None:
    """Nor in a log that is looked at later."""
    event = {
        "type": "track",
        "event": HOSTILE,
        "userId": HOSTILE,
        "properties": {HOSTILE: HOSTILE, "name": HOSTILE},
    }
    ended = run_cli("coverage", *options, write_events(run_cli.folder, event))
    assert ended.code == 0
    assert is_harmless(ended.out)
    assert is_harmless(ended.err)


def test_any_locale_will_do(run_cli: Cli, samples: Path) -> None:
    """What the encoding does not know becomes an escape."""
    env = {**run_cli.env, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(run_cli.command("coverage", samples), capture_output=True, env=env, check=True)
    assert b"-> customer.email" in done.stdout
    assert b"Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(run_cli: Cli, samples: Path) -> None:
    """`| head` ends it in order."""
    text = " ".join(run_cli.command("coverage", samples)) + " | head -n 1"
    done = subprocess.run(text, shell=True, capture_output=True, env=run_cli.env, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


def test_help_begins_with_two_examples_and_defines_the_share(run_cli: Cli) -> None:
    """What a gate looks at must not be guessed."""
    text = run_cli("coverage", "--help").out
    assert text.count("\n    voucherify-sync coverage ") == 2
    assert "A null is no value" in " ".join(text.split())


def test_a_comparison_counts_requests_and_the_rows_that_change_them(run_cli: Cli) -> None:
    """`-` is the other file, `+` the one in use; the exit code is 0."""
    (run_cli.folder / "before.yaml").write_text(
        "track:\n  mapping:\n    properties.a: metadata.a\n    properties.b: metadata.b\n"
    )
    (run_cli.folder / "after.yaml").write_text(
        "track:\n  events_exclude: [Gone]\n  mapping:\n    properties.a: metadata.x\n    properties.c: metadata.c\n"
    )
    event = {"type": "track", "event": "E", "userId": "u1"}
    file = write_events(
        run_cli.folder,
        {**event, "properties": {"a": 1}},
        {**event, "properties": {"a": 1, "b": 2}},
        {**event, "event": "Gone"},
        event,
    )
    options = ["-c", "after.yaml", "--against", "before.yaml", file]
    ended = run_cli("coverage", *options)
    assert (ended.code, ended.err) == (0, "")
    lines = re.sub(" +", " ", ended.out).splitlines()
    assert lines[:2] == ["--- before.yaml", "+++ after.yaml"]
    assert "3 of 4 requests change" in lines
    assert " 2 with other values (such as …/events.ndjson:1)" in lines
    assert " 1 no longer sent: track.events_exclude lists its name [name_excluded]" in lines
    assert " ~ properties.a: metadata.a 2 now metadata.x …/events.ndjson:1" in lines
    assert " - properties.b: metadata.b 1 …/events.ndjson:2" in lines
    assert " + properties.c: metadata.c 0" in lines
    assert ' track.events_exclude: [] to ["Gone"]' in lines
    assert " metadata.x 2 …/events.ndjson:1" in lines
    (report,) = run_cli("coverage", "--json", *options).lines
    assert (report["read"], report["changed"], report["only_before"], report["unchanged"]) == (4, 2, 1, 1)


def test_a_comparison_with_the_same_settings_finds_nothing(run_cli: Cli, samples: Path) -> None:
    """Nor is the order of keys a change."""
    (run_cli.folder / "same.yaml").write_text("{}\n")
    assert run_cli("coverage", "--against", "same.yaml", samples).out.endswith("\n0 of 80 requests change\n")


def test_rows_of_the_default_table_that_change_nothing_are_one_line(run_cli: Cli) -> None:
    """Any row of one's own switches all of them off; those that change something stand for themselves."""
    (run_cli.folder / "before.yaml").write_text("{}\n")
    (run_cli.folder / "voucherify-sync.yaml").write_text(
        "identify: {mapping: {traits.x: customer.metadata.x}}\n"
    )
    file = write_events(run_cli.folder, IDENTIFY)
    out = re.sub(" +", " ", run_cli("coverage", "--against", "before.yaml", file).out)
    assert " - traits.email: customer.email 1 …/events.ndjson:1\n" in out
    assert " - 11 rows of the default table 0\n" in out
    assert "traits.phone" not in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--against", "same.yaml", "--fail-under", "3"], "Choose one of them"),
        (["--against", "nothere.yaml"], "nothere.yaml: no such file"),
        (["--against", "broken.yaml"], "broken.yaml:1:1: trak"),
    ],
    ids=["fail-under", "no file", "broken"],
)
def test_a_comparison_that_cannot_be_made_is_refused(
    run_cli: Cli, samples: Path, options: list[str], said: str
) -> None:
    """With the mistakes of the other file, too."""
    (run_cli.folder / "same.yaml").write_text("{}\n")
    (run_cli.folder / "broken.yaml").write_text("trak: {}\n")
    ended = run_cli("coverage", *options, samples)
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize("command", ["coverage", "explain"])
def test_the_other_settings_are_never_written_to(run_cli: Cli, samples: Path, command: str) -> None:
    """Output that is sent to them by mistake is refused."""
    (run_cli.folder / "before.yaml").write_text("{}\n")
    ended = run_cli(command, "--against", "before.yaml", samples, streams={1: "before.yaml"})
    assert ended.code == 2
    assert "--against before.yaml" in ended.err
    assert (run_cli.folder / "before.yaml").read_text() == "{}\n"


def test_what_no_item_of_an_order_holds_is_shown_with_lines_that_send_it(run_cli: Cli) -> None:
    """They stand below `orders:` as they are."""
    products = [{"product_id": "a", "price": 1, "category": "c", "odd key": 1}]
    order = {"type": "track", "event": "Order Completed", "userId": "u", "messageId": "m"}
    file = write_events(
        run_cli.folder, {**order, "properties": {"order_id": "o", "products": [*products, *products]}}
    )
    settings = run_cli.folder / "orders.yaml"
    settings.write_text("orders:\n  disabled: false\n")
    out = run_cli("coverage", file, "-c", settings).out
    assert re.search(r"^ +properties\.products\[\]\.category +2$", out, re.MULTILINE)
    assert re.search(r"^ +properties\.products\[\]\[\"odd key\"\] +2$", out, re.MULTILINE)
    (line,) = (line for line in out.splitlines() if line.startswith("  set: "))
    settings.write_text(f"orders:\n  disabled: false\n{line}\n")
    assert "[].category" not in run_cli("coverage", file, "-c", settings).out
    assert '"category":["c","c"]' in run_cli("replay", "--dry-run", file, "-c", settings).out
    told = run_cli("explain", file, "-c", settings).out
    assert 'properties.products[0]["odd key"] = 1  an item of an order has no field for it' in told
