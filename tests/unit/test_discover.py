"""Finding: what the command line names becomes sources in reading order, or one error that tells all problems."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from voucherify_sync.errors import SourceError
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.sources.discover import FoundSources, Source, find_sources

LINE = b'{"type":"track"}\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(name: str, data: bytes = LINE) -> str:
    """Write a file and return its name."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def find(*arguments: str) -> FoundSources:
    """Find sources, as a user at a terminal."""
    return find_sources(arguments, stdin_is_terminal=True)


def names(*arguments: str) -> list[str]:
    """Return the names of the sources."""
    return [source.name for source in find(*arguments).sources]


def refusal(*arguments: str) -> SourceError:
    """Return the error that the arguments end in."""
    with pytest.raises(SourceError) as caught:
        find(*arguments)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.remedy
    return caught.value


def test_files_keep_the_order_in_which_they_are_named() -> None:
    """The user's order is the reading order."""
    assert names(put("b.json"), put("a.json")) == ["b.json", "a.json"]


def test_a_source_tells_its_size_and_whether_it_is_gzip() -> None:
    """Gzip is told by the first two bytes, never by the name (S3 clients decompress silently)."""
    packed = gzip.compress(LINE)
    put("plain.gz")
    put("packed.json", packed)
    assert find("plain.gz", "packed.json").sources == [
        Source("plain.gz", Path("plain.gz"), len(LINE)),
        Source("packed.json", Path("packed.json"), len(packed), gzipped=True),
    ]


def test_a_folder_is_read_recursively_in_natural_order() -> None:
    """Digits count as numbers, in folders and in files."""
    wanted = [put(f"logs/{name}") for name in ("s/9/2.gz", "s/9/10.gz", "s/10/1.gz", "s/10/1a.gz", "t/1")]
    assert names("logs") == wanted


def test_month_first_folders_sort_as_dates() -> None:
    """Older RudderStack names its day folders MM-DD-YYYY."""
    wanted = [put(f"r/{day}/1.json") for day in ("01-02-2023", "12-31-2023", "01-01-2024")]
    assert names("r") == wanted


def test_hidden_and_underscored_files_and_folders_are_left_out() -> None:
    """Tools keep their own files under such names: _SUCCESS, .DS_Store."""
    for name in ("d/.hidden", "d/_SUCCESS", "d/.git/a", "d/_tmp/a", "d/a.json"):
        put(name)
    assert names("d") == ["d/a.json"]


def test_a_hidden_file_may_be_named() -> None:
    """Who names a file means it."""
    assert names(put(".hidden")) == [".hidden"]


def test_other_formats_in_a_folder_are_skipped_with_a_notice() -> None:
    """A stray file must not stop a run over a folder."""
    put("d/a.json")
    put("d/b.parquet", b"PAR1....")
    put("d/c.csv.gz", gzip.compress(b"id,event\n1,x\n2,y\n"))
    found = find("d")
    assert [source.name for source in found.sources] == ["d/a.json"]
    assert ["Parquet" in notice for notice in found.notices] == [True, False]
    assert "d/c.csv.gz: skipped, this is a CSV file." in found.notices[1]


def test_a_file_named_twice_is_read_once() -> None:
    """By file, folder, glob or link: one real path is one source."""
    put("d/a.json")
    put("d/b.json")
    Path("d/c.json").symlink_to("a.json")
    found = find("d/b.json", "d", "d/*.json", "-", "-")
    assert [source.name for source in found.sources] == ["d/b.json", "d/a.json", "-"]
    assert any("read once" in notice for notice in found.notices)


def test_links_to_files_are_read_and_links_to_folders_are_not_followed() -> None:
    """A link to a folder could lead out of the archive, or in a circle."""
    put("elsewhere/a.json")
    put("d/b.json")
    Path("d/link.json").symlink_to("../elsewhere/a.json")
    Path("d/folder").symlink_to("../elsewhere")
    Path("d/circle").symlink_to(".")
    assert names("d") == ["d/b.json", "d/link.json"]


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    """A part of the archive may be missing: that is said, not passed over."""
    put("d/a.json")
    Path("d/b.json").symlink_to("gone")
    assert find("d").notices == ["d/b.json: skipped, this link leads nowhere."]
    assert "b.json" in refusal("d/b.json").message


