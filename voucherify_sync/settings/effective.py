"""Settings -> YAML that loads to the same settings, secrets masked; and a digest of what shapes requests."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from voucherify_sync.settings.secrecy import masked
from voucherify_sync.settings.types import Rate, Secret, Settings
from voucherify_sync.settings.values import is_json_word

Plain = dict[str, Any]
"""What can be written as YAML."""


def dump(settings: Settings) -> str:
    """Return the effective settings as YAML. Literal secrets are masked, references to variables stand."""
    return to_yaml({name: plain_section(getattr(settings, name)) for name in settings.__struct_fields__})


def digest(settings: Settings) -> str:
    """Return a short hash of what shapes the requests: equal digests make equal requests of equal events."""
    shaping = (settings.identify, settings.track, settings.personas, settings.identity)
    text = json.dumps([msgspec.structs.asdict(section) for section in shaping])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def plain_section(section: Struct) -> Plain:
    """Return the settings of a section as they are written in a file."""
    return {name: plain(getattr(section, name)) for name in section.__struct_fields__}


def plain(value: Any) -> Any:
    """Return the value of a setting as it is written in a file."""
    match value:
        case Secret():
            return masked(value)
        case Rate():
            return str(value)
        case float():
            return f"{value * 100:.12g}%"
        case _:
            return escaped(value)


def to_yaml(value: Any, *, flow: bool = False) -> str:
    """Return YAML as people write it: no aliases, one item a line, long lines unbroken; or, as flow, on one line."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=math.inf
    )
    return re.sub(r"[^\n\x20-\x7e]", lambda sign: _printable(sign[0]), text)


def _printable(sign: str) -> str:
    """Return the sign or its escape: such signs stand in double quotes only, and may turn a terminal upside down."""
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"


def escaped(value: Any) -> Any:
    """Double the `$` of texts where the loader would take it for more than a `$`."""
    match value:
        case str():
            return re.sub(r"\$(?=[{$])", "$$", value)
        case list():
            return [escaped(item) for item in value]
        case dict():
            return {key: escaped(item) for key, item in value.items()}
        case _:
            return value


class _Dumper(yaml.SafeDumper):
    """Quotes whatever the loader would not read as the text that it is."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Represent a text; line breaks are escaped, because PyYAML does not bring all of them back otherwise."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if is_json_word(text) else style)


_Dumper.add_representer(str, _text)
