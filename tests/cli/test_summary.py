"""The summary says first in one sentence what happened, then the counts, then what to do."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from support.cli_modules import cli_module
from support.reports import outcomes, run_report
from support.terminal import Terminal, colourless, terminal_of

from voucherify_sync.outcomes import State
from voucherify_sync.report.run_report import RunReport, headline

print_summary = cli_module("summary").print_summary

LONG = "sample_events/segment-logs/8Kx2vQd1Lm/1731369600000/1731408014915.93976f5f5ad3.452787c.3e7fd82e.gz:17"


def because(**counts: int) -> dict[str, Any]:
    """Make reasons, each with an example."""
    return {reason: {"count": count, "examples": [LONG], "detail": None} for reason, count in counts.items()}


def report(mode: str = "live", status: str = "complete", **counts: int) -> RunReport:
    """Make a report with these outcomes."""
    return run_report(**fields(mode=mode, status=status, **counts))


def fields(mode: str = "live", status: str = "complete", **counts: int) -> dict[str, Any]:
    """Make the fields of a report with these outcomes, as JSON values."""
    return {
        "mode": mode,
        "status": status,
        "duration_s": 73.4,
        "input": {"sources": [], "lines": 0, "bytes": 4_123_444},
        "events": {"read": sum(counts.values()), "by_type": {}},
        "outcomes": outcomes(**counts),
        "reasons": {str(state): {} for state in State},
        "api": {},
        "mapping": {"identify": {}, "track": {}},
    }


def busy_report() -> RunReport:
    """Make a report in which everything happened that can happen."""
    full = fields(
        status="incomplete", delivered=11_958, skipped=104, duplicate=1, invalid=3, failed=2, in_doubt=1
    )
    full["input"]["sources"] = [
        {"name": "a.gz", "lines": 9, "bytes": 9, "damaged": None},
        {"name": "b\x1b[2J.gz", "lines": 9, "bytes": 9, "damaged": "cut short after line 9"},
    ]
    full["reasons"]["skipped"] = because(type=90, no_id=14)
    full["reasons"]["failed"] = {
        "[red]": {"count": 2, "examples": [LONG], "detail": "no\x1b[31m\u202e [/] good"}
    }
    full["api"] = {
        "calls": 11_961,
        "retries": 1,
        "throttled": 2,
        "by_endpoint": {
            "POST /v1/customers": {"delivered": 1},
            "POST /v1/events": {"delivered": 11_957, "failed": 2},
        },
    }
    full["mapping"]["identify"] = {
        "unmapped": {"traits.plan": 1_234},
        "dropped": {"customer.phone": {"not_text": 3}},
    }
    full["mapping"]["track"] = {"unmapped": {f"properties.p{n}": 7_000 - n for n in range(5)}, "dropped": {}}
    return run_report(**full)


def printed(full: RunReport, stream: io.StringIO | None = None, **more: Any) -> str:
    """Return what the summary prints."""
    stream = stream or io.StringIO()
    print_summary(stream, full, **more)
    return stream.getvalue()


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, full: RunReport, **more: Any) -> str:
    """Return what the summary draws on a terminal of so many columns, with its colours."""
    return printed(full, terminal_of(monkeypatch, columns), **more)


@pytest.mark.parametrize(
    ("full", "sentence"),
    [
        pytest.param(
            report(delivered=58, skipped=14),
            "Replayed 72 records: 58 delivered, 14 skipped.",
            id="live",
        ),
        pytest.param(
            report(mode="dry_run", planned=1_000),
            "Dry run of 1,000 records: 1,000 would be sent.",
            id="dry-run",
        ),
        pytest.param(
            report(mode="sandbox", delivered=1),
            "Replayed 1 record into the sandbox: 1 delivered.",
            id="sandbox",
        ),
        pytest.param(
            report(status="interrupted", delivered=40, pending=20),
            "Stopped after 60 records: 40 delivered, 20 pending.",
            id="stopped",
        ),
        pytest.param(
            report(duplicate=2, invalid=1, failed=3, in_doubt=4),
            "Replayed 10 records: 2 duplicates, 1 invalid, 3 failed, 4 in doubt.",
            id="trouble",
        ),
        pytest.param(report(), "No events were read.", id="nothing"),
    ],
)
def test_the_first_line_is_the_whole_run_in_one_sentence(full: RunReport, sentence: str) -> None:
    """Who reads one line only has read the right one."""
    assert headline(full) == sentence
    assert printed(full).splitlines()[0] == sentence


def test_the_plain_summary_is_aligned_and_whole() -> None:
    """Counts stand under each other, with thousands separators, and examples can be pasted."""
    lines = printed(busy_report()).splitlines()
    assert lines[2:6] == [
        "  read        12,069  2 sources, 4.1 MB, 1 min 13 s",
        "  delivered   11,958  1 customer update, 11,957 custom events",
        "  skipped        104",
        "                  90  type",
    ]
    assert any(re.fullmatch(" +14  it has neither a userId nor an .+ be used +no_id", line) for line in lines)
    example = LONG.rpartition("/")[2]
    assert f"                   2  no\\x1b[31m\\u202e [/] good: …/{example}  [red]" in lines
    assert "  calls       11,961  1 retry, 2 throttled" in lines
    assert "  properties.p0  7,000" in lines
    assert "  2 more fields  1,237" in lines
    assert "Warning: b\\x1b[2J.gz is damaged: cut short after line 9" in lines


def test_what_did_not_happen_is_not_shown() -> None:
    """A short run has a short summary."""
    text = printed(report(delivered=1))
    assert not re.search("failed|doubt|invalid|pending|calls|Not mapped|Warning|Next:", text)


def test_where_no_request_was_made_nothing_was_left_out_of_one() -> None:
    """All was sent before: what is not mapped is old news."""
    full = fields(duplicate=5)
    full["mapping"]["track"] = {"unmapped": {"properties.x": 5}}
    assert "Not mapped" not in printed(run_report(**full))


def test_only_the_top_reasons_and_fields_are_listed() -> None:
    """The rest is counted; the report has it all."""
    full = fields(skipped=28, delivered=1)
    full["reasons"]["skipped"] = because(a=7, b=6, c=5, d=4, e=3, f=2, g=1)
    full["mapping"]["track"] = {"unmapped": {f"properties.p{n}": 1 for n in range(6)}}
    text = printed(run_report(**full))
    assert re.search(r" 3  2 more reasons\n", text)
    assert re.search(r"1 more field +1\n", text)
    assert "properties.p5" not in text


def test_paths_notices_and_the_command_that_comes_next_are_told() -> None:
    """The last line is ready to be pasted."""
    text = printed(
        run_report(**fields(delivered=1), dead_letters="/state/dead.ndjson"),
        why_stopped=["Stopped: 10 calls made"],
        next_commands=[
            {"command": "voucherify-sync replay --yes logs/", "does": ""},
            {"command": "voucherify-sync status --failed", "does": "print the failed records"},
        ],
        notices=["3 updates are older than one already read"],
    )
    assert text.endswith(
        "\nWarning: 3 updates are older than one already read\n"
        "\nDead letters: /state/dead.ndjson\n"
        "\nNext:\n"
        "  voucherify-sync replay --yes logs/\n"
        "  voucherify-sync status --failed\n"
        "    print the failed records\n"
    )
    assert text.splitlines()[1] == "Stopped: 10 calls made"


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_terminal_of_any_width_shows_everything(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Nothing is wider than the terminal, and no number is lost."""
    drawn = colourless(on_terminal(monkeypatch, columns, busy_report(), notices=["a notice"]))
    assert max(map(len, drawn.splitlines())) <= columns
    joined = re.sub(r"\s+", "", drawn)
    for wanted in (
        "12,069",
        "11,958",
        "104",
        "90",
        "11,957customevents",
        LONG.rpartition("/")[2],
        "7,000",
        "anotice",
    ):
        assert wanted in joined


def test_what_is_to_be_pasted_is_not_broken_into_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path or a command that a terminal wraps can be copied whole, one that we wrap cannot."""
    command = "voucherify-sync retry " + "x" * 100
    full = run_report(**fields(failed=1), dead_letters="/" + "d" * 100)
    drawn = on_terminal(monkeypatch, 40, full, next_commands=[{"command": command, "does": ""}])
    assert f"  {command}\n" in colourless(drawn)
    assert f"Dead letters: /{'d' * 100}\n" in colourless(drawn)


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is honoured, and a log file gets no escape at all."""
    assert "\x1b[32m" in on_terminal(monkeypatch, 80, busy_report())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", printed(busy_report(), Terminal()))
    assert "\x1b" not in printed(busy_report())


@pytest.mark.parametrize("columns", [40, 120])
def test_data_can_do_nothing_to_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Names of files, reasons and answers come from outside."""
    drawn = colourless(on_terminal(monkeypatch, columns, busy_report(), notices=["\x1b]8;;x\x07 [b]"]))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", drawn)
    assert columns < 80 or "[red]" in drawn  # a code has room on a wide terminal
    assert "[/]" in drawn
    assert "[b]" in drawn
