"""Nodes of a settings file -> values. A mistake is noted at its place, and None stands for the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from voucherify_sync.paths import PathError
from voucherify_sync.settings.document import Broken, Items, Node, Pairs, Scalar
from voucherify_sync.settings.environment import interpolate
from voucherify_sync.settings.problems import Mistake, Problems
from voucherify_sync.settings.values import read_constant

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NodeReader:
    """Reads nodes of one file.

    Args:
        problems: takes the mistakes.
        environment: where `${VAR}` is looked up.
    """

    def __init__(self, problems: Problems, environment: Mapping[str, str]) -> None:
        self._problems = problems
        self._environment = environment

    def constant(self, node: Node, path: str) -> Any:
        """Return a value as in JSON: unquoted null, true, false and numbers are what they are there."""
        if isinstance(node, Items):
            return [self.constant(item, path) for item in node.items]
        if isinstance(node, Pairs):
            return {key.text: self.constant(value, path) for key, value in node.pairs}
        return self.tried(node, path, self._json_value, node)

    def text(self, node: Node) -> str:
        """Return the text of a scalar with its variables put in; anything else is a Mistake."""
        return interpolate(scalar(node).text, self._environment)

    def tried(
        self, node: Node, path: str, read: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Return what `read` gives; note what it refuses, at the node's place, and return None."""
        if not isinstance(node, Broken):
            try:
                return read(*args, **kwargs)
            except (Mistake, PathError) as mistake:
                self._problems.add(node.place, path, str(mistake))
        return None

    def pairs(self, node: Node | None, path: str, expected: str) -> list[tuple[Scalar, Node]]:
        """Return the pairs of a node; what holds something else is a mistake, what is null holds none."""
        if isinstance(node, Pairs):
            return node.pairs
        if node is not None and not is_absent(node) and not isinstance(node, Broken):
            self._problems.add(node.place, path, f"must hold {expected}")
        return []

    def _json_value(self, node: Node) -> Any:
        if is_absent(node):
            return None
        written, text = scalar(node), self.text(node)
        return read_constant(text) if written.plain and text == written.text else text


def is_absent(node: Node) -> bool:
    """Tell whether a node is null or nothing."""
    return isinstance(node, Scalar) and node.is_null


def scalar(node: Node) -> Scalar:
    """Return a node that must be one value."""
    if not isinstance(node, Scalar):
        raise Mistake(
            "must be one value, not " + ("a list" if isinstance(node, Items) else "`name: value` lines")
        )
    return node
