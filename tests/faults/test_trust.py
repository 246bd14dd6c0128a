"""Which certificate authorities are trusted, and what a variable may name."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.certificates import make_certificate
from support.cli import Cli
from support.evidence import CANARY
from support.servers import tls_server

from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings.types import Credentials, Secret
from voucherify_sync.voucherify.client import CA_VARIABLES, Client, trusted_authorities


@pytest.fixture(autouse=True)
def no_other_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the environment of the tests names."""
    for variable in CA_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_a_bundle_that_the_environment_names_is_trusted(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Over a real connection."""
    with tls_server(tmp_path, "IP:127.0.0.1", (2020, 2099)) as (url, file):
        monkeypatch.setenv(variable, str(file))
        client = Client(Credentials("app", Secret(CANARY), url, None))
        assert client.call("GET", "/v1/customers").status == 200
        client.close()


def test_the_first_variable_that_is_set_counts(tmp_path: Path) -> None:
    """REQUESTS_CA_BUNDLE before CURL_CA_BUNDLE before SSL_CERT_FILE; an empty one is not set."""
    files = [str(make_certificate(tmp_path / variable).file) for variable in CA_VARIABLES]
    environment = dict(zip(CA_VARIABLES, files, strict=True))
    for variable, file in zip(CA_VARIABLES, files, strict=True):
        assert trusted_authorities(environment) == file
        environment[variable] = ""
    assert trusted_authorities(environment) is True


@pytest.mark.parametrize("variable", CA_VARIABLES)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "not there"),
        (b"", "no bundle of certificates"),
        (b"no certificate\n", "no bundle of certificates"),
        (b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n", "no bundle of certificates"),
        (b"\x00\xff" * 100, "no bundle of certificates"),
    ],
    ids=["missing", "empty", "text", "broken", "binary"],
)
def test_a_variable_that_names_no_bundle_is_refused_before_any_call(
    variable: str, content: bytes | None, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else every single call would fail for it; the variable is named, and the file."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(UsageProblem) as caught:
        Client(Credentials("app", Secret(CANARY), "https://api.example.test", None))
    assert caught.value.message.startswith(f"{variable} names {file}, ")
    assert problem in caught.value.message
    assert variable in caught.value.remedy


@pytest.mark.parametrize(
    ("variable", "is_taken"), [*((name, True) for name in CA_VARIABLES[:2]), (CA_VARIABLES[2], False)]
)
def test_a_folder_is_no_file(variable: str, is_taken: bool, tmp_path: Path) -> None:
    """The library takes folders of hashed names in its own variables; SSL_CERT_FILE is a file."""
    if is_taken:
        assert trusted_authorities({variable: str(tmp_path)}) == str(tmp_path)
    else:
        with pytest.raises(UsageProblem, match=variable):
            trusted_authorities({variable: str(tmp_path)})


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    """With a sentence of our own."""
    with pytest.raises(UsageProblem, match="cannot be read"):
        trusted_authorities({"SSL_CERT_FILE": f"{tmp_path}/a\x00b"})


def test_without_https_no_certificate_is_looked_at(run_cli: Cli) -> None:
    """A variable that some other program needs does not disturb the sandbox."""
    archive = run_cli.folder / "a.ndjson"
    archive.write_text('{"type":"identify","userId":"u-1","messageId":"i-1"}\n')
    ended = run_cli("replay", "--sandbox", archive, env={"SSL_CERT_FILE": "/nowhere/ca.pem"})
    assert ended.code == 0, ended.err


def test_a_run_that_is_refused_for_it_leaves_no_ledger(run_cli: Cli) -> None:
    """The next one, with the variable mended, is the first one of its project still."""
    (run_cli.folder / "a.ndjson").write_text('{"type":"identify","userId":"u-1","messageId":"i-1"}\n')
    (run_cli.folder / "voucherify-sync.yaml").write_text(f"api: {{key: app, token: {CANARY}}}\n")
    words = ("replay", "--yes", "--new-ledger", "--ledger", "x.ledger", "a.ndjson")
    ended = run_cli(*words, env={"SSL_CERT_FILE": "/nowhere.pem"})
    assert ended.code == 2
    assert "SSL_CERT_FILE names /nowhere.pem" in ended.err
    assert not list(run_cli.folder.glob("*.ledger*"))
