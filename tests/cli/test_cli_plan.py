"""`plan` as its users meet it: the cost before anything is spent, for people and programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.cli_modules import cli_module
from support.replays import identify, settings_for, track
from support.reports import run_report
from support.servers import unused_port
from support.shell import run_in_shell
from support.terminal import terminal_of

from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

show_plan = cli_module("plan").show_plan


def plan_of(cli: Cli, *args: str | Path, stdin: str = "") -> dict[str, Any]:
    """Return what `plan --json` tells."""
    ended = cli("plan", "--json", *args, stdin=stdin)
    assert ended.code in (0, 3), ended.err
    (plan,) = ended.lines
    return plan


def test_the_plan_of_the_samples_can_be_forwarded(run_cli: Cli, samples: Path) -> None:
    """One sentence, the calls both ways, what each public plan makes of them, and what to know before."""
    ended = run_cli("plan", samples)
    assert ended.code == 0
    head, period, calls = ended.out.splitlines()[:3]
    assert head.startswith("Read 87 records: 79 would be sent,")
    assert period == "The events happened from 2024-11-12 07:58 to 2025-01-12 10:46 UTC."
    assert calls == "That is 79 calls, or 61 with customers in bulk (--bulk)."
    for words in (
        "100 calls an hour\n",
        "100 calls a minute, 100,000 a cycle\n",
        "2,000 calls a minute, 300,000 a cycle\n",
        "56 custom events would trigger rewards and messages now",
        "give customer.name the value of properties.name",
        "5 customers have only an anonymousId, in 8 records",
        "older than an update of the same customer",
        "assuming that nothing has been sent yet",
    ):
        assert words in ended.out
    assert ended.err == ""


def test_a_brief_plan_has_no_tables(run_cli: Cli, samples: Path) -> None:
    """The sentences that matter most, and the warnings."""
    brief, whole = (run_cli("plan", *args, samples) for args in (["--brief"], []))
    assert brief.code == 0
    assert brief.out.splitlines()[:3] == whole.out.splitlines()[:3]
    assert "Calls (" not in brief.out
    assert "Not mapped" not in brief.out
    assert brief.out.count("Warning:") == whole.out.count("Warning:")


@pytest.mark.parametrize(
    ("share", "said"),
    [
        ("30%", "These are the numbers of a sample of 30 % of the customers. Of all: about 43 calls."),
        ("10%", "The sample of 10 % of the customers needs no call: take a larger one to estimate all."),
    ],
    ids=["some customers", "none"],
)
def test_a_sample_says_what_it_amounts_to(run_cli: Cli, samples: Path, share: str, said: str) -> None:
    """Nothing is estimated from nothing; types that are switched off are counted before the sample is taken."""
    ended = run_cli("plan", "--sample", share, samples)
    assert said in ended.out
    assert "the calls that they would be at most (of all customers)" in ended.out


@pytest.mark.parametrize("command", [["plan"], ["replay", "-n"], ["coverage"]], ids=" ".join)
def test_a_sample_of_nobody_proposes_a_larger_one(run_cli: Cli, samples: Path, command: list[str]) -> None:
    """The customers are counted only where the sample keeps none of them."""
    said = "Warning: --sample 0.1%: none of 14 customers is in the sample. Take a larger one: --sample 20% keeps 2"
    shown = [run_cli(*command, "--sample", share, samples) for share in ("0.1%", "20%")]
    assert [said in re.sub(r"\s+", " ", each.out + each.err) for each in shown] == [True, False]


def test_the_corpora_have_a_plan(run_cli: Cli, corpora: Path) -> None:
    """Whatever the wild holds, the law holds, and the plan is made."""
    plan = plan_of(run_cli, corpora)
    assert plan["events"]["read"] == sum(plan["outcomes"].values())
    assert plan["costs"]["each"]["calls"] == plan["outcomes"]["planned"]


@pytest.mark.parametrize("way", ["each", "bulk"])
def test_a_run_spends_what_was_planned(run_cli: Cli, sandbox: Sandbox, samples: Path, way: str) -> None:
    """The calls of a live run are those of its plan; only polls are an estimate."""
    settings = settings_for(run_cli, sandbox)
    cost = plan_of(run_cli, "-c", settings, samples)["costs"][way]
    ended = run_cli("replay", "-c", settings, f"--{way}", "--yes", "--report", "r.json", samples)
    assert ended.code == 0, ended.err
    report = json.loads((run_cli.folder / "r.json").read_text())
    polls = report.get("bulk", {}).get("polls", 0)
    assert report["api"]["calls"] - polls == cost["calls"] - cost["polls"]


def test_after_a_run_nothing_is_left_to_plan(run_cli: Cli, sandbox: Sandbox, samples: Path) -> None:
    """The ledger is read: what the project has been sent costs nothing, unless it is wanted again."""
    settings = settings_for(run_cli, sandbox)
    assert run_cli("replay", "-c", settings, "--yes", samples).code == 0
    plan = plan_of(run_cli, "-c", settings, samples)
    assert plan["ledger"]
    assert plan["costs"]["each"]["calls"] == plan["costs"]["bulk"]["calls"] == 0
    assert plan_of(run_cli, "-c", settings, "--again", samples)["costs"]["each"]["calls"] == 79
    shown = run_cli("plan", "-c", settings, samples).out
    assert "There is nothing to send." in shown
    assert "Business" not in shown
    assert "left out because they were delivered before; --again plans them, too." in shown
    assert "fire rewards" not in shown


def test_what_is_unchanged_in_bulk_is_counted_by_type(run_cli: Cli, sandbox: Sandbox) -> None:
    """Identifies and group events of such customers are duplicates, live and planned, each of its own type."""
    settings = settings_for(run_cli, sandbox, "group: {disabled: false}\n")

    def group(message_id: str) -> str:
        fields = {"type": "group", "userId": "u-1", "groupId": "g", "messageId": message_id}
        return json.dumps(fields) + "\n"

    first = identify(1, messageId="i1") + group("g1")
    assert run_cli("replay", "-c", settings, "--bulk", "--yes", stdin=first).code == 0
    again = "".join([identify(1, messageId="i2"), group("g2"), group("g3"), identify(2, messageId="i4")])
    plan = plan_of(run_cli, "-c", settings, "--bulk", stdin=again)
    report = run_cli("replay", "-c", settings, "--bulk", "--yes", "--report", "r.json", stdin=again)
    assert report.code == 0, report.err
    live = json.loads((run_cli.folder / "r.json").read_text())
    assert plan["events"]["by_type"] == {
        "group": {"read": 2, "would_be_sent": 0},
        "identify": {"read": 2, "would_be_sent": 1},
    }
    for each in (plan, live):
        counts = {reason: found["count"] for reason, found in each["reasons"]["duplicate"].items()}
        assert counts == {"unchanged": 3}
    assert plan["outcomes"]["planned"] == live["outcomes"]["delivered"] == 1


def test_types_that_are_off_are_shown_with_their_cost(run_cli: Cli) -> None:
    """What is skipped by its type, how it is switched on, and the calls and the time that it would take then."""
    lines = [json.dumps({"type": "page", "userId": "u1", "messageId": f"p{n}"}) + "\n" for n in range(300)]
    shown = run_cli("plan", stdin="".join(lines)).out
    assert "  page  300  skipped (page.disabled); on: 300 calls, 3 min on Business\n" in shown
    found = plan_of(run_cli, stdin="".join(lines))["switched_off"]["page"]
    assert found["records"] == 300
    assert [each["calls"] for each in found["plans"]] == [300, 300, 300]
    settings = run_cli.folder / "on.yaml"
    settings.write_text("page: {disabled: false}\n")
    on = plan_of(run_cli, "-c", settings, stdin="".join(lines))
    assert on["switched_off"] == {}
    assert on["costs"]["each"] == {"customers": 0, "polls": 0, "events": 300, "orders": 0, "calls": 300}
    assert on["events"]["by_type"] == {"page": {"read": 300, "would_be_sent": 300}}


def test_a_plan_writes_nothing_and_calls_nobody(run_cli: Cli, sandbox: Sandbox) -> None:
    """It is a preview: no ledger begins, no request is made."""
    settings = settings_for(run_cli, sandbox)
    plan_of(run_cli, "-c", settings, stdin=identify(1) + track(1))
    assert not run_cli.state.exists()
    assert sandbox.counts()[:2] == (0, 0)


def test_a_pipe_is_read_twice(run_cli: Cli) -> None:
    """Folding customers takes a second look at the input."""
    lines = (
        identify(1, messageId="a")
        + identify(1, messageId="b", traits={"email": "new@example.com"})
        + track(1)
    )
    costs = plan_of(run_cli, "-", stdin=lines)["costs"]
    assert costs == {
        "each": {"customers": 2, "polls": 0, "events": 1, "orders": 0, "calls": 3},
        "bulk": {"customers": 1, "polls": 4, "events": 1, "orders": 0, "calls": 6},
    }


def test_a_cycle_that_is_too_small_is_told_in_plain_words(run_cli: Cli) -> None:
    """By how much, and what helps; no error, since nothing was refused."""
    lines = "".join(
        identify(1, messageId=f"i-{n}", traits={"email": f"{n}@example.com"}) for n in range(10)
    ) + track(1)
    ended = run_cli("plan", "--cycle", "8", "--rate", "2/min", "-", stdin=lines)
    assert ended.code == 0
    assert "WILL NOT FIT: your plan allows 8 calls a billing cycle, and these are 3 more." in ended.out
    assert "give --bulk, with which it fits your plan" in ended.out
    assert "--max-calls 8 stops cleanly" in ended.out
    assert "WILL NOT FIT: 3 calls too many; 2 cycles" in ended.out
    (limits,) = plan_of(run_cli, "--cycle", "8", "--rate", "2/min", "-", stdin=lines)["plans"]
    assert limits["each"] == {
        "calls": 11,
        "duration_s": 300.0,
        "share_of_cycle": 11 / 8,
        "fits": False,
        "calls_over": 3,
        "cycles": 2,
    }
    assert limits["bulk"]["fits"] is True


def test_the_way_that_is_set_decides_whether_it_fits(run_cli: Cli) -> None:
    """With --bulk there is nothing to warn of; the updates are sorted, too."""
    lines = "".join(identify(1, messageId=f"i-{n}", traits={"email": f"{n}@example.com"}) for n in range(10))
    ended = run_cli("plan", "--bulk", "--cycle", "8", "-", stdin=lines)
    assert not [line for line in ended.out.splitlines() if line.startswith("WILL NOT FIT")]
    assert "That is 5 calls with customers in bulk; one by one (--each) it would be 10." in ended.out
    assert "Calls (this replay: --bulk)" in ended.out


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        pytest.param("50/h", ["your project"], id="an hour"),
        pytest.param(
            "50/min", ["your project, if by the minute", "your project, if by the hour"], id="a minute"
        ),
    ],
)
def test_the_project_itself_is_asked_for_its_limit(run_cli: Cli, limit: str, names: list[str]) -> None:
    """One call; the API never tells the period, so both are shown where the answer leaves it open."""
    with Sandbox(SandboxOptions(limit=limit, keep=None)) as server:
        settings = settings_for(run_cli, server)
        plans = plan_of(run_cli, "-c", settings, "--from-api", "-", stdin=track(1))["plans"]
    assert [each["name"] for each in plans] == [*names, "Sandbox project", "Business", "Organization"]
    assert plans[0]["limit"] == 50


def test_invalid_records_end_with_exit_code_3(run_cli: Cli) -> None:
    """As a dry run of the same would."""
    ended = run_cli("plan", "-", stdin=track(1) + "{nonsense\n")
    assert ended.code == 3
    assert "invalid" in ended.out
    assert "-:2" in ended.out


def test_near_misses_of_a_filter_are_told(run_cli: Cli) -> None:
    """A name that no event has is most likely a typing error."""
    settings = run_cli.folder / "settings.yaml"
    settings.write_text("track: {events_filter: [Order Complete]}\n")
    ended = run_cli("plan", "-c", settings, "-", stdin=track(1))
    assert 'did you mean "Order Completed" (1)?' in ended.out


def test_quiet_shows_the_plan_alone(run_cli: Cli, samples: Path) -> None:
    """The plan is data."""
    ended = run_cli("plan", "-q", samples)
    assert ended.err == ""
    assert ended.out.startswith("Read 87 records")


LARGE = "".join(
    track(n, event="Order\x1b[2J [red]Completed[/]" if n % 2 else "Signed Up") for n in range(12)
) + identify(1)


def drawn(run_cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int) -> str:
    """Return the plan as a terminal of so many columns shows it."""
    plan = plan_of(run_cli, "-", stdin=LARGE)
    plan["plans"][1]["each"] = {**plan["plans"][1]["each"], "calls": 1_900_187, "duration_s": 8_640_000.0}
    plan["plans"][1]["each"].update(share_of_cycle=19.0, fits=False, calls_over=1_800_187, cycles=20)
    known = ("input", "outcomes", "reasons", "mapping", "older_updates")
    report = run_report(
        mode="dry_run",
        events={"read": plan["events"]["read"], "by_type": {}},
        **{name: plan[name] for name in known},
    )
    stream = terminal_of(monkeypatch, columns)
    show_plan(stream, plan, report, ["a notice"])
    return stream.getvalue()


@pytest.mark.parametrize("columns", [110, 72, 40])
def test_a_terminal_of_any_width_shows_it_all(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """No line is wider than the terminal, no number is lost, and data does nothing to the terminal."""
    text = drawn(run_cli, monkeypatch, columns)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert shown != text
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert "Order\\x1b[2J [red]" in shown
    for number in ("1,900,187", "100 d", "1,900 %", "WILL NOT FIT"):
        assert number in shown


def test_no_color_means_none(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table stays, the colours go."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", drawn(run_cli, monkeypatch, 110))


def test_a_run_that_stops_early_says_what_is_left_and_what_it_will_cost(run_cli: Cli) -> None:
    """By the limit that the API told; the command that goes on stands below it."""
    with Sandbox(SandboxOptions(limit="200/s", keep=None)) as server:
        settings = settings_for(run_cli, server)
        events = run_cli.folder / "events.ndjson"
        events.write_text("".join(track(n) for n in range(400)))
        ended = run_cli("replay", "-c", settings, "--yes", "--max-calls", "150", events)
    assert ended.code == 4
    found = re.search(r"^(?:About )?(\d+) requests remaining(: about .+)?\.$", ended.err, re.MULTILINE)
    assert found, ended.err
    assert int(found[1]) == 250
    assert found.start() < ended.err.index("Next:")


def test_a_run_that_is_done_has_nothing_left(run_cli: Cli, sandbox: Sandbox) -> None:
    """The sentence is for those who have to come back."""
    ended = run_cli("replay", "-c", settings_for(run_cli, sandbox), "--yes", "-", stdin=track(1))
    assert ended.code == 0
    assert "remaining" not in ended.err


def test_a_run_warns_of_updates_out_of_order(run_cli: Cli) -> None:
    """Sent one by one they overwrite newer values, which --bulk would not."""
    lines = [
        json.dumps(
            {"type": "identify", "userId": "u", "messageId": day, "timestamp": day, "traits": {"email": day}}
        )
        for day in ("2024-03-02", "2024-03-01")
    ]
    one_by_one = run_cli("replay", "--sandbox", "-", stdin="\n".join(lines))
    assert "1 customer update is older than an update of the same customer" in one_by_one.err
    in_bulk = run_cli("replay", "--sandbox", "--bulk", "-", stdin="\n".join(lines))
    assert "older than" not in in_bulk.err


def test_what_is_not_mapped_is_counted_exactly(run_cli: Cli) -> None:
    """However many events there are, and however few have it; a record delivered several times counts each time."""
    lines = [
        track(number, properties={"rare": 1} if number % 40 == 7 else {"lost": 1}) for number in range(2_000)
    ]
    ended = run_cli("plan", "-", stdin="".join([*lines, *[lines[7]] * 50]))
    assert ended.out.startswith("Read 2,050 records: 2,000 would be sent, 50 duplicates.")
    assert re.search(r"properties\.lost +1,950\n", ended.out)
    assert re.search(r"properties\.rare +100\n", ended.out)


def test_a_plan_that_cannot_begin_leaves_no_copy_of_a_pipe(run_cli: Cli) -> None:
    """The folder for the copy is made before the project is asked for its limit."""
    folder = run_cli.folder / "temporary"
    folder.mkdir()
    port = unused_port()
    config = run_cli.folder / "s.yaml"
    config.write_text(f"api: {{url: 'http://127.0.0.1:{port}', key: k, token: t}}\n")
    ended = run_cli("plan", "-c", config, "--from-api", "-", stdin="{}\n", env={"TMPDIR": str(folder)})
    assert ended.code == 2
    assert "cannot be reached" in ended.err
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("words", "command"),
    [
        pytest.param(
            ["plan", "--brief", "--cycle", "9", "-c", "my file.yaml", "--bulk", "logs/"],
            "voucherify-sync replay -c 'my file.yaml' --bulk logs/",
            id="options of a replay stay",
        ),
        pytest.param(
            ["plan", "--cycle=9", "--from-api", "a.gz"],
            "voucherify-sync replay a.gz",
            id="those of a plan go",
        ),
        pytest.param(["plan", "-"], None, id="a pipe was read"),
        pytest.param(["plan", "--bulk"], None, id="stdin was read"),
    ],
)
def test_the_command_that_does_what_was_planned_comes_next(words: list[str], command: str | None) -> None:
    """Ready to be pasted, unless the input is gone."""
    assert cli_module("plan")._replay_command(words) == command


def test_a_plan_without_keys_leads_to_the_sandbox_first(run_cli: Cli) -> None:
    """The command works as it is pasted; the live one says what it needs, until the project is known."""
    (run_cli.folder / "a.ndjson").write_text(track(1))
    said = run_cli("plan", "--brief", "a.ndjson").out.partition("Next:\n")[2].splitlines()
    assert [line.strip() for line in said[::2]] == [
        "voucherify-sync replay --sandbox a.ndjson",
        "voucherify-sync replay a.ndjson",
    ]
    assert "export VOUCHERIFY_API_KEY" in said[3]
    assert run_in_shell(said[0], run_cli.folder, run_cli.env).returncode == 0
    known = run_cli("plan", "--brief", "a.ndjson", env={"VOUCHERIFY_API_KEY": "k"}).out
    assert "--sandbox" not in known
    assert "export" not in known