def test_quoted_globs_are_expanded_in_natural_order() -> None:
    """Where the shell did not expand a pattern, we do; ** goes down."""
    put("g/10.json")
    put("g/9.json")
    put("g/x/1.json")
    assert names("g/*.json") == ["g/9.json", "g/10.json"]
    assert names("g/**/*.json") == ["g/9.json", "g/10.json", "g/x/1.json"]
    assert names("g*") == ["g/9.json", "g/10.json", "g/x/1.json"]
    assert names(str(Path("g/*.json").absolute())) == [
        str(Path(name).absolute()) for name in ("g/9.json", "g/10.json")
    ]


def test_a_file_whose_name_looks_like_a_glob_is_a_file() -> None:
    """What exists is taken by its name."""
    put("a[1].json")
    put("a1.json")
    assert names("a[1].json") == ["a[1].json"]


def test_an_empty_file_is_a_source_with_a_notice() -> None:
    """It holds no records, which may surprise."""
    found = find(put("a.json", b""))
    assert [source.size for source in found.sources] == [0]
    assert found.notices == ["a.json: this file is empty."]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_stdin_is_read_when_asked_for_or_when_nothing_is_named(arguments: Sequence[str]) -> None:
    """Without a source and without a terminal standard input is meant."""
    stdin = Source("-", None, None, is_implied=not arguments)
    assert find_sources(arguments, stdin_is_terminal=False) == FoundSources([stdin], [])


def test_a_terminal_is_not_read_unasked() -> None:
    """A command that waits for typing looks as if it hung."""
    assert "voucherify-sync replay -" in refusal().remedy
    assert names("-") == ["-"]


def test_an_empty_name_is_refused() -> None:
    """An unset shell variable in quotes must not replay the current folder."""
    put("a.json")
    assert "empty" in refusal("").message


def test_a_name_that_is_no_utf8_is_read_and_can_be_reported() -> None:
    """File systems allow any bytes in a name; reports are UTF-8."""
    name = os.fsdecode(b"caf\xe9.json")
    assert find(put(name)).sources == [Source("caf\ufffd.json", Path(name), len(LINE))]


def test_a_remedy_can_be_pasted() -> None:
    """Names are quoted for the shell, and what is packed is unpacked on the way."""
    pretty = b'{\n  "type": "track"\n}\n'
    assert "jq -c . < 'a b.json' |" in refusal(put("a b.json", pretty)).remedy
    assert "gzip -dc < a.gz | jq -c . |" in refusal(put("a.gz", gzip.compress(pretty))).remedy


def test_all_problems_are_told_at_once() -> None:
    """Missing, no event files, no match, wrong format: one error names them all."""
    Path("empty").mkdir()
    put("only/a.parquet", b"PAR1....")
    put("a.zip", b"PK\x03\x04....")
    error = refusal("gone.json", "empty", "only", "*.nothing", "a.zip", put("fine.json"))
    assert [line.split(":")[0] for line in error.message.splitlines()] == [
        "gone.json", "empty", "only", "*.nothing", "a.zip"]  # fmt: skip
    assert "unzip -p a.zip |" in error.remedy
    assert "fine.json" not in error.message


def test_an_unreadable_file_is_told_before_the_run() -> None:
    """What cannot be opened is no surprise for hour three (a circle of links: root may read all else)."""
    put("d/a.json")
    Path("d/b.json").symlink_to("b.json")
    assert refusal("d").message == "d/b.json: Too many levels of symbolic links."


def test_a_named_pipe_is_a_source_of_unknown_size_and_is_not_opened() -> None:
    """`replay <(zcat ...)` names a pipe; what is read of it to look is gone."""
    os.mkfifo("pipe")
    assert find("pipe").sources == [Source("pipe", Path("pipe"), None)]
    Path("d").mkdir()
    os.mkfifo("d/pipe")
    assert "no event files" in refusal("d").message


