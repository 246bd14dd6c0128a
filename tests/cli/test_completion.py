"""What the Tab key proposes: commands, options, their values and file names."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from support.cli import Cli

PROGRAM = "voucherify-sync"


def proposed(cli: Cli, shell: str, *words: str) -> list[str]:
    """Return what the program answers to the script of a shell; the last of the words is incomplete."""
    joint = " " if shell == "fish" else "\n"
    position = words[-1] if shell == "fish" else str(len(words))
    ended = cli(
        env={
            "_VOUCHERIFY_SYNC_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": joint.join([PROGRAM, *words]),
            "COMP_CWORD": position,
        }
    )
    assert (ended.code, ended.err) == (0, "")
    return ended.out.splitlines()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["re"], ["plain,replay", "plain,retry"]),
        (["replay", ""], ["file,"]),
        (["replay", "a.ndjson", "segment"], ["file,segment"]),
        (["plan", "--config", "vou"], ["file,vou"]),
        (["retry", "letters"], ["file,letters"]),
        (["replay", "--dr"], ["plain,--dry-run"]),
        (
            ["replay", "--type", ""],
            [f"plain,{kind}" for kind in ("identify", "track", "page", "screen", "group")],
        ),
        (["replay", "--type", "=", "i"], ["plain,identify"]),
        (
            ["replay", "--type", "="],
            [f"plain,{kind}" for kind in ("identify", "track", "page", "screen", "group")],
        ),
        (["replay", "--on-doubt", "re"], ["plain,resend"]),
        (["plan", "--progress", "j"], ["plain,json"]),
        (["retry", "--reason", "gave"], ["plain,gave_up"]),
        (["sandbox", "--switch", "nulls", "=", "i"], ["plain,ignore"]),
        (["sandbox", "--switch", "=", "nulls", "=", "i"], ["plain,ignore"]),
        (["completion", ""], ["plain,bash", "plain,zsh", "plain,fish"]),
        (["replay", "--since", ""], [""]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bash_gets_what_fits(run_cli: Cli, words: list[str], answer: list[str]) -> None:
    """Bash cuts words at `=`, and replaces what stands behind it."""
    assert proposed(run_cli, "bash", *words) == answer


@pytest.mark.parametrize(
    ("shell", "words", "answer"),
    [
        ("zsh", ["sta"], ["plain", "status", "Show what was sent to this project."]),
        ("zsh", ["replay", "--type=i"], ["plain", "--type=identify", "_"]),
        ("zsh", ["replay", "my"], ["file", "my", "_"]),
        ("fish", ["sta"], ["plain,status\tShow what was sent to this project."]),
        ("fish", ["replay", "--type=i"], ["plain,--type=identify"]),
        ("fish", ["sandbox", "--switch=nulls=i"], ["plain,--switch=nulls=ignore"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_zsh_and_fish_get_descriptions_and_whole_words(
    run_cli: Cli, shell: str, words: list[str], answer: list[str]
) -> None:
    """They replace the whole word, so that `--type=` must stand in what is proposed."""
    assert proposed(run_cli, shell, *words) == answer


@pytest.mark.parametrize(
    ("shell", "parts"),
    [
        ("bash", ["complete -o nosort", "bash_complete"]),
        ("zsh", ["compdef", "zsh_complete", "compset -P 1 '--*='; _path_files -f"]),
        (
            "fish",
            ["fish_complete", "string split --max 1", "complete --do-complete \"'' \"(commandline -ct)"],
        ),
    ],
)
def test_the_script_of_a_shell_is_printed(run_cli: Cli, shell: str, parts: list[str]) -> None:
    """It is click's, with what we change in it."""
    script = run_cli("completion", shell).out
    assert [part for part in parts if part not in script] == []


def test_an_unknown_shell_is_a_usage_error(run_cli: Cli) -> None:
    """The message names those that there are."""
    ended = run_cli("completion", "tcsh")
    assert (ended.code, ended.out) == (2, "")
    assert "'bash', 'zsh', 'fish'" in ended.err


def test_bash_completes_on_a_terminal(run_cli: Cli) -> None:
    """Typed words and Tabs become the arguments that are meant, also with spaces, `~`, folders and `=`."""
    folder = run_cli.folder
    (folder / "my folder").mkdir()
    (folder / "my folder" / "the events.ndjson").touch()
    (folder / "voucherify-sync.yaml").touch()
    typed = {
        "repl\t my\t\t": ["replay", "my folder/the events.ndjson"],
        "plan -c vouch\t ~/my\t\t": [
            "plan",
            "-c",
            "voucherify-sync.yaml",
            f"{folder}/my folder/the events.ndjson",
        ],
        "replay --config=vouch\t --dry\t": ["replay", "--config=voucherify-sync.yaml", "--dry-run"],
        'replay --ty\t tr\t "my f\t\t': ["replay", "--type", "track", "my folder/the events.ndjson"],
    }
    with Bash(run_cli) as bash:
        for keys, arguments in typed.items():
            assert bash.arguments_of(f"{PROGRAM} {keys}") == arguments


class Bash:
    """A bash on a terminal of its own, which shows the arguments of our program in place of running it."""

    def __init__(self, cli: Cli) -> None:
        programs = f"{Path(sys.executable).parent}{os.pathsep}{cli.env['PATH']}"
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(cli.folder)
            os.execvpe(
                "bash", ["bash", "--norc", "--noprofile", "-i"], {**cli.env, "PATH": programs, "PS1": ""}
            )
        self._read_to("ready", f"{PROGRAM}() {{ printf '<%s>' \"$@\"; echo '<end>'; }}\n")
        self._read_to("ready", f'eval "$(command {PROGRAM} completion bash)"\n')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)

    def arguments_of(self, keys: str) -> list[str]:
        """Type the keys and Enter; return the arguments."""
        screen = self._read_to("<end>", f"{keys}\n")
        return re.findall(r"<([^<>]*)>", screen)[:-1]

    def _read_to(self, mark: str, keys: str) -> str:
        """Type keys, and return the screen up to a mark."""
        if mark == "ready":
            keys += 'printf "%s\\n" rea""dy\n'
        os.write(self._terminal, keys.encode())
        screen, deadline = "", time.monotonic() + 60
        while mark not in screen:
            assert time.monotonic() < deadline, screen
            if select.select([self._terminal], [], [], 1)[0]:
                screen += os.read(self._terminal, 4_096).decode().replace("\r", "")
        return screen
