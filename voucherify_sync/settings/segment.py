"""Recognises what a settings file says about Segment: sources that no event has, and Segment's own configuration."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from voucherify_sync.events import EventType
from voucherify_sync.paths import FieldPath, path_of, stars_in_names
from voucherify_sync.settings.segment_configuration import ACTIONS_KEYS, CLASSIC_KEYS
from voucherify_sync.settings.yaml_nodes import YamlNode
from voucherify_sync.text import did_you_mean, folded_key

_OBJECTS: Final = ("traits", "properties", "context", "integrations")
_EVENT_KEYS: Final = frozenset({
    "type", "event", "name", "category", "userId", "anonymousId", "groupId", "previousId", "messageId", "timestamp",
    "originalTimestamp", "sentAt", "receivedAt", "channel", "version", "projectId", "writeKey", "rudderId",
    "request_ip", "user_id", "anonymous_id", "_metadata", *_OBJECTS,
})  # fmt: skip
"""The keys that an event has, at Segment or at RudderStack."""

_CONFIGURATION_KEYS: Final = CLASSIC_KEYS | ACTIONS_KEYS | {
    "actionSlug", "actionId", "action_id", "destinationId", "destination", "subscriptions", "trigger",
}  # fmt: skip
"""The keys of a configuration: those of its settings, and of subscriptions."""
_GENERAL_KEYS: Final = frozenset({"settings", "enabled"})
"""Keys of a configuration that files of other programs have, too."""
_WRAPPED: Final = frozenset({"destination", "subscriptions", "data"})
"""Keys below `data` in answers of Segment's Public API."""


def foreign_kind(root: YamlNode) -> str | None:
    """Return what a file is that is no settings file at all, and what to do; None where it may be one."""
    if _is_configuration(root):
        return (
            "this is the configuration of a destination at Segment, not a settings file: "
            "`voucherify-sync init --from-segment FILE` makes settings of it"
        )
    if "type" in (root.pairs or {}) and {"userId", "anonymousId", "messageId"} & (root.pairs or {}).keys():
        return "this is an event, not a settings file; name events as SOURCE, and settings with -c"
    return None


def _is_configuration(root: YamlNode) -> bool:
    """Tell whether a file is what Segment's settings page, its APIs or Terraform show of a destination."""
    if root.items:
        root = root.items[0]  # a list of subscriptions
    pairs = root.pairs or {}
    if "config" in pairs and pairs["config"][1].items:
        return True
    if "data" in pairs and _WRAPPED & (pairs["data"][1].pairs or {}).keys():
        return True
    own = _CONFIGURATION_KEYS & pairs.keys()
    return bool(own) and len(own | (_GENERAL_KEYS & pairs.keys())) >= 2


def doubt_of_source(source: FieldPath, of: EventType) -> str | None:
    """Return why no event of a type is likely to have anything at a source, or None.

    Args:
        source: of a row.
        of: the type.
    """
    first, root = str(source.keys[0]), of.root
    others = source.keys[1:]
    end = ".*" if source.wildcard else ""
    if stars_in_names(source.text):
        exact = path_of(*source.keys) + end
        return f"this * stands for itself, not for any text; {root}.* takes all keys, {exact} takes this one"
    if first in {"traits", "properties"} - {root}:
        meant = [path_of(root, *others) + end]
        if first == "traits":
            meant.append(path_of("context", "traits", *others) + end)
        return f"{of.name} events have {root}, not {first}" + did_you_mean(meant)
    if first in _EVENT_KEYS:
        return None
    known = _OBJECTS if others or end else sorted(_EVENT_KEYS, key=lambda key: "_" not in key)
    by_folded = {folded_key(key): key for key in known}
    near = get_close_matches(folded_key(first), by_folded, n=1, cutoff=0.75)
    key = by_folded[near[0]] if near else None
    if key in {"traits", "properties"} or (len(first) > 3 and root.startswith(folded_key(first))):
        key = root
    meant_keys = (root, *source.keys) if key is None else (key, *others)
    return f"no event has a key {first!r} at its top level" + did_you_mean([path_of(*meant_keys) + end])
