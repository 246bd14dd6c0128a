"""The tree shows the architecture, and the imports keep to it."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "voucherify_sync"
CLI = ROOT / "cli"

FOUNDATION = {
    "expressions",
    "outcomes",
    "events",
    "fields",
    "field_types",
    "exit_codes",
    "paths",
    "errors",
    "text",
    "timestamps",
    "stop",
    "findings",
}
DATA = FOUNDATION | {"settings"}
MIDDLE = DATA | {"sources", "mapping", "voucherify", "state"}
MAY_IMPORT = {
    **dict.fromkeys(FOUNDATION, FOUNDATION),
    "settings": FOUNDATION,
    "sources": DATA,
    "mapping": DATA,
    "state": DATA | {"sources"},
    "voucherify": DATA,
    "report": DATA | {"voucherify", "sources", "state"},
    "delivery": MIDDLE,
    "run": MIDDLE | {"delivery", "report"},
    "preview": MIDDLE | {"delivery", "report", "run"},
    "sandbox": FOUNDATION,
    "api": MIDDLE | {"delivery", "report", "run", "preview", "sandbox"},
    "__init__": MIDDLE | {"delivery", "report", "run", "preview", "sandbox", "api"},
}
"""Folder or top module of the library -> the others that it may import from."""

ONLY_IN = {
    "requests": ["voucherify_sync/voucherify/client.py"],
    "urllib3": ["voucherify_sync/voucherify/client.py"],
    "yaml": ["voucherify_sync/settings/"],
    "ruamel": ["voucherify_sync/settings/rewriting.py"],
    "click": ["cli/"],
    "rich": ["cli/"],
    "gzip": ["voucherify_sync/sources/"],
    "zlib": ["voucherify_sync/sources/", "voucherify_sync/state/dead_letters.py"],
    "isal": [
        "voucherify_sync/sources/",
        "voucherify_sync/state/dead_letters.py",
        "voucherify_sync/state/prepared_archive.py",
        "voucherify_sync/state/segments.py",
    ],
    "sqlite3": ["voucherify_sync/state/"],
    "obstore": ["voucherify_sync/sources/object_store.py"],
    "botocore": ["voucherify_sync/sources/object_store.py"],
    "ray": ["voucherify_sync/run/cluster.py"],
    "jinja2": ["voucherify_sync/report/html.py"],
    "markupsafe": ["voucherify_sync/report/html.py"],
}
"""Third-party or standard module -> the only places where it is known."""


def python_files() -> list[Path]:
    """Return all modules of the library and of the command line."""
    return sorted([*LIBRARY.rglob("*.py"), *CLI.rglob("*.py")])


def imported_modules(file: Path) -> set[str]:
    """Return the dotted names of the modules that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


def folder_of(file: Path) -> str:
    """Return the first name below the library: a folder or a module's own name."""
    return file.relative_to(LIBRARY).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(LIBRARY.rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_inside_the_library_go_one_way(file: Path) -> None:
    """Imports go down only."""
    own = folder_of(file)
    for name in imported_modules(file):
        parts = name.split(".")
        if parts[0] == "voucherify_sync" and len(parts) > 1 and parts[1] != own:
            assert parts[1] in MAY_IMPORT[own], f"{own} imports {name}"


@pytest.mark.parametrize("file", python_files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_each_outside_library_is_known_in_one_place_only(file: Path) -> None:
    """What may change from outside has one door."""
    place = file.relative_to(ROOT).as_posix()
    for name in imported_modules(file):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or place.startswith(tuple(allowed)), f"{place} imports {name}"


@pytest.mark.parametrize("file", sorted(LIBRARY.rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_the_library_never_prints(file: Path) -> None:
    """Streams belong to the command line."""
    calls = [n.func for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
    assert not [f for f in calls if isinstance(f, ast.Name) and f.id in {"print", "input"}]


@pytest.mark.parametrize("file", python_files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(file: Path) -> None:
    """A module docstring tells what comes in, what goes out, what never happens."""
    assert ast.get_docstring(ast.parse(file.read_text()))


def test_no_class_name_stands_for_two_things() -> None:
    """A reader who meets a name knows which class is meant."""
    names = Counter(
        node.name
        for file in python_files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_no_module_is_named_like_one_at_the_top() -> None:
    """`events` is one file, wherever it is named."""
    top = {file.name for file in LIBRARY.glob("*.py")} - {"__init__.py"}
    assert [file for file in LIBRARY.rglob("*.py") if file.parent != LIBRARY and file.name in top] == []


def test_the_command_line_is_named_in_one_place_of_the_tests() -> None:
    """Tests run the installed command; only the fixture that does so knows its import name."""
    name = "voucherify_sync" + "_cli"
    users = [f.name for f in (ROOT / "tests").rglob("*.py") if name in f.read_text()]
    assert users in ([], ["conftest.py"])


def test_every_folder_is_part_of_an_installation() -> None:
    """An editable installation would not show that one is missing."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(file.parent.relative_to(ROOT).parts) for file in LIBRARY.rglob("*.py")}
    assert folders <= set(packages)
