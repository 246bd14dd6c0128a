"""Read the configuration of a Voucherify destination as Segment's pages, APIs and Terraform give it, always as JSON.

Keys of the destination are part of what is read. Nothing here shows them, and no message quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from voucherify_sync.errors import UsageProblem
from voucherify_sync.text import clean

MAX_CONFIGURATION_BYTES: Final = 10 * 1024 * 1024
_MAX_LEVELS: Final = 100

CLASSIC_KEYS: Final = frozenset({
    "apiKey", "apiToken", "apiUrl", "apiVersion", "identifyDisabled", "identifyMapping", "trackDisabled",
    "trackEventsFilter", "trackMapping", "pageDisabled", "pageMapping", "screenDisabled", "screenMapping",
    "groupDisabled", "groupMapping", "ignoreAnonymous", "trackOnlyExistingCustomers",
})  # fmt: skip
"""Settings of the classic destination."""
ACTIONS_KEYS: Final = frozenset({"apiKey", "secretKey", "customURL"})
"""Settings of Voucherify (Actions)."""
_TELLING_KEYS: Final = (CLASSIC_KEYS | ACTIONS_KEYS) - {"apiKey"}
"""Those that destinations of other services are unlikely to have."""
_ONLY_ACTIONS: Final = ACTIONS_KEYS - CLASSIC_KEYS
KEYS_LEFT_OUT: Final = ("apiKey", "apiToken", "secretKey")
"""Those that are secret."""

_EXPECTED: Final = (
    "expected JSON with the settings of a Voucherify destination, its subscriptions, or what "
    "`terraform show -json` prints"
)
_WHERE: Final = (
    "Segment's Public API gives them: GET /destinations/ID and GET /destinations/ID/subscriptions. Save each answer to "
    "a file, and give each with --from-segment."
)
_TERRAFORM: Final = (
    "`terraform show -json > segment.json` prints the same as JSON. Give that file, or the answer of Segment's Public "
    "API: GET /destinations/ID/subscriptions."
)
_HCL: Final = re.compile(
    rb"^\s*(resource|data|module|variable|locals|provider|terraform)\b[^\n:]*\{", re.MULTILINE
)
_EVENT_IDS: Final = frozenset({"userId", "anonymousId", "messageId"})
_CLASSIC_SLUG: Final = "voucherify"
_ACTIONS_SLUG: Final = "actions-voucherify"


class Subscription(Struct, frozen=True):
    """One mapping of Voucherify (Actions): for events that pass a trigger, an action with its fields.

    Attributes:
        name: as people know it at Segment.
        action: ``upsertCustomer``, ``addCustomEvent`` or ``assignCustomerToGroup``; None where only a trigger tells.
        trigger: in Segment's trigger language.
        is_enabled: it is on.
        settings: destination field -> value or directive.
    """

    name: str
    action: str | None
    trigger: str
    is_enabled: bool
    settings: dict[str, Any]


class SegmentConfiguration(Struct):
    """All that the files of one destination hold.

    Attributes:
        classic: settings of the classic destination; None if there are none.
        actions: settings of Voucherify (Actions) itself; None if there are none.
        subscriptions: of Voucherify (Actions), in their order.
    """

    classic: dict[str, Any] | None = None
    actions: dict[str, Any] | None = None
    subscriptions: list[Subscription] = field(default_factory=list)


def read_configuration(files: Iterable[tuple[str, bytes]]) -> SegmentConfiguration:
    """Read files as one configuration.

    Args:
        files: name, as the user gave it, and content of each.

    Raises:
        UsageProblem: a file holds something else, or the files hold two destinations.
    """
    configuration = SegmentConfiguration()
    for name, content in files:
        value, shown = _decoded(content, name), clean(name, 200)
        found = list(_parts_of(value))
        if not found and not _has_no_subscriptions(value):
            raise _unknown(shown, value)
        for part in found:
            if isinstance(part, Subscription):
                configuration.subscriptions.append(part)
            elif configuration.classic is not None or configuration.actions is not None:
                raise UsageProblem(
                    f"{shown}: a second destination; a settings file is made of one.",
                    "Give the files of one destination, and write a settings file for each.",
                )
            elif not part.keys().isdisjoint(_ONLY_ACTIONS):
                configuration.actions = part
            else:
                configuration.classic = part
    if configuration.classic is not None and configuration.subscriptions:
        raise UsageProblem(
            "These are settings of the classic destination and subscriptions of Voucherify (Actions).",
            "Give the files of one destination, and write a settings file for each.",
        )
    return configuration


def _decoded(content: bytes, name: str) -> Any:
    shown = clean(name, 200)
    if len(content) > MAX_CONFIGURATION_BYTES:
        raise UsageProblem(f"no Segment destination settings in {shown}: it is larger than 10 MiB.", _WHERE)
    try:
        value = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        value = None
    else:
        if not _is_deeper(value, _MAX_LEVELS):
            return value
        raise UsageProblem(
            f"no Segment destination settings in {shown}: it is nested on more than {_MAX_LEVELS} levels.",
            _WHERE,
        )
    first_line = content.lstrip().partition(b"\n")[0]
    if _HCL.search(content):
        raise UsageProblem(
            f"no Segment destination settings in {shown}: this is Terraform's own language; {_EXPECTED}.",
            _TERRAFORM,
        )
    if first_line != content.strip() and _is_event(_decoded_or_none(first_line)):
        raise _events(shown)
    raise UsageProblem(f"no Segment destination settings in {shown}: it is not JSON; {_EXPECTED}.", _WHERE)


def _decoded_or_none(text: str | bytes) -> Any:
    """Return the value of a JSON text; None if it is none, or nested too deep."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return None if _is_deeper(value, _MAX_LEVELS) else value


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inside)


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value and not _EVENT_IDS.isdisjoint(value)


