"""Find the sources of events that the command line names, in reading order.

Opens files only to see whether that can be done and what they begin with; objects are only listed. All problems are
reported at once.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from voucherify_sync.errors import SourceError
from voucherify_sync.sources.gzip_stream import first_bytes, is_gzip
from voucherify_sync.sources.object_store import RemoteObject, find_listed, find_objects, is_url, shown_url
from voucherify_sync.sources.unsupported_formats import HEAD_BYTES, ForeignFormat, recognise
from voucherify_sync.text import counted

STDIN = "-"

NO_SOURCE = (
    "Name files, folders or quoted globs of events, or pipe them in: zcat … | voucherify-sync replay -"
)
_MISSING = (
    "Check the path; a source is a file, a folder, a quoted glob, - for standard input, or a URL: s3://, gs://, az://, "
    "abfs:// or https://."
)
_EMPTY_NAME = "It may come of a shell variable that is not set."
_UNREADABLE = "Check the permissions."
_LIST = (
    "--files-from takes a list of files, one name a line, such as `find segment-logs -name '*.gz'` prints."
)
_NUL = "Leave the option -print0 of find out, or put `tr '\\0' '\\n'` between."
_MAX_LISTED = 10
"""Names of a list that are told, if they cannot be read."""

_DIGITS = re.compile(r"([0-9]+)")
_MONTH_FIRST = re.compile(r"(?P<month>[01][0-9])-(?P<day>[0-3][0-9])-(?P<year>[12][0-9]{3})")


class Source(Struct, frozen=True):
    """One file, pipe or object of events.

    Attributes:
        name: as the user named it, or as it was found under what the user named; ``-`` for stdin. Of a URL of the web
            without its query.
        path: None for stdin and objects.
        size: bytes on disk or in the store; None for stdin, pipes and objects of the web.
        gzipped: it begins as gzip does; False for stdin, pipes and objects, which are not looked into before that.
        is_implied: stdin that is read because no source is named: it must hold something.
        remote: the object, if it is one.
    """

    name: str
    path: Path | None
    size: int | None
    gzipped: bool = False
    is_implied: bool = False
    remote: RemoteObject | None = None

    @property
    def is_pipe(self) -> bool:
        """It can be read only once: stdin, or a named pipe."""
        return self.size is None and self.remote is None


class FoundSources(Struct, frozen=True):
    """What is to be read, in order, and what people should know about it."""

    sources: list[Source]
    notices: list[str]


def find_sources(
    arguments: Sequence[str], *, stdin_is_terminal: bool, files_from: str | None = None
) -> FoundSources:
    """Find the sources that the arguments name, in their order; inside of folders and globs in natural order.

    Args:
        arguments: files, folders, globs, URLs and ``-``; without any, standard input is read, unless there is a list.
        stdin_is_terminal: so that nothing is read from it unasked.
        files_from: a list of files and objects, which follow in its order; ``-`` takes it from standard input.

    Raises:
        SourceError: something is missing, unreadable or of a wrong format, or nothing is left to read.
    """
    if files_from is None and not arguments and stdin_is_terminal:
        raise SourceError("No source of events is given, and standard input is a terminal.", NO_SOURCE)
    if files_from == STDIN and STDIN in arguments:
        raise SourceError(
            "Standard input cannot hold both events and names of files: - is given twice.",
            "Name the events otherwise, or give --files-from a file.",
        )
    search = _SourceSearch()
    for argument in arguments:
        search.add(argument)
    if files_from is not None:
        search.add_listed(files_from)
    elif not arguments:
        search.sources.append(Source(STDIN, None, None, is_implied=True))
    if search.problems:
        sentences, remedies = zip(*search.problems, strict=True)
        raise SourceError("\n".join(sentences), "\n".join(dict.fromkeys(remedies)))
    if search.repeated:
        search.notices.append(f"Files named more than once are read once ({search.repeated} repeated).")
    return FoundSources(search.sources, search.notices)


class _SourceSearch:
    """Collects sources, notices and problems over all arguments."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.notices: list[str] = []
        self.problems: list[tuple[str, str]] = []
        self.repeated = 0
        self._seen: set[str] = set()
        self._shown: Counter[str] = Counter()  # two URLs may differ in what is not shown

    def add(self, argument: str) -> None:
        path = Path(argument)
        if is_url(argument):
            self._add_objects(argument)
        elif argument == STDIN:
            if self._is_new(STDIN):
                self.sources.append(Source(STDIN, None, None))
        elif not argument:
            self.problems.append(("The name of a source is empty.", _EMPTY_NAME))
        elif os.path.isdir(path):  # noqa: PTH112
            self._add_found(self._files(argument), f"{argument}: no event files in this folder.")
        elif os.path.exists(path):  # noqa: PTH110  # not Path: that raises for a name that is too long
            self._add_named(argument)
        elif glob.has_magic(argument):
            self._add_found(self._matches(argument), f"{argument}: no event files match this.")
        else:
            self.problems.append((f"{argument}: no such file or folder.", _MISSING))

    def add_listed(self, file: str) -> None:
        """Add the files and objects that a list names, as they stand there; the first few that are none are told."""
        shown = "standard input" if file == STDIN else file
        try:
            with open(0 if file == STDIN else file, "rb", closefd=file != STDIN) as listed:
                names = [os.fsdecode(line.removesuffix(b"\r")) for line in listed.read().split(b"\n")]
        except OSError as error:
            self.problems.append((f"{shown}: {error.strerror}.", _LIST))
            return
        names = [name for name in names if name.strip()]
        if any("\0" in name for name in names):
            self.problems.append((f"{shown} holds NUL characters: it has one name a line.", _NUL))
            return
        if not names:
            self.problems.append((f"no files in {shown}.", _LIST))
        problems_before = len(self.problems)
        urls = [name for name in names if is_url(name)]
        objects = iter(find_listed(urls) if urls else ())
        for name in names:
            path = Path(name)
            if is_url(name):
                found = next(objects)
                if isinstance(found, SourceError):
                    self.problems.append((found.message, found.remedy))
                else:
                    self._add_object(found)
            elif os.path.isdir(path):  # noqa: PTH112
                self.problems.append((f"{name}: this is a folder, and {shown} names files.", _LIST))
            elif os.path.exists(path):  # noqa: PTH110  # not Path: that raises for a name that is too long
                self._add_named(name)
            else:
                self.problems.append((f"{name}: no such file.", _LIST))
        more = len(self.problems) - problems_before - _MAX_LISTED
        if more > 0:
            del self.problems[problems_before + _MAX_LISTED :]
            sentence = (
                f"{counted(more, 'more name')} in {shown} cannot be read, {more + _MAX_LISTED:,} in all."
            )
            self.problems.append((sentence, _LIST))

    def _add_named(self, name: str) -> None:
        """Add a file that the user named: a wrong format is an error."""
        source = self._look(name) if self._is_new(os.path.realpath(name)) else None
        if isinstance(source, Source):
            self.sources.append(source)
        elif source is not None:
            self.problems.append((f"{name}: {source.refusal}.", source.remedy(name)))

    def _add_found(self, names: list[str], if_none: str) -> None:
        """Add what a folder or a glob holds: a wrong format is skipped with a notice."""
        problems_before, usable = len(self.problems), False
        for name in names:
            if not self._is_new(os.path.realpath(name)):
                usable = True
                continue
            source = self._look(name)
            if isinstance(source, ForeignFormat):
                self.notices.append(f"{name}: skipped, this is {source.name}. {source.remedy(name)}")
            elif source and source.size is not None:
                self.sources.append(source)
                usable = True
        if not usable and len(self.problems) == problems_before:
            self.problems.append((if_none, "\n".join([*self.notices, _MISSING])))

    def _add_objects(self, url: str) -> None:
        """Add the objects that a URL names, in natural order; what they hold shows when they are read."""
        try:
            found = find_objects(url)
        except SourceError as error:
            self.problems.append((error.message, error.remedy))
            return
        for each in sorted(found, key=lambda each: _natural(each.url)):
            self._add_object(each)

    def _add_object(self, found: RemoteObject) -> None:
        if self._is_new(found.url):
            shown = shown_url(found.url)
            self._shown[shown] += 1
            number = f"#{self._shown[shown]}" if self._shown[shown] > 1 else ""
            self.sources.append(Source(f"{shown}{number}", None, found.size, remote=found))

    def _matches(self, pattern: str) -> list[str]:
        """Return the files that a glob matches, and those under the folders that it matches."""
        files: list[str] = []
        for name in sorted(glob.glob(pattern, recursive=True), key=_natural):  # noqa: PTH207 - may be absolute
            files += self._files(name) if os.path.isdir(name) else [name]  # noqa: PTH112
        return list(dict.fromkeys(files))

    def _files(self, folder: str) -> list[str]:
        """Return the files under a folder in natural order; links to folders are not followed."""
        files: list[str] = []
        for where, folders, names in os.walk(folder, onerror=self._unreadable):
            folders[:] = filter(is_read, folders)
            files += [os.path.join(where, name) for name in filter(is_read, names)]
        return sorted(files, key=_natural)

    def _unreadable(self, error: OSError) -> None:
        self.problems.append((f"{error.filename}: {error.strerror}.", _UNREADABLE))

    def _is_new(self, identity: str) -> bool:
        if identity in self._seen:
            self.repeated += 1
            return False
        self._seen.add(identity)
        return True

    def _look(self, name: str) -> Source | ForeignFormat | None:
        """Look at the first bytes of a file.

        Returns:
            The source, or the wrong format; None, with a notice or a problem, if it is unreadable.
        """
        text = os.fsencode(name).decode("utf-8", "replace")  # the file system's name may be no UTF-8
        try:
            status = os.stat(name)
            if not stat.S_ISREG(status.st_mode):
                return Source(text, Path(name), None)
            with open(name, "rb", buffering=0) as file:
                head = file.read(HEAD_BYTES)
        except FileNotFoundError:
            self.notices.append(f"{name}: skipped, this link leads nowhere.")
            return None
        except OSError as error:
            self._unreadable(error)
            return None
        if not head:
            self.notices.append(f"{name}: this file is empty.")
        gzipped = is_gzip(head)
        wrong = recognise(first_bytes(head, HEAD_BYTES) if gzipped else head, gzipped=gzipped)
        return wrong or Source(text, Path(name), status.st_size, gzipped)


def is_read(path: str) -> bool:
    """Tell whether what lies at this path below a folder is read with the folder."""
    return not any(part.startswith((".", "_")) for part in Path(path).parts)


def _natural(path: str) -> tuple[list[list[str | int]], str]:
    """Return a sort key: digits count as numbers, MM-DD-YYYY folders (of older RudderStack) as dates."""
    parts: list[list[str | int]] = []
    for part in Path(path).parts:
        date = _MONTH_FIRST.fullmatch(part)
        text = f"{date['year']}-{date['month']}-{date['day']}" if date else part
        parts.append([int(piece) if at % 2 else piece for at, piece in enumerate(_DIGITS.split(text))])
    return parts, path
