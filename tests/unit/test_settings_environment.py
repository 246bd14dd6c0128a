"""Variables in settings, the credentials, and the address of the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from voucherify_sync.errors import SettingsError
from voucherify_sync.settings import Api, Secret, Settings, credentials
from voucherify_sync.settings.environment import clean_url, interpolate
from voucherify_sync.settings.yaml_nodes import Mistake

KEYS = {"VOUCHERIFY_API_KEY": "app-1", "VOUCHERIFY_API_TOKEN": "CANARY-7f3a"}


def with_api(**fields: object) -> Settings:
    """Return settings with these under `api`."""
    return Settings(api=structs.replace(Api(), **fields))


def refused(settings: Settings, environment: dict[str, str]) -> list[str]:
    """Return what `credentials` finds wrong, sure that no secret is in it."""
    with pytest.raises(SettingsError) as caught:
        credentials(settings, environment)
    assert "CANARY" not in str(caught.value)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("${A}-${A}", "1-1"),
        ("${E}", ""),
        ("${E:-x}", "x"),
        ("${NONE:-x y}", "x y"),
        ("${NONE:-}", ""),
        ("${A:-x}", "1"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$1"),
        ("5 $ and $A", "5 $ and $A"),
        ("${R}", "${A}"),
    ],
)
def test_a_reference_gives_the_value_of_its_variable(text: str, value: str) -> None:
    """`${VAR}`, a default for unset or empty ones, `$$` for a dollar sign; values are not read again."""
    assert interpolate(text, {"A": "1", "E": "", "R": "${A}"}) == value


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1A}", "${A-x}", "${A:x}", "${A:-${B}}", "${ A }"])
def test_what_only_looks_like_a_reference_is_refused(text: str) -> None:
    """Rather an error than a key that begins with a dollar sign."""
    with pytest.raises(Mistake, match=r"begins \$\{NAME\} or"):
        interpolate(text, {"A": "1"})


def test_an_unset_variable_is_named() -> None:
    """The message says which, and how to set it."""
    with pytest.raises(Mistake, match="the variable NONE is not set; run `export NONE=…`"):
        interpolate("${NONE}", {})


def test_a_variable_that_is_no_text_is_refused() -> None:
    """Bytes that are not UTF-8 come as lone surrogates, which no request can carry."""
    with pytest.raises(Mistake, match="the variable A is not UTF-8 text"):
        interpolate("${A}", {"A": "caf\udce9"})


def test_key_and_token_come_from_the_two_variables_by_default() -> None:
    """No settings file is needed for a live run; `latest` sends no version header."""
    found = credentials(Settings(), KEYS)
    assert (found.app_id, found.token) == ("app-1", Secret("CANARY-7f3a"))
    assert (found.url, found.version) == ("https://api.voucherify.io", None)


def test_all_that_is_missing_is_named_at_once() -> None:
    """Two variables missing are two lines."""
    assert refused(Settings(), {}) == [
        "api.key: the variable VOUCHERIFY_API_KEY is not set; run `export VOUCHERIFY_API_KEY=…`",
        "api.token: the variable VOUCHERIFY_API_TOKEN is not set; run `export VOUCHERIFY_API_TOKEN=…`",
    ]


@pytest.mark.parametrize(
    "token", ["CANARY\nX: y", "CANARY é", " CANARY", "CANARY\x00", "CANARY" + "x" * 5000]
)
def test_a_token_that_no_header_can_carry_is_refused_unquoted(token: str) -> None:
    """HTTP libraries put such a value into their own errors: it must not get that far."""
    (problem,) = refused(Settings(), KEYS | {"VOUCHERIFY_API_TOKEN": token})
    assert problem.startswith("api.token: holds a space, a line break")


def test_an_empty_key_is_no_key() -> None:
    """A variable that is set to nothing is as good as none."""
    assert refused(Settings(), KEYS | {"VOUCHERIFY_API_KEY": ""}) == ["api.key: is empty"]


def test_the_token_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    """Line ends, blanks around it and later lines do not count."""
    file = tmp_path / "token"
    file.write_text("  CANARY-file \r\nsecond line\n")
    assert credentials(with_api(token_file=str(file)), KEYS).token == Secret("CANARY-file")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "nowhere",
            "api.token_file: cannot be read: No such file or directory; its first line must be the Secret Key",
        ),
        (".", "api.token_file: cannot be read: Is a directory; its first line must be the Secret Key"),
        ("nul\x00", "api.token_file: cannot be read: no such path; its first line must be the Secret Key"),
        ("empty", "api.token_file: is empty"),
    ],
)
def test_a_token_file_that_gives_no_token_says_why(tmp_path: Path, name: str, problem: str) -> None:
    """The file is read only when a call will be made, and must then be there."""
    (tmp_path / "empty").touch()
    assert refused(with_api(token_file=f"{tmp_path}/{name}"), KEYS) == [problem]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.voucherify.io", "https://api.voucherify.io"),
        ("https://us1.api.voucherify.io/", "https://us1.api.voucherify.io"),
        ("https://as1.api.voucherify.io/v1", "https://as1.api.voucherify.io"),
        ("HTTPS://API.Example.COM:8443/v1/", "https://api.example.com:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.9:1/", "http://127.0.0.9:1"),
        ("http://[::1]:80/v1", "http://[::1]:80"),
    ],
)
def test_an_address_is_brought_to_one_form(text: str, url: str) -> None:
    """A trailing slash and /v1 are tolerated; http only to this machine itself."""
    assert clean_url(text) == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://api.voucherify.io", "must begin with https://; http:// would show the keys"),
        ("http://localhost.example.com", "must begin with https://; http:// would show the keys"),
        ("http://127.1", "must begin with https://; http:// would show the keys"),
        ("http://0.0.0.0", "must begin with https://; http:// would show the keys"),
        ("api.voucherify.io", "must begin with https://"),
        ("ftp://api.voucherify.io", "must begin with https://"),
        ("", "must begin with https://"),
        ("https://", "must name a host"),
        ("https:///v1", "must name a host"),
        ("https://-x-", "must name a host"),
        ("https://CANARY:x@api.voucherify.io", "must not hold a user or password"),
        ("https://CANARY@localhost", "must not hold a user or password"),
        ("https://@localhost", "must not hold a user or password"),
        ("http://localhost\\@evil.example.com", "must not hold spaces, backslashes"),
        ("https://api.voucherify.io/v2", "must end after the host"),
        ("https://api.voucherify.io?x=CANARY", "must end after the host"),
        ("https://api.voucherify.io/#", "must end after the host"),
        ("https://api.vouch\nerify.io", "must not hold spaces"),
        ("https://\u0430pi.voucherify.io", "must not hold spaces"),
        ("https://[::1", "is no valid URL"),
        ("https://x:99999", "is no valid URL"),
        ("https://x:y", "is no valid URL"),
    ],
)
def test_an_address_that_is_more_or_less_than_one_is_refused_unquoted(text: str, message: str) -> None:
    """Keys travel in the headers: whatever could lead them astray is an error, and may hold a secret itself."""
    with pytest.raises(Mistake) as caught:
        clean_url(text)
    assert str(caught.value).startswith(message)
    assert "CANARY" not in str(caught.value)


def test_settings_made_without_a_file_have_their_address_checked_too() -> None:
    """What the loader checks in a file holds for settings that were made by code."""
    (problem,) = refused(with_api(url="http://example.com"), KEYS)
    assert problem.startswith("api.url: must begin with https://")
