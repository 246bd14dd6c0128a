"""`--help` of every command, as a terminal of 80 columns shows it."""

from __future__ import annotations

import re

import pytest
from support.cli import Cli
from support.cli_modules import cli_module

COMMANDS = ["", *cli_module("group").COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns_and_says_what_each_option_does(run_cli: Cli, command: str) -> None:
    """No line is cut or wrapped by the terminal, and the words of an option are sentences."""
    shown = run_cli(*filter(None, [command]), "--help", env={"COLUMNS": "80"}).out
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    options = re.split(r"\n  (?=-)", shown)[1:]
    assert options
    for option in options:
        text = " ".join(option.split("\n\n")[0].split())
        assert re.search(r"[A-Z].*\.( \[[^]]*\])*$", text), text
