"""Reads a settings file: Settings and mapping tests, or every mistake at once; and tells which of it is secret.

Key and token stay as the file has them, references to variables, until a call is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from voucherify_sync.errors import SettingsError, UsageProblem
from voucherify_sync.settings.conversion import SettingsReader
from voucherify_sync.settings.environment import expanded, token_file
from voucherify_sync.settings.mapping_tests import MappingTest, MappingTestReader, files_of_tests
from voucherify_sync.settings.types import Secret, Settings
from voucherify_sync.settings.yaml_nodes import LineColumn, Problems, YamlNode, raise_all, read_document

DEFAULT_FILE = Path("voucherify-sync.yaml")
"""Read from the working directory when no file is named."""

MAX_BYTES = 1024 * 1024

_REFERENCES = re.compile(r"(\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\})+")
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
    file = settings_file(path)
    if file is None:
        return Settings()
    problems = Problems(str(file))
    settings = SettingsReader(problems, environment).settings(_root_of(file, problems))
    raise_all([problems])
    return _with_absolute_paths(settings, file)


def load_with_tests(
    path: Path | None, *, environment: Mapping[str, str]
) -> tuple[Settings, list[MappingTest]]:
    """Read the settings file with its mapping tests, and the `*.test.yaml` files beside it.

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
        tests += MappingTestReader(problems, environment, file).tests(root)
    for other in files_of_tests(file):
        all_problems.append(problems := Problems(str(other)))
        reader = MappingTestReader(problems, environment, other)
        tests += reader.tests(_root_of(other, problems), only=True)
    raise_all(all_problems)
    return settings, tests


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
        problems.add(LineColumn(1, 1), "", "larger than 1 MiB, which no settings file is")
        return None
    try:
        return read_document(content.decode("utf-8-sig"), problems)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = LineColumn(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        problems.add(place, "", "not UTF-8; save the file in that encoding")
        return None


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


def _is_shared(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_mode & 0o077 != 0
    except OSError:
        return False
