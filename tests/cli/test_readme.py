"""The README is true: its help is the program's, its exit codes are the code's, its commands work."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from support.cli import Cli

from voucherify_sync.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_first_command_sets_up_and_replays_the_samples() -> None:
    """The two commands are one line each and start from nothing but Python; CI runs them as they stand."""
    first, second = blocks("sh")
    for command in (first, second):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert first.rstrip().endswith("voucherify-sync replay --sandbox sample_events")
    assert "pytest" in second


def test_the_help_shown_is_the_live_one(run_cli: Cli) -> None:
    """The text block of a heading `## `command --help`` equals what the command prints."""
    shown = re.findall(r"^## `(\w+) --help`\n\n```text\n(.*?)```$", README, re.MULTILINE | re.DOTALL)
    assert shown
    for command, text in shown:
        assert run_cli(command, "--help", env={"COLUMNS": "100"}).out == text


def test_the_exit_codes_are_those_of_the_code() -> None:
    """Every code has its row."""
    table = README.split("## Exit codes")[1].split("\n## ")[0]
    named = {
        int(number)
        for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
        for number in row.split(",")
    }
    assert named == {int(code) for code in ExitCode}


def test_the_yaml_shown_is_a_settings_file(run_cli: Cli) -> None:
    """`check` likes every YAML block."""
    for number, text in enumerate(blocks("yaml")):
        file = run_cli.folder / f"{number}.yaml"
        file.write_text(text)
        ended = run_cli("check", "-c", file)
        assert ended.code == 0, ended.err


def test_the_speed_told_is_that_of_the_last_benchmark() -> None:
    """The page on performance has the same figures."""
    rivals = json.loads((ROOT / "benchmarks" / "results" / "compare.json").read_text())["rivals"]
    ratios = {row["name"]: row["cpu_ratio"] for row in rivals}
    text = " ".join(README.split())
    told = re.search(
        r"on one core \[(\S+) times as fast\]\(docs/performance.md\) as the same mapping in jq", text
    )
    assert told is not None
    assert float(told[1]) == math.floor(10 * ratios["jq, the same mapping"]) / 10
