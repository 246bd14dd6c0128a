"""Read the configuration of a Voucherify destination as Segment's pages, APIs and Terraform give it, always as JSON.

Keys of the destination are part of what is read. Nothing here shows them, and no message quotes a value.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from voucherify_sync.errors import UsageProblem
from voucherify_sync.paths import Keys, path_of
from voucherify_sync.text import clean, listed

MAX_CONFIGURATION_BYTES: Final = 10 * 1024 * 1024
_MAX_LEVELS: Final = 100
_MAX_NAMED: Final = 5

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
    r"^\s*(resource|data|module|variable|locals|provider|terraform)\b[^\n:]*\{", re.MULTILINE
)
_YAML: Final = re.compile(r"(?:[^\S\n]*(?:#.*|---.*)?\n)*(?:- )?[\w.-]+:(?:\s|$)")
_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")
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
        id: by which Segment knows it; empty where the file has none.
    """

    name: str
    action: str | None
    trigger: str
    is_enabled: bool
    settings: dict[str, Any]
    id: str = ""


class SegmentConfiguration(Struct):
    """All that the files of one destination hold.

    Attributes:
        classic: settings of the classic destination; None if there are none.
        actions: settings of Voucherify (Actions) itself; None if there are none.
        subscriptions: of Voucherify (Actions), in their order.
        notices: sentences on files: that parts were given before, and that the next page is missing.
    """

    classic: dict[str, Any] | None = None
    actions: dict[str, Any] | None = None
    subscriptions: list[Subscription] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def read_configuration(files: Iterable[tuple[str, bytes]]) -> SegmentConfiguration:
    """Read files as one configuration. What several of them hold counts once.

    Args:
        files: name, as the user gave it, and content of each.

    Raises:
        UsageProblem: a file holds something else, or the files hold two destinations.
    """
    configuration = SegmentConfiguration()
    cursors, next_cursors = set[str](), dict[str, str]()
    for name, content in files:
        shown = clean(name, 200)
        try:
            value = _decoded(content, shown)
            found = list(_parts_of(value))
        except _RepeatedKeyError as error:
            raise UsageProblem(
                f"{shown}: {error}, and only one of them can hold.", "Leave the other one out."
            ) from None
        if not found and not _has_no_subscriptions(value):
            raise _unknown(shown, value)
        repeated = [_add(part, configuration, shown) for part in found]
        if names := [each for each in repeated if each is not None]:
            configuration.notices.append(
                f"{shown}: {listed(names, lambda name: clean(name, 60), _MAX_NAMED)}: given before, and taken once"
            )
        for pagination in _paginations_of(value):
            cursors.add(str(pagination.get("current")))
            if following := pagination.get("next"):
                next_cursors[str(following)] = shown
    configuration.notices += [
        f"{shown}: one page of the subscriptions, and the next is not given; "
        f"get it with GET /destinations/ID/subscriptions?pagination[cursor]={clean(cursor, 60)}"
        for cursor, shown in next_cursors.items()
        if cursor not in cursors
    ]
    if configuration.classic is not None and configuration.subscriptions:
        raise UsageProblem(
            "These are settings of the classic destination and subscriptions of Voucherify (Actions).",
            "Give the files of one destination, and write a settings file for each.",
        )
    return configuration


def _add(part: dict[str, Any] | Subscription, configuration: SegmentConfiguration, shown: str) -> str | None:
    """Add a part of a file; return its name if an earlier part says the same, else None."""
    if isinstance(part, Subscription):
        same = next((each for each in configuration.subscriptions if each.id and each.id == part.id), None)
        if same is not None and same != part:
            raise UsageProblem(
                f'{shown}: the subscription "{clean(part.name, 60)}" was given before, and says something else '
                "there.",
                "Give the newer one of its files only.",
            )
        if part in configuration.subscriptions:
            return f'"{part.name}"'
        configuration.subscriptions.append(part)
    elif part in (configuration.classic, configuration.actions):
        return "the settings of the destination"
    elif configuration.classic is not None or configuration.actions is not None:
        raise UsageProblem(
            f"{shown}: a second destination; a settings file is made of one.",
            "Give the files of one destination, and write a settings file for each.",
        )
    elif not part.keys().isdisjoint(_ONLY_ACTIONS):
        configuration.actions = part
    else:
        configuration.classic = part
    return None


class _RepeatedKeyError(Exception):
    """An object holds a key twice; the message says which, and where."""

    def __init__(self, key: str, where: str) -> None:
        super().__init__(f'"{clean(key, 60)}" stands twice in {clean(where, 200) or "the outermost object"}')


def _decoded(content: bytes, shown: str) -> Any:
    """Return what a file holds; JSON that was written as a text of JSON is what the text holds."""
    if len(content) > MAX_CONFIGURATION_BYTES:
        raise _refused(shown, "it is larger than 10 MiB.")
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        raise _refused(shown, f"it is no text in UTF-8 or UTF-16; {_EXPECTED}.") from None
    try:
        value = _value_of(text)
    except RecursionError:
        raise _refused(shown, f"it is nested on more than {_MAX_LEVELS} levels.") from None
    except msgspec.DecodeError as error:
        raise _not_json(text, str(error), shown) from None
    return _decoded(value.encode(), shown) if isinstance(value, str) else value


