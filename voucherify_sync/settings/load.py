"""Reads a settings file: Settings and mapping tests, or every mistake at once; and tells which of it is secret.

Key and token stay as the file has them, references to variables, until a call is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from voucherify_sync.errors import SettingsError, UsageProblem
from voucherify_sync.events import ORDERS
from voucherify_sync.expressions.set_entries import set_entries
from voucherify_sync.fields import WORKING_FIELDS
from voucherify_sync.paths import destination_parser
from voucherify_sync.settings.conversion import SettingsReader
from voucherify_sync.settings.environment import expanded, token_file
from voucherify_sync.settings.mapping_tests import MappingTest, MappingTestReader, files_of_tests
from voucherify_sync.settings.types import (
    DEFAULT_ROWS,
    DEFAULT_TABLES,
    TRACK_ROWS,
    Secret,
    SectionSettings,
    Settings,
    destinations_of,
)
from voucherify_sync.settings.yaml_nodes import (
    LineColumn,
    Problems,
    YamlNode,
    place_of,
    raise_all,
    read_document,
)

DEFAULT_FILE = Path("voucherify-sync.yaml")
"""Read from the working directory when no file is named."""

MAX_BYTES = 1024 * 1024
_TOO_LARGE = "larger than 1 MiB, which no settings file is"

_REFERENCES = re.compile(r"(\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\})+")
_ADDRESS_ROWS = sum(place.startswith("customer.address.") for place in DEFAULT_ROWS.values())
_DEFAULT = re.compile(r":-[^}]+\}")


def settings_file(path: Path | None) -> Path | None:
    """Return the file that `load` reads: the one named, else the default one if it is there, else None."""
    return path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)


def load(path: Path | None, *, environment: Mapping[str, str]) -> Settings:
    """Read the settings file; without one the defaults apply.

    Args:
        path: the file, or None for `./voucherify-sync.yaml` if it exists.
        environment: where `${VAR}` is looked up (not those of api.key and api.token: see `credentials`).

    Raises:
        SettingsError: all mistakes, each `file:line:column: setting.path: message`, in the file's order.
    """
    return load_with_doubts(path, environment=environment)[0]


def load_with_doubts(path: Path | None, *, environment: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Read the settings file as `load` does; return also what in it is likely to be meant otherwise."""
    file = settings_file(path)
    if file is None:
        return Settings(), []
    problems = Problems(str(file))
    settings = SettingsReader(problems, environment).settings(_root_of(file, problems))
    raise_all([problems])
    return _with_absolute_paths(settings, file), problems.warnings()


def parsed(text: str) -> tuple[Settings, list[str]]:
    """Read the text of a settings file that the program is about to write; no variable has a value.

    Returns:
        The settings, and what in them is likely to be meant otherwise.

    Raises:
        SettingsError: all mistakes.
    """
    problems, settings = Problems(""), Settings()
    if len(text.encode()) > MAX_BYTES:
        problems.add(LineColumn(1, 1), "", _TOO_LARGE)
    else:
        settings = SettingsReader(problems, {}).settings(read_document(text, problems))
    raise_all([problems])
    return settings, problems.warnings()


def load_with_tests(
    path: Path | None, *, environment: Mapping[str, str]
) -> tuple[Settings, list[MappingTest], list[str]]:
    """Read the settings file with its mapping tests, and the `*.test.yaml` files beside it.

    Return also what in the file is likely to be meant otherwise, each with its place.

    Args:
        path: as for `load`; without any settings file, `*.test.yaml` of the working directory.
        environment: as for `load`.

    Raises:
        SettingsError: all mistakes of all files.
    """
    file = settings_file(path)
    settings, tests, all_problems = Settings(), list[MappingTest](), list[Problems]()
    if file is not None:
        all_problems.append(problems := Problems(str(file)))
        root = _root_of(file, problems)
        settings = _with_absolute_paths(SettingsReader(problems, environment).settings(root), file)
        if not problems.is_cut:  # half of a test would have mistakes of its own
            tests += MappingTestReader(problems, environment, file).tests(root)
    for other in files_of_tests(file):
        all_problems.append(problems := Problems(str(other)))
        reader = MappingTestReader(problems, environment, other)
        root = _root_of(other, problems)
        tests += [] if problems.is_cut else reader.tests(root, only=True)
    raise_all(all_problems)
    return settings, tests, [line for problems in all_problems for line in problems.warnings()]


class BlockPlace(Struct, frozen=True):
    """Where a key of the settings file stands, for text that is pasted below it.

    Attributes:
        line: 1-based.
        indent: spaces before the key.
        inner_indent: spaces before what lies below it; None where there is nothing yet.
        is_block: lines can be pasted below it; not so if its value stands in braces.
    """

    line: int
    indent: int
    inner_indent: int | None
    is_block: bool

    @classmethod
    def of(cls, key: YamlNode, value: YamlNode) -> Self:
        """Return the place of a key with its value."""
        inside = next(iter(value.pairs.values()))[0] if value.pairs else None
        is_block = value.is_null if inside is None else inside.place.line > key.place.line
        is_open = (
            is_block and inside is not None and value.place == inside.place
        )  # braces stand before what is inside
        return cls(
            key.place.line,
            key.place.column - 1,
            inside.place.column - 1 if inside is not None else None,
            is_block=is_block and (inside is None or is_open),
        )


