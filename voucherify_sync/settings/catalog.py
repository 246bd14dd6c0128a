"""The settings' own types -> a flat description of each setting, for loader, template and schema."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct, inspect

from voucherify_sync.settings.types import Rate, Secret, Settings


class Form(Enum):
    """How the value of a setting is written."""

    TEXT = auto()
    SECRET = auto()
    FLAG = auto()
    COUNT = auto()
    SHARE = auto()
    RATE = auto()
    CHOICE = auto()
    NAMES = auto()
    ROWS = auto()
    CONSTANTS = auto()


class Setting(Struct, frozen=True):
    """One setting.

    Attributes:
        section: the key it lies under.
        name: its own key.
        form: how its value is written.
        help: what it is for, in a sentence.
        default: as in the types; None where there is nothing by default.
        example: a value as it stands in the file, or None.
        choices: the words of a CHOICE.
        at_least: lower bound of a number, or None.
        at_most: upper bound of a number, or None.
    """

    section: str
    name: str
    form: Form
    help: str
    default: Any
    example: Any = None
    choices: tuple[str, ...] = ()
    at_least: int | None = None
    at_most: int | None = None

    @property
    def path(self) -> str:
        """Its name in messages, such as track.events_filter."""
        return f"{self.section}.{self.name}"


class Section(Struct, frozen=True):
    """A group of settings.

    Attributes:
        name: its key.
        cls: its type.
        help: what it is for.
        settings: its settings by name, in the order of the types.
    """

    name: str
    cls: type[Struct]
    help: str
    settings: dict[str, Setting]


@cache
def sections() -> dict[str, Section]:
    """Return all sections by name, in the order of the types."""
    root = inspect.type_info(Settings)
    assert isinstance(root, inspect.StructType)  # noqa: S101  # a fact of our own types, for the type checker
    return {field.name: _section(field.name, field.type) for field in root.fields}


def all_settings() -> Iterator[Setting]:
    """Yield every setting, in the order of the types."""
    for section in sections().values():
        yield from section.settings.values()


def _section(name: str, kind: inspect.Type) -> Section:
    assert isinstance(kind, inspect.StructType)  # noqa: S101  # as above
    settings = {field.name: _setting(name, field) for field in kind.fields}
    return Section(name, kind.cls, (kind.cls.__doc__ or "").strip(), settings)


def _setting(section: str, field: inspect.Field) -> Setting:
    extra: dict[str, Any] = {}
    kind = _bare(field.type, extra)
    return Setting(
        section=section,
        name=field.name,
        form=_form(kind),
        help=extra["description"],
        default=field.default if field.default is not msgspec.NODEFAULT else None,
        example=next(iter(extra.get("examples", [])), None),
        choices=tuple(str(word) for word in getattr(kind, "values", ())),
        at_least=getattr(kind, "ge", None),
        at_most=getattr(kind, "le", None),
    )


def _bare(kind: inspect.Type, extra: dict[str, Any]) -> inspect.Type:
    """Take a type out of its annotations, which go into `extra`, and out of its `| None`."""
    if isinstance(kind, inspect.Metadata):
        extra.update(kind.extra_json_schema or {})
        return _bare(kind.type, extra)
    if isinstance(kind, inspect.UnionType):
        return _bare(next(each for each in kind.types if not isinstance(each, inspect.NoneType)), extra)
    return kind


def _form(kind: inspect.Type) -> Form:
    match kind:
        case inspect.CustomType(cls=cls) if cls is Secret:
            return Form.SECRET
        case inspect.StructType(cls=cls) if cls is Rate:
            return Form.RATE
        case inspect.DictType(value_type=inspect.AnyType()):
            return Form.CONSTANTS
    return _SIMPLE_FORMS[type(kind)]


_SIMPLE_FORMS: dict[type[inspect.Type], Form] = {
    inspect.StrType: Form.TEXT,
    inspect.BoolType: Form.FLAG,
    inspect.IntType: Form.COUNT,
    inspect.FloatType: Form.SHARE,
    inspect.LiteralType: Form.CHOICE,
    inspect.ListType: Form.NAMES,
    inspect.DictType: Form.ROWS,
}
