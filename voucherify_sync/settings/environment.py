"""`${VAR}` in the texts of the settings, and the credentials: key and token are looked up only here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from voucherify_sync.errors import SettingsError, UsageProblem
from voucherify_sync.home import expanded
from voucherify_sync.settings.address import clean_url
from voucherify_sync.settings.problems import Mistake
from voucherify_sync.settings.types import Api, Credentials, Secret, Settings

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_MALFORMED = "`${` begins ${NAME} or ${NAME:-default}; for the characters themselves write $${"
_WHERE = "Application ID and Secret Key are shown in the Voucherify dashboard, in the project's settings."
_MAX_TOKEN_BYTES = 4096


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Put values in place of `${VAR}` and `${VAR:-default}` (for unset or empty), and `$` in place of `$$`.

    Values are not read again: what a variable holds is text, whatever it looks like.

    Raises:
        Mistake: a variable without default is not set, or a reference is malformed.
    """

    def value(match: re.Match[str]) -> str:
        reference = _reference(match)
        return reference if isinstance(reference, str) else _look_up(*reference, environment)

    return _REFERENCE.sub(value, text)


def check_references(text: str) -> None:
    """Raise Mistake if a reference is malformed; nothing is looked up, and the text is not quoted."""
    for match in _REFERENCE.finditer(text):
        _reference(match)


def credentials(settings: Settings, environment: Mapping[str, str]) -> Credentials:
    """Look up key and token, now that a call will be made.

    Raises:
        SettingsError: a variable is not set, the token's file cannot be read, a key cannot be a
            header's value, the URL is no address; all of them at once, and none quotes a secret.
    """
    api, problems = settings.api, list[str]()

    def resolved(path: str, find: Callable[[], str]) -> str:
        try:
            return find()
        except Mistake as mistake:
            problems.append(f"{path}: {mistake}")
            return ""

    app_id = resolved("api.key", lambda: _header_value(interpolate(api.key.reveal(), environment)))
    path = "api.token_file" if api.token_file else "api.token"
    token = resolved(path, lambda: _header_value(_token(api, environment)))
    version = resolved("api.version", lambda: _header_value(api.version))
    url = resolved("api.url", lambda: clean_url(api.url))
    if problems:
        raise SettingsError(problems, _WHERE)
    return Credentials(app_id, Secret(token), url, None if version == "latest" else version)


def application_id(settings: Settings, environment: Mapping[str, str]) -> str | None:
    """Return the Application ID if it can be looked up: previews take the ledger of its project into account."""
    try:
        return _header_value(interpolate(settings.api.key.reveal(), environment))
    except Mistake:
        return None


def _reference(match: re.Match[str]) -> str | tuple[str, str | None]:
    """Return the text that a match stands for, or a variable's name and default."""
    if match[0] == "$$":
        return "$"
    inside = _INSIDE.fullmatch(match[1])
    if not match[2] or inside is None or "${" in (inside[2] or ""):
        raise Mistake(_MALFORMED)
    return inside[1], inside[2]


def _look_up(name: str, default: str | None, environment: Mapping[str, str]) -> str:
    value = environment.get(name)
    if default is not None:
        value = value or default
    if value is None:
        raise Mistake(f"the variable {name} is not set; set it, as by `export {name}=…`")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Mistake(f"the variable {name} is not UTF-8 text") from None
    return value


def token_file(api: Api) -> Path | None:
    """Return the file that holds the Secret Key, None where the settings name none.

    A relative one is looked up from the working directory.

    Raises:
        UsageProblem: it begins with `~`, and there is no home directory.
    """
    return None if api.token_file is None else expanded(api.token_file)


def _token(api: Api, environment: Mapping[str, str]) -> str:
    try:
        path = token_file(api)
    except UsageProblem as problem:
        raise Mistake(f"{problem.message} {problem.remedy}") from None
    if path is None:
        return interpolate(api.token.reveal(), environment)
    try:
        with path.open("rb") as file:
            first_line = file.readline(_MAX_TOKEN_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such path"
        raise Mistake(f"cannot be read: {reason}; its first line must be the Secret Key") from None
    return first_line.decode("utf-8-sig", "replace").strip()


def _header_value(text: str) -> str:
    """Return a text that can be the value of a header: HTTP libraries quote what they refuse."""
    if not text:
        raise Mistake("is empty")
    if not re.fullmatch(r"[!-~]{1,4096}", text):
        raise Mistake("holds a space, a line break or another character that no key has")
    return text
