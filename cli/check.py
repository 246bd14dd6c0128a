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
    "--update", is_flag=True, allow_from_autoenv=False, help="Let failed tests expect what came out instead."
)
@click.option(
    "--junit",
    type=FILE,
    help="Write the results of the tests there, as JUnit XML.",
)
@click.option(
    "--online",
    is_flag=True,
    help="Ask Voucherify, by one call: whether the keys work, the limit, and which metadata it will refuse.",
)
def command(
    source: tuple[str, ...], config: Path | None, update: bool, junit: Path | None, online: bool
) -> int:
    """Check the settings file, run its mapping tests, and show the settings in force.

    \b
    Examples:
      voucherify-sync check -c production.yaml --junit mapping-tests.xml
      voucherify-sync check --online segment-logs/

    Every mistake is named with its line and what to write instead (exit code 2). Without any, stdout gets
    the settings in force as YAML, secrets masked. The mapping tests are those under `tests:` and of the
    *.test.yaml files beside the settings file; one that fails is shown path by path (exit code 3).

    Nothing is sent anywhere, unless --online asks Voucherify; it changes nothing there. With SOURCE, the
    first 10,000 records tell how often the project's metadata schema would not be met (exit code 3 if
    requests would be refused, 5 if the keys do not work).
    """  # click reads the \b itself
    from .checking import check

    return check(source, config, update=update, junit_file=junit, online=online)
