"""Compare names with those that a setting or an option lists, and say which of these were met and what may be meant.

Names are event names and ids of customers. Case and blanks count when they are compared; so a listed name that no event
has, and a name that is almost a listed one, are likely to be mistakes, and nothing else would show them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import Struct, field

from voucherify_sync.mapping.stats import MAX_KEYS_OF_PART, NameCounts
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean, counted, did_you_mean, listed, similar

MAX_SHOWN: Final = 5
"""Names that a notice shows at most."""

_MAX_COMPARED: Final = 20
"""Names for which similar ones are looked for, letter by letter: each takes some milliseconds. Ids of a long list are
all similar."""
_SIMILARITY: Final = 0.8
_SHOWN_LENGTH: Final = 60
_WORD: Final = re.compile(r"[^\W_]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_SIGNS: Final = dict.fromkeys(map(ord, " \t\u00a0_-.:"))
_SEPARATORS: Final = re.compile(r"[\s_-]+")


def name_matcher(names: Iterable[str]) -> Callable[[str], bool]:
    """Return a test whether a name is one of these: case matters, and a ``*`` matches any run of characters."""
    names = list(names)
    exact = frozenset(name for name in names if "*" not in name)
    globs = "|".join(_glob_regex(name) for name in names if "*" in name)
    if not globs:
        return exact.__contains__
    matches = re.compile(globs, re.DOTALL).fullmatch
    return lambda name: name in exact or matches(name) is not None


def _glob_regex(glob: str) -> str:
    """Return a regular expression for a glob; the time of a match is linear in the length of the name.

    The first place of a part behind the one before it leaves most room for the others, so no other place is tried: an
    atomic group gives nothing back.
    """
    first, *middle, last = map(re.escape, glob.split("*"))
    return first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"


class NamesMet(Struct, array_like=True):
    """What was compared with a list of names, in the input or in a part of it.

    Attributes:
        seen: names that were compared.
        listed: names of the list that were met.
        others: names that are not in the list, counted.
    """

    seen: int = 0
    listed: set[str] = field(default_factory=set)
    others: NameCounts = field(default_factory=NameCounts)

    def merge(self, later: NamesMet) -> None:
        """Add what was compared in a later part of the input."""
        self.seen += later.seen
        self.listed |= later.listed
        self.others.merge(later.others)


class NameList:
    """The names that a setting or an option lists.

    Args:
        rule: the setting or option, as the user writes it.
        names: with a ``*`` in them for any run of characters.
        are_ids: they are ids of customers, in which words mean nothing, nor does a ``*``.

    Attributes:
        rule: as above.
        is_given: it lists any name.
        met: what was compared so far.
    """

    def __init__(self, rule: str, names: Iterable[str], *, are_ids: bool = False) -> None:
        self.rule = rule
        self.met = NamesMet()
        self._names = tuple(dict.fromkeys(names))
        self.is_given = bool(self._names)
        self._are_ids = are_ids
        self._exact = frozenset(name for name in self._names if are_ids or "*" not in name)
        self._globs = {name: name_matcher([name]) for name in self._names if name not in self._exact}
        self._unmet_globs = dict(self._globs)
        self.holds = self._exact.__contains__ if are_ids else name_matcher(self._names)

    def sees(self, name: str) -> bool:
        """Compare a name; tell whether the list holds it."""
        self.met.seen += 1
        if not self.holds(name):
            self.met.others.add(name)
            return False
        self.meets(name)
        return True

    def sees_all(self, counts: NameCounts) -> None:
        """Compare all names that were counted, in place of what was compared so far."""
        self.met = NamesMet(sum(counts.by_name.values()) + counts.other)
        self._unmet_globs = dict(self._globs)
        for name, count in counts.by_name.items():
            if self.holds(name):
                self.meets(name)
            else:
                self.met.others.add(name, count)
        if counts.other:  # any name may be among them
            self.met.listed.update(self._names)

    def meets(self, name: str) -> None:
        """Note that a name was met that the list holds."""
        if name in self._exact:
            self.met.listed.add(name)
        if self._unmet_globs:
            for glob in [glob for glob, matches in self._unmet_globs.items() if matches(name)]:
                self.met.listed.add(glob)
                del self._unmet_globs[glob]

    def cut(self) -> NamesMet:
        """Return what was compared since the last call."""
        met, self.met = self.met, NamesMet(others=NameCounts(most=MAX_KEYS_OF_PART))
        return met

    def near_misses(self, stop: Stop | None = None) -> dict[str, list[str]]:
        """Return what may be meant by names of the list: names that are not in it, the most frequent first.

        Of a name that was met these are the ones that differ from it in case, blanks and signs between words, the order
        of words, or a plural. Of the first ones that were not met they are similar ones, too. The search ends with a
        stop, since it takes time.
        """
        others = sorted(self.met.others.by_name, key=lambda name: -self.met.others.by_name[name])
        by_form: dict[str, list[str]] = {}
        for other in others:
            for form in _forms(other, self._are_ids):
                by_form.setdefault(form, []).append(other)
        folded = {other: _folded(other) for other in others} if self._globs else {}
        misses: dict[str, list[str]] = {}
        compared_count = _MAX_COMPARED if self._are_ids and len(self._names) > MAX_SHOWN else 0
        for name in self._names:
            if stop is not None and stop.requested:
                break
            if name in self._globs:
                matches = name_matcher([_folded(name)])
                near = [other for other in others if matches(folded[other])]
            else:
                found = {other for form in _forms(name, self._are_ids) for other in by_form.get(form, ())}
                near = sorted(found, key=lambda other: (-self.met.others.by_name[other], other))
            if not near and name not in self.met.listed and compared_count < _MAX_COMPARED:
                compared_count += 1
                near = similar(name.replace("*", ""), others, fold=str.casefold, most=3, cutoff=_SIMILARITY)
            if near:
                misses[name] = near
        return misses

    def notices(self, stop: Stop | None = None) -> Iterator[str]:
        """Yield sentences on names of the list that nothing has, and on names that are almost in it.

        Once the run stops none is missing: the rest of the input was not looked at.
        """
        misses = self.near_misses(stop)
        unmet = [name for name in self._names if name not in self.met.listed]
        if self.met.seen and not (stop is not None and stop.requested):
            yield from self._unmet_notices(unmet, misses)
        noun = "id" if self._are_ids else "name"
        counts = self.met.others.by_name
        for name in [name for name in misses if name in self.met.listed][:MAX_SHOWN]:
            others = misses[name]
            count = sum(counts[other] for other in others)
            shown = listed(others, lambda each: f"{_quoted(each)} ({counts[each]:,})", MAX_SHOWN)
            yield (
                f"{self.rule}: {counted(count, 'event has', 'events have')} almost the {noun} {_quoted(name)}: "
                f"{shown}. Case, blanks and signs count: add "
                f"{'this one' if len(others) == 1 else 'these'}, too, if meant."
            )

    def _unmet_notices(self, unmet: list[str], misses: dict[str, list[str]]) -> Iterator[str]:
        if self._are_ids and len(unmet) > MAX_SHOWN:
            named = ", ".join(map(_quoted, unmet[:MAX_SHOWN]))
            yield (
                f"{self.rule}: {len(unmet):,} of {len(self._names):,} ids are those of no event that passes the other "
                f"rules: {named}, …"
            )
            unmet = [name for name in unmet if name in misses]
        for name in unmet[:MAX_SHOWN]:
            near = [
                f"{_quoted(each)} ({self.met.others.by_name[each]:,})" for each in misses.get(name, [])[:3]
            ]
            what = (
                f"{_quoted(name)} is the id of no event that passes the other rules"
                if self._are_ids
                else f"none of the {counted(self.met.seen, 'track event')} read is named {_quoted(name)}"
            )
            yield f"{self.rule}: {what}{did_you_mean(near) or '.'}"
        if len(unmet) > MAX_SHOWN and not self._are_ids:
            yield f"{self.rule}: {counted(len(unmet) - MAX_SHOWN, 'more name is', 'more names are')} met by no event."


def _quoted(name: str) -> str:
    return f'"{clean(name, _SHOWN_LENGTH)}"'


def _folded(name: str) -> str:
    """Return a name without case, and with one blank for each run of blanks, underscores and hyphens."""
    return _SEPARATORS.sub(" ", _HUMP.sub(" ", unicodedata.normalize("NFKC", name)).casefold()).strip()


def _forms(name: str, are_ids: bool) -> set[str]:
    """Return the forms of a name, of which two names share one if they differ in nothing that people mean to say."""
    if are_ids:
        return {name.casefold().translate(_NO_SIGNS) or name}
    words = _WORD.findall(_folded(name))
    singular = [word[:-1] if word.endswith("s") and len(word) > 2 else word for word in words]
    if not any(map(str.isdecimal, words)):  # step 1 of level 2 is not step 2 of level 1
        singular.sort()
    return {"".join(words), " ".join(singular)} - {""} or {name}
