"""`check`: mistakes, mapping tests, and what Voucherify says to the settings. Its words and options."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE


@click.command("check")
@click.argument("source", nargs=-1, type=click.Path())
@click.option(
    "-c",
    "--config",
    type=FILE,
    help="Settings file; default: ./voucherify-sync.yaml, and without one the defaults.",
)
@click.option(
    "--update", is_flag=True, allow_from_autoenv=False, help="Update the expectations of failed tests."
)
@click.option(
    "--junit",
    type=FILE,
    help="Write the test results to FILE, as JUnit XML.",
)
@click.option(
    "--online",
    is_flag=True,
    help="Make one call to Voucherify: check the keys, the limit and the metadata schema.",
)
def command(
    source: tuple[str, ...], config: Path | None, update: bool, junit: Path | None, online: bool
) -> int:
    """Check the settings file, run its mapping tests, and show the effective settings.

    \b
    Examples:
      voucherify-sync check -c production.yaml --junit mapping-tests.xml
      voucherify-sync check --online segment-logs/

    Every mistake comes with its line and what to write instead (exit code 2). Without mistakes, stdout
    gets the effective settings as YAML, with secrets masked. Mapping tests stand under `tests:` and in
    *.test.yaml files beside the settings file. A failed test is shown path by path (exit code 3).

    Nothing is sent. Only --online makes a call, and it changes nothing at Voucherify. With SOURCE, it
    also counts how many of the first 10,000 records break the project's metadata schema (exit code 3 if
    Voucherify would refuse requests, 5 if the keys do not work).
    """  # click reads the \b itself
    from .checking import check

    return check(source, config, update=update, junit_file=junit, online=online)
