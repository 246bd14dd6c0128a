"""Every reason that the library can name has a meaning, and every meaning belongs to a reason that it can name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from voucherify_sync.mapping.filters import _SKIPPED_TYPES
from voucherify_sync.outcomes import REASONS, WHY_NOT_MAPPED, State, find, words
from voucherify_sync.voucherify.client import _NO_ANSWER

LIBRARY = Path(__file__).resolve().parents[2] / "voucherify_sync"
ELSEWHERE = LIBRARY / "sandbox"
"""The stand-in gives Voucherify's reasons, not ours."""

TAKES_A_REASON = {
    "Outcome": 2,
    "InDoubt": 0,
    "Failed": 0,
    "NoAnswer": 0,
    "UnreadableError": 0,
    "_delivered": 2,
    "_invalid": 1,
    "_no_answer": 0,
}
"""What an outcome is made by, directly or on the way -> the place of the reason among its arguments."""

RETURNS_A_REASON = {
    "reason_to_skip",
    "reason_to_skip_customer",
    "_reason_of_name",
    "_reason_of_rules",
    "reason_of_type",
    "reason_of_repeated",
}

CODES = {reason.code for reason in REASONS}


@cache
def trees() -> list[ast.Module]:
    """Return the library's modules that can end a record."""
    files = (file for file in sorted(LIBRARY.rglob("*.py")) if ELSEWHERE not in file.parents)
    return [ast.parse(file.read_text(), str(file)) for file in files]


@cache
def constants() -> dict[str, str]:
    """Return the texts that modules give a name in capitals, such as GAVE_UP."""
    found = {}
    for node in (node for tree in trees() for node in tree.body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({target.id: value.value for target in targets if isinstance(target, ast.Name)})
    return found


def codes_of(node: ast.expr | None) -> Iterator[str]:
    """Yield the codes that an expression can be, with `*` for a part that varies; of a riddle `?` and its text."""
    match node:
        case ast.IfExp(body=body, orelse=other):
            yield from codes_of(body)
            yield from codes_of(other)
        case ast.BoolOp(values=values):
            yield from (code for value in values for code in codes_of(value))
        case ast.Tuple(elts=[first, *_]):
            yield from codes_of(first)
        case ast.Call(func=ast.Attribute(attr="get"), args=[_, default]):
            yield from codes_of(default)
        case _ if node is not None and not comes_from_elsewhere(node):
            yield code_of(node)


def comes_from_elsewhere(node: ast.expr) -> bool:
    """Tell whether a reason is only passed on: it is found where it was made."""
    match node:
        case ast.Constant(value=None) | ast.Name(id="reason") | ast.Attribute(attr="reason"):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in RETURNS_A_REASON
    return False


def code_of(node: ast.expr) -> str:
    """Return the one code that an expression is."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in constants():
            return constants()[name]
        case ast.JoinedStr(values=values):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in values)
    return f"?{ast.unparse(node)}"


def reason_in(call: ast.Call) -> ast.expr | None:
    """Return the reason among the arguments of a call, if it takes one."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    place = TAKES_A_REASON.get(name)
    if place is None:
        return None
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "reason"), None)
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    return named or (call.args[place] if len(call.args) > place and not starred else None)


def made_codes() -> Iterator[tuple[str, str]]:
    """Yield each code with where it is made."""
    for tree in trees():
        for node in ast.walk(tree):
            found: list[ast.expr | None] = []
            if isinstance(node, ast.Call):
                found = [reason_in(node)]
            elif isinstance(node, ast.FunctionDef) and node.name in RETURNS_A_REASON:
                found = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
            for code in (code for value in found for code in codes_of(value)):
                yield code, f"{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:80]}"


def test_what_takes_or_returns_a_reason_is_there() -> None:
    """A name that went would leave the reasons of its successor without a look."""
    defined = {
        node.name
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    }
    assert {*TAKES_A_REASON, *RETURNS_A_REASON} <= defined


def test_every_reason_that_is_made_has_a_meaning() -> None:
    """Whoever adds a reason adds what it means, and what to do about it."""
    known = CODES | set(WHY_NOT_MAPPED)
    missing = {
        code: where
        for code, where in made_codes()
        if code not in known and not any(fnmatch(each, code) for each in known)
    }
    assert not missing


def test_reasons_of_tables_have_a_meaning() -> None:
    """Those that no literal at an outcome shows."""
    assert set(_SKIPPED_TYPES.values()) <= CODES
    assert set(_NO_ANSWER) <= CODES


def test_outcomes_with_state_and_reason_are_known_as_such() -> None:
    """The meaning is that of the code in its state."""
    calls = [node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    pairs = {
        (State[call.args[1].attr], code)
        for call in calls
        if getattr(call.func, "id", "") == "Outcome" and isinstance(call.args[1], ast.Attribute)
        if ast.unparse(call.args[1]).startswith("State.")
        for code in codes_of(reason_in(call))
    }
    assert len(pairs) > 10
    assert not [pair for pair in pairs if find(*pair) is None]


def test_every_meaning_belongs_to_a_reason_that_the_library_names() -> None:
    """A reason that went leaves nothing behind."""
    texts = {
        node.value
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    put_together = {"http_*", *_SKIPPED_TYPES.values()}
    assert (CODES | set(WHY_NOT_MAPPED)) - texts - put_together == set()


def test_no_reason_is_told_twice() -> None:
    """Code and state name one meaning."""
    pairs = [(reason.state, reason.code) for reason in REASONS]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize(
    "state", [State.SKIPPED, State.DUPLICATE, State.INVALID, State.FAILED, State.IN_DOUBT]
)
def test_what_did_not_arrive_says_what_to_do(state: State) -> None:
    """Each of its reasons does."""
    assert all(reason.remedy for reason in REASONS if reason.state is state)


def test_a_status_is_found_by_its_pattern() -> None:
    """http_502 and http_400 are `http_*` of their states."""
    assert words(State.IN_DOUBT, "http_502")
    assert words(State.FAILED, "http_400")
    assert words(State.FAILED, "invalid_payload") == ""
    assert words(State.SKIPPED, None) == ""