def _events(shown: str) -> UsageProblem:
    return UsageProblem(
        f"no Segment destination settings in {shown}: these are events.",
        f"To write settings that map them: voucherify-sync init --from {shown}",
    )


def _unknown(shown: str, value: Any) -> UsageProblem:
    """Return what is wrong with JSON that holds no configuration."""
    if _is_event(value) or (isinstance(value, list) and value and _is_event(value[0])):
        return _events(shown)
    if (name := _name_of_another(value)) is not None:
        return UsageProblem(
            f"no Segment destination settings in {shown}: this is the destination {clean(name, 60)!r}, not Voucherify.",
            _WHERE,
        )
    return UsageProblem(f"no Segment destination settings in {shown}: {_EXPECTED}.", _WHERE)


def _has_no_subscriptions(value: Any) -> bool:
    """Tell whether a value is the answer for a destination without any."""
    while isinstance(value, dict) and "data" in value:
        value = value["data"]
    return isinstance(value, dict) and value.get("subscriptions") == []


def _name_of_another(value: Any) -> str | None:
    """Return the name of a destination that is not Voucherify's."""
    while isinstance(value, dict):
        metadata = value.get("metadata")
        if isinstance(metadata, dict) and "settings" in value:
            return next((text for text in map(metadata.get, ("name", "slug")) if isinstance(text, str)), None)
        value = value.get("data", value.get("destination"))
    return None


def _parts_of(value: Any) -> Iterator[dict[str, Any] | Subscription]:
    """Yield the settings of destinations, and the subscriptions, that a value holds in any of the known shapes."""
    if isinstance(value, list):
        yield from chain.from_iterable(map(_parts_of, value))
    elif not isinstance(value, dict):
        return
    elif isinstance(value.get("trigger"), str) and "settings" in value:
        yield _subscription(value)
    elif (settings := _destination_settings(value)) is not None:
        yield settings
    else:
        yield from chain.from_iterable(_parts_of(value[name]) for name in _WRAPPERS if name in value)


_WRAPPERS: Final = (
    "data", "destination", "destinations", "subscription", "subscriptions",  # Segment's Public API
    "values", "planned_values", "root_module", "child_modules", "resources",  # Terraform
)  # fmt: skip


def _destination_settings(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings of a destination, if a value is one of Voucherify's, or its settings themselves."""
    settings = value
    if isinstance(value.get("config"), list):
        settings = _of_config_api(value["config"])
    elif "settings" in value:
        settings = _settings_in(value)
        metadata = value.get("metadata")
        slug = metadata.get("slug") if isinstance(metadata, dict) else None
        if isinstance(slug, str):
            if slug == _ACTIONS_SLUG:
                return dict.fromkeys(_ONLY_ACTIONS) | settings
            return settings if slug == _CLASSIC_SLUG else None
    return None if settings.keys().isdisjoint(_TELLING_KEYS) else settings


def _settings_in(value: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a destination or a subscription, which Terraform has as JSON in a text."""
    text_or_settings = value["settings"]
    if isinstance(text_or_settings, str):
        text_or_settings = _decoded_or_none(text_or_settings)
    return text_or_settings if isinstance(text_or_settings, dict) else {}


def _of_config_api(entries: list[Any]) -> dict[str, Any]:
    """Return the settings of a list whose items name a setting at the end of a path."""
    return {
        each["name"].rpartition("/")[2]: each.get("value")
        for each in entries
        if isinstance(each, dict) and isinstance(each.get("name"), str)
    }


def _subscription(value: dict[str, Any]) -> Subscription:
    names = [value.get(key) for key in ("name", "id", "trigger")]
    action = value.get("actionSlug") or value.get("action_slug")
    return Subscription(
        name=next((name for name in names if isinstance(name, str) and name.strip()), ""),
        action=action if isinstance(action, str) else None,
        trigger=value["trigger"],
        is_enabled=value.get("enabled") is not False,
        settings=_settings_in(value),
    )
