"""Finds what lies outside of the settings file: variables, the credentials, the base URL, the user's directories."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import platformdirs

from voucherify_sync.errors import SettingsError, UsageProblem
from voucherify_sync.settings.types import Api, Credentials, Secret, Settings
from voucherify_sync.settings.yaml_nodes import Mistake
from voucherify_sync.text import did_you_mean

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_OTHER_HOST: Final = re.compile(r"(?:([a-z0-9-]+)\.)?(segmentio|mparticle|posthog|app)\.voucherify\.io")
_OTHER_HOSTS: Final = {
    "segmentio": "the gateway of Segment",
    "mparticle": "the gateway of mParticle",
    "posthog": "the gateway of PostHog",
    "app": "the dashboard",
}
"""Hosts of Voucherify that are not the API -> what they are."""
_API_HOST: Final = re.compile(r"(?:[a-z0-9-]+\.)?api\.voucherify\.io/?")
_PATHS: Final = {"", "/", "/v1", "/v1/"}
_REFERENCE: Final = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_INSIDE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_WHERE: Final = (
    "Application ID and Secret Key are shown in the Voucherify dashboard, in the project's settings."
)
_MAX_TOKEN_BYTES: Final = 4096


def state_directory() -> Path:
    """Return the directory of ledgers and dead letters, in the user's state directory. It need not exist.

    Raises:
        UsageProblem: the user has none. A relative one counts as none: the same command would not find its ledger in
            another folder, and would send everything again.
    """
    try:
        path = platformdirs.user_state_path("voucherify-sync", appauthor=False)
    except RuntimeError:
        path = Path()
    if not path.is_absolute():
        raise UsageProblem(
            "there is no state directory: the user has no home directory, and XDG_STATE_HOME is no absolute path.",
            "Name the ledger with --ledger FILE, or set XDG_STATE_HOME to a directory that stays.",
        )
    return path


def expanded(text: str) -> Path:
    """Return a path in which `~` at the beginning is a home directory.

    Raises:
        UsageProblem: there is no such home directory.
    """
    path = Path(text)
    has_home = Path(os.environ.get("HOME", "")).is_absolute()  # `HOME=` would make /file of ~/file
    try:
        if path.parts[:1] == ("~",) and not has_home:
            return Path(pwd.getpwuid(os.getuid()).pw_dir, *path.parts[1:])
        return path.expanduser()
    except (KeyError, RuntimeError):
        raise UsageProblem(
            f"{text}: ~ cannot be resolved, because there is no home directory.",
            "Write the whole path, or set HOME.",
        ) from None


def clean_url(text: str) -> str:
    """Return the URL as `scheme://host[:port]`; a trailing slash and /v1 are tolerated. No connection is opened.

    Raises:
        Mistake: no https URL (http is for loopback only: the keys travel in its headers), or more than an
            address. The message does not quote the URL, which may hold a password.
    """
    if not re.match(r"(?i)https?://", text):
        suggestions = [f"https://{text}"] if _API_HOST.fullmatch(text) else []
        raise Mistake("must begin with https://" + did_you_mean(suggestions))
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise Mistake("must not hold spaces, backslashes or letters beyond ASCII")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Mistake("is no valid URL; write it like https://api.voucherify.io") from None
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise Mistake("must not hold a user or password; the keys are api.key and api.token")
    address = _ip_address(host)
    if not (_HOST.fullmatch(host) or (address and address.version == 6 and "%" not in host)):
        raise Mistake("must name a host, such as https://api.voucherify.io")
    if other := _OTHER_HOST.fullmatch(host):
        region = f"{other[1]}." if other[1] else ""
        raise Mistake(f"that is {_OTHER_HOSTS[other[2]]}; the API is https://{region}api.voucherify.io")
    if parts.path not in _PATHS or "?" in text or "#" in text:
        raise Mistake("must end after the host; the paths of the API are added to it")
    if parts.scheme == "http" and not (address.is_loopback if address else host == "localhost"):
        raise Mistake("must begin with https://; http:// would show the keys to the network")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}" + (f":{port}" if port else "")


def clean_version(text: str) -> str:
    """Return a version of the API as it is sent, or `latest`, in whatever case that is written."""
    return "latest" if text.lower() == "latest" else text


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Put values in place of `${VAR}` and `${VAR:-default}` (for unset or empty), and `$` in place of `$$`.

    Values are not read again: what a variable holds is text, whatever it looks like.

    Raises:
        Mistake: a variable without default is not set, or a reference is malformed.
    """
    return _REFERENCE.sub(lambda match: _value_of(match, environment), text)


def check_references(text: str) -> None:
    """Raise Mistake if a reference is malformed; nothing is looked up, and the text is not quoted."""
    _REFERENCE.sub(lambda match: _value_of(match, None), text)


def _value_of(match: re.Match[str], environment: Mapping[str, str] | None) -> str:
    """Return the text that a reference stands for; nothing is looked up without an environment."""
    if match[0] == "$$":
        return "$"
    inside = _INSIDE.fullmatch(match[1])
    if not match[2] or inside is None or "${" in (inside[2] or ""):
        raise Mistake("`${` begins ${NAME} or ${NAME:-default}; for the characters themselves write $${")
    if environment is None:
        return ""
    name, default = inside[1], inside[2]
    value = environment.get(name)
    if default is not None:
        value = value or default
    if value is None:
        raise Mistake(f"the variable {name} is not set; run `export {name}=…`")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Mistake(f"the variable {name} is not UTF-8 text") from None
    return value


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
    version = resolved("api.version", lambda: _header_value(clean_version(api.version)))
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
