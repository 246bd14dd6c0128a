"""Prints how large the program is and how it is cut, for the working tree and for earlier commits.

    python benchmarks/structure.py [COMMIT]…

A comparison that needs no run: lines that do something, files, classes, names that stand for two things, and the
share of private functions that are tiny and have one caller.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]
_FOLDERS = ("voucherify_sync", "cli")
_TINY_LINES = 9
"""A private function that is shorter than this and has one caller belongs into that caller, unless it names a rule."""

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


class Structure(NamedTuple):
    """What is counted of one version of the program.

    Attributes:
        code_lines: lines without blank ones, comments and docstrings.
        comments: comments, whole lines and ends of lines.
        repeated_classes: names that several classes have, sorted.
        repeated_modules: names of modules that are there twice within a folder or again below a module's, sorted.
        tiny_ratio: of the private functions, those that are tiny and have one caller.
    """

    files: int
    code_lines: int
    comments: int
    classes: int
    repeated_classes: list[str]
    repeated_modules: list[str]
    private_functions: int
    tiny_ratio: float


def structure_of(sources: dict[str, str]) -> Structure:
    """Count what `sources` (path below the project's root to text) hold."""
    classes: Counter[str] = Counter()
    code_lines = comments = private = tiny = 0
    for text in sources.values():
        tree = ast.parse(text)
        lines = _code_lines(text, tree)
        code_lines += len(lines)
        comments += sum(token.type == tokenize.COMMENT for token in _tokens(text))
        classes.update(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
        uses = _uses(tree)
        for function in _private_functions(tree):
            private += 1
            length = len(lines.intersection(range(function.lineno, (function.end_lineno or 0) + 1)))
            tiny += uses[function.name] == 1 and length < _TINY_LINES
    return Structure(
        files=len(sources),
        code_lines=code_lines,
        comments=comments,
        classes=classes.total(),
        repeated_classes=sorted(name for name, times in classes.items() if times > 1),
        repeated_modules=_repeated_modules(sources),
        private_functions=private,
        tiny_ratio=tiny / private if private else 0.0,
    )


def _code_lines(text: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that hold code."""
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        # A text that stands alone documents a module, a class, a function or the constant before it.
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in _tokens(text):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - docstrings


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)


def _private_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__"):
            yield node


def _uses(tree: ast.Module) -> Counter[str]:
    """Count how often each name is read in a module, alone or as an attribute."""
    names: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names[node.id] += 1
        elif isinstance(node, ast.Attribute):
            names[node.attr] += 1
    return names


def _repeated_modules(paths: Iterable[str]) -> list[str]:
    """Return the modules below a folder of the library that are named like a module at its top."""
    modules = [Path(path).with_suffix("").parts for path in paths if not path.endswith("__init__.py")]
    top = {parts[1] for parts in modules if parts[0] == _FOLDERS[0] and len(parts) == 2}
    return sorted("/".join(parts) for parts in modules if len(parts) > 2 and parts[-1] in top)


def _sources(commit: str | None) -> dict[str, str]:
    """Read the program's files from the working tree, or from a commit."""
    if commit is None:
        files = (path for folder in _FOLDERS for path in sorted((_ROOT / folder).rglob("*.py")))
        return {str(path.relative_to(_ROOT)): path.read_text(encoding="utf-8") for path in files}
    names = _git("ls-tree", "-r", "--name-only", commit, *_FOLDERS).splitlines()
    return {name: _git("show", f"{commit}:{name}") for name in names if name.endswith(".py")}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def main() -> None:
    """Print one block for each commit of the command line, then one for the working tree."""
    for commit in [*sys.argv[1:], None]:
        found = structure_of(_sources(commit))
        print(commit or "working tree")
        print(f"  files                          {found.files:>8,}")
        print(f"  lines of code                  {found.code_lines:>8,}")
        print(f"  comments                       {found.comments:>8,}")
        print(f"  classes                        {found.classes:>8,}")
        print(
            f"  names of several classes       {len(found.repeated_classes):>8}  {' '.join(found.repeated_classes)}"
        )
        print(
            f"  modules named as a top one     {len(found.repeated_modules):>8}  {' '.join(found.repeated_modules)}"
        )
        print(f"  private functions              {found.private_functions:>8,}")
        print(f"  of them tiny, with one caller  {found.tiny_ratio:>8.1%}")


if __name__ == "__main__":
    main()
