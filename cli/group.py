"""The group of all commands: names them, and imports each when it is used."""

from __future__ import annotations

import importlib
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "replay": "Send the events of archives to Voucherify, or print the requests.",
    "plan": "Show what a replay would cost, and whether it fits.",
    "prepare": "Map a large archive once, for plans and replays of it.",
    "explain": "Show what happens to single events, value by value.",
    "coverage": "Show which values are mapped, and which are not.",
    "check": "Check the settings file and run its mapping tests.",
    "init": "Write a commented settings file, or its JSON Schema.",
    "status": "Show what was sent to this project.",
    "retry": "Send failed records again.",
    "forget": "Remove dead letters from the ledger, of a kind or of a person.",
    "sandbox": "Run a local stand-in for the Voucherify API.",
    "completion": "Print the script for completion with Tab, for bash, zsh or fish.",
}
"""Command -> its line in the overview. A module is imported only when it is used: `--help` is instant."""

COMPLETION_VARIABLE = "_VOUCHERIFY_SYNC_COMPLETE"
"""Variable with which the script of a shell asks for completions; click derives its name from the program's."""

_OF_A_SERVICE = re.compile("_SERVICE_|_PORT")


class LazyGroup(click.Group):
    """A group whose commands live in modules of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which one meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{cmd_name}", __package__)
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101  # a fact of this package, for the type checker
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none of that name, say which one may be meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            from voucherify_sync.sources.object_store import is_url, shown_word

            name, message = shown_word(error.command_name), None
            if is_url(name) or Path(name).exists():
                message = (
                    f"{name!r} is no command; to see what it holds: voucherify-sync plan {shlex.quote(name)}"
                )
            raise click.NoSuchCommand(name, message, possibilities=COMMANDS, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> object:
        """Warn of each variable that looks like one of an option and is none, and run the command."""
        prefix = f"{ctx.auto_envvar_prefix}_"
        # Kubernetes sets ..._SERVICE_HOST and ..._PORT for a service of this name.
        given = [name for name in os.environ if name.startswith(prefix) and not _OF_A_SERVICE.search(name)]
        if given:
            known = {
                f"{prefix}{command}_{parameter.name}".upper()
                for command in COMMANDS
                if any(
                    name.startswith(f"{prefix}{command}_".upper()) for name in given
                )  # others stay unloaded
                for parameter in self._options_of(ctx, command)
                if parameter.allow_from_autoenv and not parameter.multiple
            }
            for name in sorted(set(given) - known):
                click.echo(
                    f"Warning: {name} is not read: no option has this variable. Settings are read from the file, "
                    "where ${VARIABLE} takes a value from the environment.",
                    err=True,
                )
        return super().invoke(ctx)

    def _options_of(self, ctx: click.Context, name: str) -> list[click.Option]:
        command = self.get_command(ctx, name)
        return [each for each in command.params if isinstance(each, click.Option)] if command else []

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Propose commands without importing them, and options of the program itself."""
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Print the version; the package's metadata is read only when somebody asks."""
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"voucherify-sync {version('voucherify-sync')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "VOUCHERIFY_SYNC",
        "max_content_width": 100,
    },
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Replay Segment event archives into Voucherify.

    \b
    Try it without an account:
      voucherify-sync replay --sandbox sample_events
      voucherify-sync replay --dry-run segment-logs/ | head

    `voucherify-sync COMMAND --help` explains a command and its options.
    """