def _value_of(text: str, *place: str) -> Any:
    """Return the value of a JSON text, which stands at a place of a file.

    Raises:
        RecursionError: it is nested too deep.
        msgspec.DecodeError: it is no JSON.
        _RepeatedKeyError: an object in it holds a key twice.
    """
    value = msgspec.json.decode(text)
    if _is_deeper(value, _MAX_LEVELS):
        raise RecursionError
    repeated: list[tuple[Any, str]] = []

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated.append((made, counts.most_common(1)[0][0]))
        return made

    whole = json.loads(text, object_pairs_hook=noted, parse_int=str)  # int() refuses very long numbers
    if repeated:
        holder, key = repeated[-1]  # the outermost: an inner one may be of a value that does not count
        raise _RepeatedKeyError(key, path_of(*place, *(_keys_of(holder, whole) or ())))
    return value


def _keys_of(wanted: Any, value: Any) -> Keys | None:
    """Return the keys that lead to an object inside a value; None if it is not there."""
    if value is wanted:
        return ()
    inside: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inside:
        if (rest := _keys_of(wanted, each)) is not None:
            return (key, *rest)
    return None


def _refused(shown: str, why: str, remedy: str = _WHERE) -> UsageProblem:
    return UsageProblem(f"no Segment destination settings in {shown}: {why}", remedy)


def _not_json(text: str, fault: str, shown: str) -> UsageProblem:
    """Return what a text is that is no JSON, and what to give instead; `fault` is what msgspec says."""
    stripped = text.strip()
    if not stripped:
        return _refused(shown, "it is empty.")
    if _HCL.search(text):
        return _refused(shown, f"this is Terraform's own language; {_EXPECTED}.", _TERRAFORM)
    if stripped.startswith("<"):
        return _refused(shown, f"this is a web page, such as the one for signing in, or XML; {_EXPECTED}.")
    if _YAML.match(text):
        return _refused(shown, f"this is YAML; {_EXPECTED}.", f"{_WHERE} `yq -o json` makes JSON of YAML.")
    first_line = stripped.partition("\n")[0]
    if first_line != stripped and _is_event(_decoded_or_none(first_line)):
        return _events(shown)
    if "truncated" in fault:
        return _refused(shown, "it is cut off: its JSON ends inside a value.", f"Save it again. {_WHERE}")
    at = _AT_BYTE.search(fault)
    before = text.encode()[: int(at[1])] if at else b""
    lines = before.count(b"\n")
    where = f" at line {lines + 1}" if at else ""
    return _refused(shown, f"it is not JSON{where}; {_EXPECTED}.")


def _decoded_or_none(text: str, *place: str) -> Any:
    """Return the value of a JSON text; None if it is none, or nested too deep."""
    try:
        return _value_of(text, *place)
    except (msgspec.DecodeError, RecursionError):
        return None


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inside)


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value and not _EVENT_IDS.isdisjoint(value)


def _events(shown: str) -> UsageProblem:
    return _refused(
        shown, "these are events.", f"To write settings that map them: voucherify-sync init --from {shown}"
    )


def _unknown(shown: str, value: Any) -> UsageProblem:
    """Return what is wrong with JSON that holds no configuration."""
    if _is_event(value) or (isinstance(value, list) and value and _is_event(value[0])):
        return _events(shown)
    if (name := _name_of_another(value)) is not None:
        return _refused(shown, f"this is the destination {clean(name, 60)!r}, not Voucherify.")
    return _refused(shown, f"{_EXPECTED}.")


def _has_no_subscriptions(value: Any) -> bool:
    """Tell whether a value is the answer for a destination without any."""
    while isinstance(value, dict) and "data" in value:
        value = value["data"]
    return isinstance(value, dict) and value.get("subscriptions") == []


def _paginations_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yield what answers with subscriptions say of their pages: a cursor as ``current``, and as ``next`` or null."""
    if isinstance(value, list):
        yield from chain.from_iterable(map(_paginations_of, value))
    elif isinstance(value, dict):
        if "subscriptions" in value and isinstance(value.get("pagination"), dict):
            yield value["pagination"]
        yield from _paginations_of(value.get("data"))


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
        text_or_settings = _decoded_or_none(text_or_settings, "settings")
    return text_or_settings if isinstance(text_or_settings, dict) else {}


def _of_config_api(entries: list[Any]) -> dict[str, Any]:
    """Return the settings of a list whose items name a setting at the end of a path."""
    settings: dict[str, Any] = {}
    for each in entries:
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            name = each["name"].rpartition("/")[2]
            if name in settings:
                raise _RepeatedKeyError(name, "config")
            settings[name] = each.get("value")
    return settings


def _subscription(value: dict[str, Any]) -> Subscription:
    names = [value.get(key) for key in ("name", "id", "trigger")]
    action = value.get("actionSlug") or value.get("action_slug")
    return Subscription(
        name=next((name for name in names if isinstance(name, str) and name.strip()), ""),
        action=action if isinstance(action, str) else None,
        trigger=value["trigger"],
        is_enabled=value.get("enabled", True) in (True, "true"),
        settings=_settings_in(value),
        id=value["id"] if isinstance(value.get("id"), str) else "",
    )
