"""`--help` of every command, as a terminal of 80 columns shows it."""

from __future__ import annotations

import re
from contextlib import suppress

import click
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


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_a_value_that_an_option_does_not_take_gets_a_sentence_that_says_what_to_write(command: str) -> None:
    """With an example or all choices, and in no words of the parser."""
    group = cli_module("group").cli
    context = click.Context(group)
    parser = group.get_command(context, command)
    refused = []
    for option in parser.params:
        if not isinstance(option, click.Option) or option.is_flag or not option.opts:
            continue
        for value in (
            "",
            "word",
            "-5",
            "0",
            "1k",
            "1e3",
            "1,000",
            "nan",
            "9" * 25,
            "2024-13-45",
            "01/02/2024",
        ):
            with suppress(click.exceptions.Exit):
                try:
                    parser.make_context(command, [f"{option.opts[-1]}={value}"], parent=context)
                except click.BadParameter as error:
                    refused.append(error.format_message())
    for message in refused:
        assert re.search(r"such as|write|is not one of|no file here|must be", message), message
        assert not re.search(r"not a valid|in the range|x>=|<=x", message), message
    assert refused or command in ("check", "completion", "forget", "init", "status")
