"""What a settings file says about Segment: sources that no event has, and files that are none of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from voucherify_sync.errors import SettingsError
from voucherify_sync.settings import load_with_tests


def checked(folder: Path, text: str) -> tuple[list[str], list[str]]:
    """Return the mistakes and the warnings of a file, without its name."""
    file = folder / "s.yaml"
    file.write_text(text)
    try:
        return [], [line.replace(f"{file}:", "") for line in load_with_tests(file, environment={})[2]]
    except SettingsError as error:
        lines = [line.replace(f"{file}:", "") for line in error.problems]
        return [line for line in lines if not line.startswith("Warning")], [
            line.removeprefix("Warning: ") for line in lines if line.startswith("Warning")
        ]


@pytest.mark.parametrize(
    ("section", "source", "advice"),
    [
        ("identify", "trait.email", "no event has a key 'trait' at its top level; did you mean traits.email?"),
        ("identify", "email", "no event has a key 'email' at its top level; did you mean traits.email?"),
        ("identify", "Traits.email", "did you mean traits.email?"),
        ("identify", "properties.email", "identify events have traits, not properties; did you mean traits.email?"),
        ("identify", "trait", "did you mean traits?"),
        ("identify", "user.address.city", "did you mean traits.user.address.city?"),
        ("identify", "trait.*", "did you mean traits.*?"),
        ("identify", 'email["odd key"]', 'did you mean traits.email["odd key"]?'),
        ("track", "propertys.total", "did you mean properties.total?"),
        ("track", "property.total", "did you mean properties.total?"),
        ("track", "props.total", "did you mean properties.props.total?"),
        ("track", "$.propertys.total", "did you mean properties.total?"),
        ("track", "traits.email", "did you mean properties.email or context.traits.email?"),
        ("track", "userID", "did you mean userId?"),
        ("track", "message_id", "did you mean messageId?"),
        ("track", "contxt.ip", "did you mean context.ip?"),
        ("track", "total", "did you mean properties.total?"),
        ("track", "properties.a*", 'properties.* takes all keys, properties["a*"] takes this one'),
        ("track", "properties.*b.c", 'properties["*b"].c takes this one'),
    ],
)  # fmt: skip
def test_a_source_that_no_event_has_is_a_warning_with_what_is_meant(
    tmp_path: Path, section: str, source: str, advice: str
) -> None:
    """It can be: someone's events may have that key. So the settings load."""
    target = "customer.metadata.*" if source.endswith(".*") else "customer.metadata.x"
    mistakes, warnings = checked(tmp_path, f"{section}:\n  mapping:\n    {source}: {target}\n")
    assert mistakes == []
    assert len(warnings) == 1
    assert warnings[0].startswith(f"3:5: {section}.mapping: {source!r}: ")
    assert warnings[0].endswith(advice)


@pytest.mark.parametrize(
    "source",
    [
        "traits.email", "$.traits.email", "$.traits", "traits.*", 'traits["a*"]', "type", "event", "name", "category",
        "userId", "anonymousId", "groupId", "previousId", "messageId", "timestamp", "originalTimestamp", "sentAt",
        "receivedAt", "context.traits.email", "integrations.x", "channel", "version", "projectId", "rudderId",
        "request_ip", "user_id", "anonymous_id",
    ],
)  # fmt: skip
def test_a_source_that_events_have_is_no_warning(tmp_path: Path, source: str) -> None:
    """The keys of Segment's and RudderStack's events."""
    target = "customer.metadata.*" if source.endswith(".*") else "customer.metadata.x"
    assert checked(tmp_path, f"identify:\n  mapping:\n    {source}: {target}\n") == ([], [])


def test_warnings_stand_beside_mistakes(tmp_path: Path) -> None:
    """One look shows all that is to be changed."""
    text = "identify:\n  mapping:\n    trait.plan: metadata.plan\n"
    (mistake,), (warning,) = checked(tmp_path, text)
    assert mistake.endswith("a customer update has no metadata; did you mean customer.metadata.plan?")
    assert warning.endswith("did you mean traits.plan?")


CLASSIC: dict[str, Any] = {
    "apiKey": "CANARY",
    "apiToken": "CANARY",
    "trackMapping": {"properties.a": "metadata.a"},
}
SUBSCRIPTION: dict[str, Any] = {
    "name": "Orders",
    "actionSlug": "addCustomEvent",
    "trigger": 'type = "track"',
    "enabled": True,
    "settings": {"event": {"@path": "$.event"}},
}


@pytest.mark.parametrize(
    "data",
    [
        CLASSIC,
        {"identifyMapping": {}, "ignoreAnonymous": True},
        {"data": {"destination": {"settings": CLASSIC}}},
        {"data": {"data": {"destination": {"settings": CLASSIC}}}},
        {"destination": {"settings": CLASSIC}, "enabled": True},
        {"config": [{"name": "workspaces/a/config/apiKey", "value": "CANARY"}]},
        {"data": {"subscriptions": [SUBSCRIPTION]}},
        [SUBSCRIPTION],
        SUBSCRIPTION,
        {"apiKey": "CANARY", "secretKey": "CANARY", "customURL": ""},
    ],
    ids=[
        "classic", "two keys", "public API", "twice wrapped", "destination", "old API", "subscriptions", "a list",
        "one subscription", "Actions",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["json", "indented", "yaml"])
def test_the_configuration_of_segments_destination_is_one_mistake(
    tmp_path: Path, data: Any, form: str
) -> None:
    """It says what the file is and which command makes settings of it; no key of it is quoted."""
    import yaml

    forms = {"json": json.dumps(data), "indented": json.dumps(data, indent=2), "yaml": yaml.safe_dump(data)}
    (mistake,), warnings = checked(tmp_path, forms[form])
    assert "this is the configuration of a destination at Segment" in mistake
    assert "`voucherify-sync init --from-segment FILE`" in mistake
    assert "CANARY" not in mistake
    assert warnings == []


def test_a_file_of_another_program_is_not_taken_for_segments(tmp_path: Path) -> None:
    """Such keys are in many files."""
    mistakes, _ = checked(tmp_path, "enabled: true\nsettings: {a: 1}\n")
    assert [mistake.partition(" ")[0] for mistake in mistakes] == ["1:1:", "2:1:"]


def test_an_archive_as_settings_is_one_mistake(tmp_path: Path) -> None:
    """The source was given to -c."""
    line = '{"type":"track","messageId":"m","userId":"u","event":"A"}\n'
    (mistake,), _ = checked(tmp_path, line * 3)
    assert "this is an event, not a settings file" in mistake


def test_a_single_name_of_segments_is_a_slip_with_its_own_advice(tmp_path: Path) -> None:
    """The rest of the file is ours."""
    mistakes, _ = checked(tmp_path, "apiKey: x\nidentify: {disabled: maybe}\n")
    assert len(mistakes) == 2
    assert mistakes[0].endswith("did you mean api.key?")