def listed(text: str | bytes, *arguments: str, file: str = "list") -> list[str]:
    """Return the names of the sources of a list, and of arguments."""
    Path(file).write_bytes(text if isinstance(text, bytes) else text.encode())
    found = find_sources(arguments, stdin_is_terminal=True, files_from=file)
    return [source.name for source in found.sources]


def list_refusal(text: str, *arguments: str, file: str = "list") -> SourceError:
    """Return the error that a list ends in."""
    with pytest.raises(SourceError) as caught:
        listed(text, *arguments, file=file)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("b\na\n", ["b", "a"], id="in the order of the list"),
        pytest.param("b\na", ["b", "a"], id="without a last line end"),
        pytest.param("b\r\na\r\n", ["b", "a"], id="CRLF"),
        pytest.param("\n\nb\n  \n", ["b"], id="blank lines"),
        pytest.param("b\na\nb\n", ["b", "a"], id="a name twice"),
        pytest.param(".hidden\n_hidden\n", [".hidden", "_hidden"], id="hidden"),
        pytest.param("#a\n", ["#a"], id="no comment"),
        pytest.param("a*\n~\n a \n-\n", ["a*", "~", " a ", "-"], id="as it stands"),
    ],
)
def test_a_list_names_files_as_they_stand(text: str, expected: list[str]) -> None:
    """One a line; no comments, no globs, no home directory, nothing trimmed but the line end."""
    for name in ("a", "b", ".hidden", "_hidden", "#a", "a*", "~", " a ", "-"):
        put(name)
    assert listed(text) == expected


def test_a_list_comes_after_the_sources() -> None:
    """A file that both name is read once, where it comes first."""
    put("a"), put("b"), put("c")
    assert listed("a\nc\n", "b", "c") == ["b", "c", "a"]


def test_a_name_that_is_no_utf_8_can_be_listed() -> None:
    """Names of files are bytes."""
    Path(os.fsdecode(b"\xff")).write_bytes(LINE)
    assert listed(b"\xff\n") == ["\ufffd"]


@pytest.mark.parametrize("text", ["", "\n", " \r\n\n"], ids=repr)
def test_an_empty_list_is_a_mistake(text: str) -> None:
    """The find before it found nothing."""
    assert list_refusal(text).message == "no files in list."


def test_all_missing_names_are_told_at_once() -> None:
    """The first ten, and how many there are."""
    put("there")
    message = list_refusal("there\n" + "".join(f"gone-{number}\n" for number in range(12))).message
    assert [line for line in message.splitlines() if "gone" in line] == [
        f"gone-{number}: no such file." for number in range(10)
    ]
    assert message.splitlines()[-1] == "2 more names in list cannot be read, 12 in all."


def test_a_list_names_no_folder_and_no_wrong_format() -> None:
    """Both are mistakes of the list."""
    put("folder/a"), put("table.csv", b"a,b\n1,2\n3,4\n")
    message = list_refusal("folder\ntable.csv\n").message
    assert "folder: this is a folder" in message
    assert "table.csv: this is a CSV file" in message


def test_a_list_that_cannot_be_read_is_a_mistake() -> None:
    """It is named."""
    with pytest.raises(SourceError, match="nowhere: No such file"):
        find_sources([], stdin_is_terminal=True, files_from="nowhere")


def test_standard_input_holds_events_or_names() -> None:
    """Not both."""
    with pytest.raises(SourceError, match="both events and names"):
        find_sources(["a", "-"], stdin_is_terminal=False, files_from="-")


def test_a_list_of_names_that_end_with_nul_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """`find -print0` makes one."""
    listed = tmp_path / "list"
    listed.write_bytes(b"a.json\0b.json\0")
    with pytest.raises(SourceError, match="NUL characters") as refused:
        find_sources([], stdin_is_terminal=True, files_from=str(listed))
    assert "-print0" in str(refused.value)
