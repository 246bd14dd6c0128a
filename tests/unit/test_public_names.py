"""The library's public names are there, and importing the package costs nothing."""

from __future__ import annotations

import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

import voucherify_sync


@pytest.mark.parametrize("name", voucherify_sync.__all__)
def test_a_public_name_is_imported_when_it_is_used(name: str) -> None:
    """Every name of `__all__` has a home."""
    assert getattr(voucherify_sync, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = voucherify_sync.no_such_name


def test_the_package_alone_imports_none_of_its_rooms() -> None:
    """`--help` imports the package; it must not import requests."""
    wanted = "('voucherify_sync.', 'requests')"
    code = f"import sys, voucherify_sync; print([m for m in sys.modules if m.startswith({wanted})])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def imported_by(*words: str) -> list[str]:
    """Return which of the heavy libraries a run of the command imports."""
    code = (
        "import sys; from importlib.metadata import entry_points\n"
        "main = next(iter(entry_points(group='console_scripts', name='voucherify-sync'))).load()\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = 'requests', 'rich', 'jinja2', 'yaml', 'sqlite3', 'multiprocessing'\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return list(literal_eval(run.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "command", ["", "replay", "plan", "explain", "coverage", "check", "init", "status", "retry"]
)
def test_help_imports_nothing_heavy(command: str) -> None:
    """Help is instant: no HTTP, no terminal library, no templates, no YAML."""
    assert imported_by(*filter(None, [command]), "--help") == []


@pytest.mark.parametrize("words", [["replay", "--dry-run", "-q"], ["plan", "-q"], ["coverage"]], ids=" ".join)
def test_what_makes_no_call_imports_nothing_that_does(words: list[str], samples: Path) -> None:
    """A preview starts fast, and a small one needs no other process."""
    assert not {"requests", "multiprocessing"} & set(imported_by(*words, str(samples)))
