"""The library's public names are there, and importing the package costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from voucherify_sync import api


@pytest.mark.parametrize("name", api.__all__)
def test_a_public_name_is_there(name: str) -> None:
    """Every name of `__all__` means something."""
    assert getattr(api, name) is not None


def test_the_package_alone_imports_nothing_else() -> None:
    """`--help` imports the package; it must not import requests."""
    wanted = "('voucherify_sync.', 'requests')"
    code = f"import sys, voucherify_sync; print([m for m in sys.modules if m.startswith({wanted})])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def imported_by(*words: str, **variables: str) -> list[str]:
    """Return which of the heavy libraries a run of the command imports."""
    code = (
        "import sys; from importlib.metadata import entry_points\n"
        "main = next(iter(entry_points(group='console_scripts', name='voucherify-sync'))).load()\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = 'requests', 'rich', 'jinja2', 'yaml', 'sqlite3', 'multiprocessing', 'http.client'\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)\n"
    )
    command, environment = [sys.executable, "-c", code, *words], {**os.environ, **variables}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return list(literal_eval(run.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "command",
    [
        "",
        "replay",
        "plan",
        "explain",
        "coverage",
        "check",
        "init",
        "status",
        "retry",
        "forget",
        "sandbox",
        "completion",
    ],
)
def test_help_imports_nothing_heavy(command: str) -> None:
    """Help is instant: no HTTP, no terminal library, no templates, no YAML."""
    assert imported_by(*filter(None, [command]), "--help") == []


@pytest.mark.parametrize("words", ["", "replay --", "replay --type ", "sandbox --"])
def test_a_tab_imports_nothing_heavy(words: str) -> None:
    """Completion is instant, too."""
    typed = f"voucherify-sync {words}"
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    assert imported_by(_VOUCHERIFY_SYNC_COMPLETE="bash_complete", **asked) == []


@pytest.mark.parametrize("words", [["replay", "--dry-run", "-q"], ["plan", "-q"], ["coverage"]], ids=" ".join)
def test_what_makes_no_call_imports_nothing_that_does(words: list[str], samples: Path) -> None:
    """A preview starts fast, and a small one needs no other process."""
    assert not {"requests", "multiprocessing"} & set(imported_by(*words, str(samples)))
