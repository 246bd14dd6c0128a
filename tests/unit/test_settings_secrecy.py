"""A secret in a settings file shows itself nowhere."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from voucherify_sync.errors import SettingsError
from voucherify_sync.settings import Secret, Settings, credentials, dump, load, warnings

TOKEN = "CANARY-9b1d-4c5e"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Return a settings file with this text."""
    file = folder / "s.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    "text",
    [
        f"api: {TOKEN}",
        f"api:\n  {TOKEN}",
        f"api:\n  token:{TOKEN}",
        f"api: {{{TOKEN}: x}}",
        f"api:\n  toke: {TOKEN}",
        f"apiToken: {TOKEN}",
        f"{TOKEN}: 1",
        f"{TOKEN}: 1\n{TOKEN}: 2",
        f"api: {{token: [{TOKEN}]}}",
        f"api: {{token: {{a: {TOKEN}}}}}",
        f"api: {{token: &{TOKEN} x}}",
        f"api: {{token: *{TOKEN}}}",
        f"api: {{token: !{TOKEN} x}}",
        f"api: {{token: !{TOKEN}!x y}}",
        f"%TAG !{TOKEN}! x\n%TAG !{TOKEN}! x\n---\na: b",
        f"api: {{token: '{TOKEN}",
        f'api: {{token: "{TOKEN}\\q"}}',
        f"api: {{token: {TOKEN}: x}}",
        f"api: {{token: '${{{TOKEN}}}'}}",
        f"api: {{token: '${{{TOKEN}'}}",
        f"api: {{url: 'https://{TOKEN}@x.io'}}",
        f"api: {{url: '{TOKEN}'}}",
        f"api: {{token: {TOKEN}, token_file: {TOKEN}}}",
        f"track: {{disabled: {TOKEN}, events_filter: {{a: {TOKEN}}}}}",
        f"delivery: {{workers: {TOKEN}, rate: {TOKEN}, reserve: {TOKEN}, on_doubt: {TOKEN}}}",
    ],
)
def test_no_mistake_quotes_a_secret_wherever_it_was_mistyped(tmp_path: Path, text: str) -> None:
    """Error messages end in logs and tickets."""
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text), environment={})
    assert "CANARY" not in "".join(traceback.format_exception(caught.value, chain=False))
    assert "CANARY" not in repr(caught.value)


@pytest.mark.parametrize("written_as", [TOKEN, f"${{T:-{TOKEN}}}", f"x-${{T}}{TOKEN}", f"$${{{TOKEN}}}"])
def test_a_literal_secret_is_masked_wherever_settings_are_shown(tmp_path: Path, written_as: str) -> None:
    """Neither `check` nor a repr, nor that of the credentials, tells it."""
    file = written(tmp_path, f"api:\n  key: '{written_as}'\n  token: '{written_as}'\n")
    settings = load(file, environment={})
    shown = dump(settings) + repr(settings) + str(settings.api.token) + f"{settings.api.token}"
    assert "CANARY" not in shown
    assert "***" in dump(settings)
    assert "CANARY" not in repr(credentials(settings, {"T": TOKEN}).token)


def test_a_reference_is_shown_as_it_stands(tmp_path: Path) -> None:
    """The name of a variable is no secret, and helps to find it."""
    settings = load(written(tmp_path, "api: {key: '${A}', token: '${A}${B}'}"), environment={})
    assert "key: ${A}\n" in dump(settings)
    assert "token: ${A}${B}\n" in dump(settings)


def test_equal_secrets_are_equal_and_hash_alike() -> None:
    """They are values."""
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize(
    ("text", "mode", "warned"),
    [
        (f"api: {{token: {TOKEN}}}", 0o644, True),
        (f"api: {{key: {TOKEN}}}", 0o640, True),
        (f"api: {{token: '${{T:-{TOKEN}}}'}}", 0o604, True),
        (f"api: {{token: {TOKEN}}}", 0o600, False),
        ("api: {token: '${T}'}", 0o644, False),
        ("track: {}", 0o666, False),
    ],
)
def test_a_file_with_a_secret_that_others_can_read_is_warned_of(
    tmp_path: Path, text: str, mode: int, warned: bool
) -> None:
    """Only a literal secret matters, and only when group or others may read it."""
    file = written(tmp_path, text, mode)
    found = warnings(file, load(file, environment={}))
    assert len(found) == warned
    assert all(
        str(file) in warning and "chmod 600" in warning and "CANARY" not in warning for warning in found
    )


def test_a_token_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    """It holds nothing but a secret."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o644)
    file = written(tmp_path, f"api: {{token_file: {token_file}}}", 0o644)
    (warning,) = warnings(file, load(file, environment={}))
    assert str(token_file) in warning


def test_without_a_file_there_is_nothing_to_warn_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults hold no secret."""
    monkeypatch.chdir(tmp_path)
    assert warnings(None, Settings()) == []