def block_places(path: Path | None) -> dict[str, BlockPlace]:
    """Return where the sections and settings of the file stand that `load` has read, such as `track.mapping`."""
    file = settings_file(path)
    root = None if file is None else _root_of(file, Problems(str(file)))
    places = {}
    for name, (key, value) in ((root and root.pairs) or {}).items():
        places[name] = BlockPlace.of(key, value)
        for inner, pair in (value.pairs or {}).items():
            places[f"{name}.{inner}"] = BlockPlace.of(*pair)
    return places


def absolute(path: str, folder: Path) -> str:
    """Return an absolute path: relative ones are relative to a folder, and ``~`` is the home directory.

    Without a home directory the path stays as it is; what opens it reports that (`expanded`).
    """
    with suppress(UsageProblem):
        return str(folder.absolute() / expanded(path))
    return path


def _with_absolute_paths(settings: Settings, file: Path) -> Settings:
    """Make the paths of the settings absolute: they are relative to the settings file."""
    api, delivery = settings.api, settings.delivery
    if api.token_file:
        api = replace(api, token_file=absolute(api.token_file, file.parent))
    ledger = absolute(delivery.ledger, file.parent) if delivery.ledger else None  # empty is the default
    delivery = replace(delivery, ledger=ledger)
    return replace(settings, api=api, delivery=delivery)


def _root_of(file: Path, problems: Problems) -> YamlNode | None:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            [f"{file}: cannot be read: {error.strerror}"], "`voucherify-sync init` writes a settings file."
        ) from None
    if len(content) > MAX_BYTES:
        problems.add(LineColumn(1, 1), "", _TOO_LARGE)
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = bytes(error.object[: error.start]).decode()
        problems.add(
            place_of(before, len(before)), "", "not UTF-8 text; save the file with the encoding UTF-8"
        )
        if b"\0" in content:  # it is UTF-16, or no text at all
            return None
        text = content.decode("utf-8-sig", "replace")
    return read_document(text, problems)


def masked(secret: Secret) -> str:
    """Return what may be shown of a secret: references to variables as they are, all else as `***`."""
    text = secret.reveal()
    return _DEFAULT.sub(":-***}", text) if _REFERENCES.fullmatch(text) else "***"


def warnings(path: Path | None, settings: Settings) -> list[str]:
    """Return a sentence for each file with a secret that other users of the machine can read.

    Args:
        path: the settings file as it was given to `load`.
        settings: what `load` made of it.
    """
    api = settings.api
    files: list[Path | None] = []
    texts = [secret.reveal() for secret in (api.token, api.key)]
    if not all(_REFERENCES.fullmatch(text) and not _DEFAULT.search(text) for text in texts):
        files.append(settings_file(path))  # it holds a secret itself, and not only the name of a variable
    with suppress(UsageProblem):  # a file that cannot be found is open to nobody
        files.append(token_file(api))
    return [
        f"{file} holds a key and is open to other users; `chmod 600 {file}`, or keep the key in a variable"
        for file in files
        if file is not None and _is_shared(file)
    ]


def default_table_notices(settings: Settings) -> list[str]:
    """Return a sentence for each section whose rows have switched the default table off, with what that leaves empty.

    There is none where the rows fill the same fields, or where the file says `extend_default: false`.
    """
    notices = []
    for name, section, rows in _with_default_tables(settings):
        replaces = section.mapping or (section.set and name != ORDERS.name)
        if not replaces or section.extend_default is not None:
            continue
        parse, holder = destination_parser(name), "order" if name == ORDERS.name else "customer"
        targets = list(chain.from_iterable(map(destinations_of, section.mapping.values())))
        filled = [entry.destination.text for entry in set_entries(section.set, parse=parse)]
        own = [parse(target).keys for target in (*targets, *filled, *section.add)]
        if any(place[-1] in WORKING_FIELDS for place in own):
            own.append(("customer", "name"))  # it is made of these
        empty = []
        for destination in dict.fromkeys(each for each in rows if holder in ("order", each.split(".")[0])):
            keys = parse(destination).keys
            is_filled = any(place[: len(keys)] == keys[: len(place)] for place in own)
            if not is_filled and keys[-1] not in WORKING_FIELDS:
                empty.append(destination.removeprefix("customer."))
        if empty:
            if sum(field.startswith("address.") for field in empty) == _ADDRESS_ROWS:
                empty = list(dict.fromkeys(field.partition(".")[0] for field in empty))
            what = "mapping" if section.mapping else "set"
            notices.append(
                f"{name}.{what} replaces the default table, which would fill these fields of the {holder}, too: "
                f"{', '.join(empty)}. Set {name}.extend_default: true to keep it, or false if this is meant."
            )
    return notices


def _with_default_tables(settings: Settings) -> Iterator[tuple[str, SectionSettings, list[str]]]:
    """Yield the sections that have a default table, with its destinations; entries where only they replace it."""
    for kind, table in DEFAULT_TABLES.items():
        section = getattr(settings, kind)
        if kind in ("identify", "track") or not section.disabled:  # the others are off by default
            yield kind, section, [each for target in table.values() for each in destinations_of(target)]
    track = settings.track
    for name, entry in track.events.items():
        if not (track.mapping or track.set or entry.disabled):
            yield f"track.events.{name}", track.for_entry(entry), list(TRACK_ROWS.values())


def _is_shared(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_mode & 0o077 != 0
    except OSError:
        return False
