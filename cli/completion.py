"""`completion`: prints the script with which a shell completes commands, options, their values and file names.

click makes the scripts and the answers. What it does not handle is here: values that are joined to their option by `=`.
"""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from .group import COMPLETION_VARIABLE


class BashWords(BashComplete):
    """Completion in bash, which cuts words at each `=` and replaces what stands behind the last one."""

    _cut = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the incomplete one, and that one."""
        args, incomplete = super().get_completion_args()
        if incomplete == "=":
            args, incomplete = [*args, "="], ""
        if args[-1:] != ["="]:
            return args, incomplete
        args, name = args[:-2], args[-2:-1]
        if not name or name[0].startswith("-"):
            return [*args, *name], incomplete
        self._cut = f"{name[0]}="  # `--switch nulls=i`: the value itself holds a `=`
        return args[:-1] if args[-1:] == ["="] else args, self._cut + incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a proposal without what bash keeps."""
        return f"{item.type},{item.value.removeprefix(self._cut)}"


class JoinedWords(ShellComplete):
    """Completion in shells that replace the whole of `--option=value`, so that a proposal must hold the option, too."""

    _option = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the incomplete one, and that one."""
        args, incomplete = super().get_completion_args()
        if incomplete.startswith("--") and "=" in incomplete:
            self._option = incomplete.partition("=")[0] + "="
        return args, incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return a proposal for the whole word."""
        item.value = self._option + item.value
        return super().format_completion(item)


class ZshWords(JoinedWords, ZshComplete):
    """Completion in zsh. Files behind `--option=` are completed as words of their own."""

    source_template = ZshComplete.source_template.replace(
        "_path_files -f", "compset -P 1 '--*='; _path_files -f"
    )


class FishWords(JoinedWords, FishComplete):
    """Completion in fish: its own completion of files, which knows `~`, and descriptions that hold commas."""

    source_template = FishComplete.source_template.replace(
        "__fish_complete_path $metadata[2]", "complete --do-complete \"'' \"(commandline -ct)"
    ).replace('string split ","', 'string split --max 1 ","')


SHELLS: dict[str, type[ShellComplete]] = {"bash": BashWords, "zsh": ZshWords, "fish": FishWords}


def register() -> None:
    """Let click use these classes when a script asks."""
    for shell in SHELLS.values():
        add_completion_class(shell)


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(list(SHELLS)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, values and file names in SHELL: bash, zsh or fish.

    \b
    bash 4.4 or newer, in ~/.bashrc:
      eval "$(voucherify-sync completion bash)"

    \b
    zsh, in ~/.zshrc, after compinit:
      eval "$(voucherify-sync completion zsh)"

    \b
    fish, in ~/.config/fish/config.fish:
      voucherify-sync completion fish | source

    The script runs voucherify-sync at each Tab, so the program must be on the PATH.
    """  # click reads the \b itself
    root = ctx.find_root()
    click.echo(SHELLS[shell](root.command, {}, root.info_name or "", COMPLETION_VARIABLE).source())
