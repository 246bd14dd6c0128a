"""Numbers, sizes and times read as people write them, and no text uses a phrase that readers stumble over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from voucherify_sync import text

counted, listed, on_one_line, percent = text.counted, text.listed, text.on_one_line, text.percent
size, span = text.size, text.span

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted(file for folder in ("voucherify_sync", "cli", "docs") for file in (ROOT / folder).rglob("*.py"))
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "config.example.yaml")),
    *sorted(file for ending in ("*.html", "*.j2") for file in (ROOT / "voucherify_sync").rglob(ending)),
]
REFUSED = {
    "so many": "give the number a noun: N calls",
    "so much": "give the number a noun and a unit",
    "manieth": "write 1 in N",
    "whoever": "name who does it",
    "anew": "write again, or a verb such as update",
    "mend": "write fix",
    "mended": "write fixed",
    "mends": "write fixes",
    "wing": "name the folder or the stage",
    "wings": "name the folders or the stages",
    "stop in order": "write stop cleanly",
    "stops in order": "write stops cleanly",
    "stopped in order": "write stopped cleanly",
    "stopping in order": "write stopping cleanly",
    "fired": "a row matched",
    "is told": "say who tells it, in the active voice",
    "is asked after": "write is polled, or polls",
    "still to do": "write remaining",
    "as by": "write for example",
    "in force": "write effective",
}
"""Phrase that no text uses -> what to write instead."""
PHRASE = re.compile(rf"\b(?:{'|'.join(REFUSED)})\b|manieth".replace(" ", r"\s+"), re.IGNORECASE)


def texts_of(file: Path) -> Iterator[str]:
    """Yield the docstrings and string constants of a module, but for names such as the fields of a JSON object."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.isidentifier():
            yield node.value


def refused_in(written: str) -> list[str]:
    """Return each refused phrase with the words around it and what to write instead."""
    return [
        f"{' '.join(written[max(0, found.start() - 30) : found.end() + 30].split())!r}: "
        f"{REFUSED[' '.join(found[0].lower().split())]}"
        for found in PHRASE.finditer(written)
    ]


def relative(file: Path) -> str:
    """Return what a test about a file is called."""
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", CODE, ids=relative)
def test_no_text_of_the_code_uses_a_refused_phrase(file: Path) -> None:
    """Docstrings, messages and help are read as much as pages are."""
    assert [found for written in texts_of(file) for found in refused_in(written)] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_no_page_uses_a_refused_phrase(page: Path) -> None:
    """Of the changelog only the newest section counts: what was released stays as it was."""
    written = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":
        written = written.split("\n## ")[1]
    assert refused_in(re.sub(r"\{[{%].*?[%}]\}", "", written)) == []  # code of a template is no text


@pytest.mark.parametrize("written", ["It stops\n  in order.", "So many calls", "as by `export`", "Mend it"])
def test_a_refused_phrase_is_found(written: str) -> None:
    """Also across a line break, and whatever its case."""
    assert len(refused_in(written)) == 1


@pytest.mark.parametrize("written", ["recommend", "amended", "swing", "in order", "it was told", "fire"])
def test_a_word_that_only_holds_a_refused_one_is_fine(written: str) -> None:
    """Phrases are whole words."""
    assert refused_in(written) == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (counted(1, "call"), "1 call"),
        (counted(0, "call"), "0 calls"),
        (counted(12_345, "retry", "retries"), "12,345 retries"),
        (size(0), "0 bytes"),
        (size(999), "999 bytes"),
        (size(1_000), "1.0 kB"),
        (size(999_949), "999.9 kB"),
        (size(999_950), "1.0 MB"),
        (size(3_140_000_000), "3.1 GB"),
        (size(5_000_000_000_000_000), "5,000.0 TB"),
        (percent(0), "0 %"),
        (percent(0.0004), "<0.1 %"),
        (percent(0.625), "62.5 %"),
        (percent(1), "100 %"),
        (percent(19), "1,900 %"),
        (span(-1), "0.0 s"),
        (span(0.44), "0.4 s"),
        (span(9.96), "10 s"),
        (span(59.6), "1 min"),
        (span(73.4), "1 min 13 s"),
        (span(7_800), "2 h 10 min"),
        (span(3_599.7), "1 h"),
        (span(90_000), "1 d 1 h"),
    ],
)
def test_a_number_reads_well(shown: str, expected: str) -> None:
    """Thousands are grouped, and a time has two units at most."""
    assert shown == expected


@pytest.mark.parametrize(
    ("count", "one", "expected"),
    [
        pytest.param(0, "", "", id="none"),
        pytest.param(2, "", "0, 1", id="all"),
        pytest.param(3, "", "0, 1 and 1 more", id="one more"),
        pytest.param(1_203, "", "0, 1 and 1,201 more", id="many more"),
        pytest.param(3, "more type", "0, 1 and 1 more type", id="one more of a name"),
        pytest.param(4, "more type", "0, 1 and 2 more types", id="two more of a name"),
    ],
)
def test_a_list_shows_the_first_and_counts_the_others(count: int, one: str, expected: str) -> None:
    """What is not shown is not made into text either."""
    shown: list[int] = []

    def show(item: int) -> str:
        shown.append(item)
        return str(item)

    assert listed(range(count), show, 2, one) == expected
    assert len(shown) <= 2


def test_a_text_for_one_line_of_a_file_keeps_to_it() -> None:
    """Line ends, escape sequences and turns of the direction of writing become U+FFFD."""
    assert on_one_line("a\nb\x1b[1m\u202eé") == "a\ufffdb\ufffd[1m\ufffdé"
