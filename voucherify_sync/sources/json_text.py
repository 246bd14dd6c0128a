"""Cut JSON text into its values without decoding it: at no cost in memory, and in time that is linear in the text.

Values that stand one after the other, with or without something between them, are found by `end_of_value`. Where one
is broken, `next_start` tells where reading can go on. `items` and `members` cut one array or one object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, TypedDict

import msgspec

from voucherify_sync.events import EVENT_TYPES, event_type

MAX_VALUE_BYTES: Final = 10 * 1024 * 1024
"""Bytes; a longer value is one invalid record."""

BOM: Final = b"\xef\xbb\xbf"
"""The byte order mark, in UTF-8."""

RESTART_BYTES: Final = 70
"""Bytes in which `next_start` finds a place, at most: those at the end of a piece of text are to be kept."""

# Possessive repeats (`++`, `*+`) never backtrack, so each pattern is linear in the text, whatever that holds.
_TEXT: Final = rb'"(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])*+"'
_CUT_TEXT: Final = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])*+\\?\Z')
_BARE: Final = rb'[^"\\\[\]{}\x00-\x08\x0b\x0c\x0e-\x1f]++'
# Two signs show that a text has no end, or an object none, and where: a text with something behind it that cannot
# stand there, and an object right behind another one. Without them each value of a broken line could be searched to
# the end of the line.
_INSIDE: Final = rb"(?:%b|%b(?=[ \t\r\n]*+(?:[,:\]}]|\Z)))" % (_BARE, _TEXT)
_CLOSING: Final = rb"(?:\]|\}(?![ \t\r\n]*+\{))"
# Containers that hold no other container are skipped like texts, which spares most of the steps.
_TO_A_BRACKET: Final = re.compile(rb"(?:%b|[\[{]%b*+%b)*+" % (_INSIDE, _INSIDE, _CLOSING))
_OBJECT: Final = re.compile(rb"[ \t\r\n]*+\{")
_TO_A_SIGN: Final = re.compile(
    rb'(?:[^",\[{]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+(?:([,\[{])|\Z)',  # a text without an end goes on to the end
    re.DOTALL,
)
# It matches anywhere, so that a search never begins inside of a text.
_MEMBER: Final = re.compile(rb'%b|[^ \t\r\n,:"\[\]{}]++' % _TEXT)
_SCALAR: Final = re.compile(
    rb"(?:%b|-?[0-9][-+.0-9eE]*+|true|false|null|NaN|-?Infinity)"
    rb"(?=[ \t\r\n\x0b\x0c,\x1e\[{]|\xef\xbb\xbf|\Z)" % _TEXT
)
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_SEPARATORS: Final = re.compile(rb"(?:[ \t\r\n\x0b\x0c,\x1e]++|\xef\xbb\xbf)*+")
_SEPARATORS_IN_ARRAY: Final = re.compile(rb"(?:[ \t\r\n\x0b\x0c,\x1e\]]++|\xef\xbb\xbf)*+")
_RESTART: Final = re.compile(rb'\}(?=[ \t]{0,32}\{[ \t]{0,32}["}])|[\r\n\x1e](?=[^\r\n])')
_COMMA: Final = re.compile(rb",[ \t\r\n]{0,32}(?=\{)")
_BATCH: Final = re.compile(rb'"batch"[ \t\r\n]*+:')
_TO_QUOTE: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SKIPPED: Final = rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")'
_TO_STRUCTURE: Final = re.compile(rb"(?:%b|[\[{]%b*+[\]}])*+" % (_SKIPPED, _SKIPPED), re.DOTALL)
_BACKSLASH: Final = ord("\\")

_MAX_RESTART_BYTES: Final = 64 * 1024
"""Bytes of the longest event that tells where reading goes on; twice what Segment takes."""
_MAX_TRIES: Final = 64 * 1024 * 1024
"""Bytes that are looked at in all, in one text, for ends of broken values and for events behind them."""
_BYTES_OF_TRY: Final = 256
_IDS: Final = frozenset({"messageId", "userId", "anonymousId"})


class _Batch(TypedDict, total=False):
    """All that is looked at of an object."""

    batch: msgspec.Raw


class _Marks(TypedDict, total=False):
    """What shows that an object is an event."""

    type: Any
    payload: msgspec.Raw
    messageId: msgspec.Raw
    userId: msgspec.Raw
    anonymousId: msgspec.Raw


_decode_batch: Final = msgspec.json.Decoder(_Batch).decode
_decode_marks: Final = msgspec.json.Decoder(_Marks).decode


class BrokenError(Exception):
    """A text is no array, no object or no value from some place on.

    Attributes:
        at: offset in bytes of the first value that cannot be read, or of what stands in its place.
        is_cut: the text ends before the value does, and may go on.
    """

    def __init__(self, at: int, *, is_cut: bool = False) -> None:
        super().__init__(f"broken or cut off at byte {at + 1}")
        self.at = at
        self.is_cut = is_cut


def has_more_values(text: bytes, most: int) -> bool:
    """Tell whether a JSON text holds more than `most` values, which are keys and items at any depth.

    What is counted are the commas and the opening brackets outside of texts.
    """
    if len(text) <= most:
        return False
    if text.count(b",") + text.count(b"[") + text.count(b"{") <= most:  # even with those inside of texts
        return False
    found = next(islice(_TO_A_SIGN.finditer(text), most, None), None)
    return found is not None and found[1] is not None


def first_byte(text: bytes) -> bytes:
    """Return the first byte that is not blank; nothing if there is none."""
    at = _after_blanks(text, 0)
    return text[at : at + 1]


def after_separators(text: bytes, at: int, end: int, *, in_array: bool = False) -> int:
    """Return where the next value begins: behind blanks, commas, record separators and byte order marks.

    Behind the ends of arrays, too, where an array was entered.
    """
    separators = _SEPARATORS_IN_ARRAY if in_array else _SEPARATORS
    return separators.match(text, at, end).end()  # type: ignore[union-attr]  # it matches anywhere


def next_start(text: bytes, at: int, end: int) -> int | None:
    """Return where reading goes on behind a value that is broken or too long; None if that is nowhere in the text.

    That is behind a line end, a carriage return, a record separator, or the ``}`` of an object that another object
    follows at once. No JSON text holds such a pair but for its strings, and those can hold ``{}`` alone.
    """
    found = _RESTART.search(text, at, end)
    return found and found.end()


def batch_of(text: bytes) -> bytes | None:
    """Return the text of the `batch` of an object, nothing if there is none; None if the text is no object.

    All else is passed over, in a tenth of the time that decoding takes.
    """
    try:
        return bytes(_decode_batch(text).get("batch", b""))
    except (ValueError, RecursionError):
        return None


class Values:
    """Finds the values that stand one after the other in a text, whole ones and broken ones.

    Most lines that hold several values have the same between any two of them. So the end of a value is looked for at
    the next place of that kind first, which takes a tenth of the time. It is the end if what precedes it is JSON.

    An array of objects that is broken is entered: its items are values like the others, so that one broken item does
    not cost the whole array.

    Args:
        text: that is cut.
        is_whole: nothing follows the text; else its last value may go on.
        in_array: the text begins in an array that was entered.

    Attributes:
        in_array: the value that was found last is an item of an array that was entered.
    """

    def __init__(self, text: bytes, *, is_whole: bool = True, in_array: bool = False) -> None:
        self.in_array = in_array
        self._text = text
        self._is_whole = is_whole
        self._at = 0
        # Ends of the text, and of what looked like one value in it and is none; each with `in_array` up to there.
        self._levels = [(len(text), in_array)]
        self._joint: bytes | None = (
            None  # the end of an object, the beginning of the next, and what is between
        )
        self._tries = _MAX_TRIES

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield where each value begins and ends; of a broken one, where the next may begin."""
        while self._levels:
            limit, self.in_array = self._levels[-1]
            begin = after_separators(self._text, self._at, limit, in_array=self.in_array)
            if begin == limit:
                self._at = self._levels.pop()[0]
                continue
            end = self._end_of_value(begin, limit)
            if end is None:
                self._levels[-1] = (limit, True)
                self._at = begin + 1
                continue
            self._at = end
            yield begin, end

    def restart(self, begin: int, end: int) -> int | None:
        """Say that a value, the last one, is no JSON: what looks like its end may be that of another value.

        Returns:
            The end of the broken value, behind which the search goes on; None if its items are found from now on.
        """
        if self._is_to_enter(begin, end):
            self._levels.append((end, True))
            self._at = begin + 1
            return None
        start = self._next_start(begin, end)
        if start is None:
            return end
        self._levels.append((end, self.in_array))
        self._at = start
        return start

    def _end_of_value(self, begin: int, limit: int) -> int | None:
        """Return where a value ends, or where the next may begin; None if it is an array that is to be entered."""
        text = self._text
        if self._joint is not None:
            found = text.find(self._joint, begin, limit)
            if found >= 0 and batch_of(text[begin : found + 1]) is not None:
                return found + 1
        try:
            end = end_of_value(text, begin, limit)
        except BrokenError as error:
            if error.is_cut and not self._is_whole:
                return limit
            self._tries -= limit - begin  # it was looked through in vain, and may be again for the next value
            if self._is_to_enter(begin, limit):
                return None
            return self._next_start(begin, limit) or limit
        following = after_separators(text, end, limit)
        is_joint = text[end - 1 : end] == b"}" and text[following : following + 2] == b'{"'
        self._joint = text[end - 1 : following + 2] if is_joint and following - end < RESTART_BYTES else None
        return end

    def _is_to_enter(self, begin: int, limit: int) -> bool:
        """Tell whether a broken value is an array of objects; one in another is not entered, nor is that ever deep."""
        return not self.in_array and begins_array_of_objects(self._text, begin, limit)

    def _next_start(self, begin: int, limit: int) -> int | None:
        """Return where reading goes on behind a broken value, the first of all such places; None if there is none.

        Behind a comma that is where an event stands, with its type and an id: the objects inside of a broken event
        are none. The items of a broken envelope are not read, since nobody knows what it would have added to them.
        """
        text = self._text
        start = next_start(text, begin + 1, limit)
        last = limit if start is None else start
        batch = _BATCH.search(text, begin, last)
        for comma in _COMMA.finditer(text, begin, last if batch is None else batch.end()):
            if self._tries <= 0:
                break
            at = comma.end()
            longest = min(limit, at + _MAX_RESTART_BYTES)
            try:
                end = end_of_value(text, at, longest)
            except BrokenError as error:
                if error.is_cut and longest == limit and not self._is_whole:
                    return None  # what follows will tell
                end = longest
            else:
                if _is_event(text[at:end]):
                    return comma.start()
            self._tries -= _BYTES_OF_TRY + end - at
        return start


class LongValue:
    """Looks for the end of a value that is passed over piece by piece, as it is too long."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = False
        self._open = b""  # the backslash that the last piece ended with, inside of a text
        self._tail: bytes | None = None
        self._is_over = False

    def rest(self, piece: bytes) -> bytes | None:
        """Return what follows the value, if the next piece of its text holds its end or a place to go on from.

        Nothing follows yet where there are only separators.

        Args:
            piece: the next one; the first one begins with the value.
        """
        if self._is_over:
            return self._behind(piece, 0)
        tail = self._tail or b""
        text = tail + piece
        start = next_start(text, self._tail is None, len(text))
        self._tail = text[-RESTART_BYTES:]
        end = self._end_in(piece)
        if end is not None and (start is None or len(tail) + end < start):
            self._is_over = True
            return self._behind(piece, end)
        return None if start is None else text[start:]

    @staticmethod
    def _behind(piece: bytes, at: int) -> bytes | None:
        return piece[at:] if after_separators(piece, at, len(piece)) < len(piece) else None

    def _end_in(self, piece: bytes) -> int | None:
        """Return where the last bracket closes; brackets are counted, and not told apart."""
        text = self._open + piece
        offset, at = len(self._open), 0
        self._open = b""
        while at < len(text):
            if self._in_text:
                at = _TO_QUOTE.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere
                if at == len(text):
                    break
                if text[at] == _BACKSLASH:
                    self._open = text[at:]
                    break
                self._in_text = False
                at += 1
            at = _TO_STRUCTURE.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere
            match text[at : at + 1]:
                case b'"':
                    self._in_text = True
                case b"[" | b"{":
                    self._depth += 1
                case b"]" | b"}":
                    self._depth -= 1
                    if self._depth <= 0:
                        return at + 1 - offset
            at += 1
        return None


def begins_array_of_objects(text: bytes, begin: int, end: int) -> bool:
    """Tell whether an array begins at an offset, and an object in it."""
    return text[begin : begin + 1] == b"[" and _OBJECT.match(text, begin + 1, end) is not None


def _is_event(text: bytes) -> bool:
    """Tell whether a text is an object with the type of an event, or an event in a wrapper, and with an id."""
    try:
        fields = _decode_marks(text)
    except (ValueError, RecursionError):
        return False
    kind = fields.get("type")
    is_typed = isinstance(kind, str) and event_type(kind) in EVENT_TYPES
    return (is_typed or "payload" in fields) and not _IDS.isdisjoint(fields)


def items(text: bytes) -> Iterator[bytes]:
    """Yield the items of the array that a text is, as they are written.

    Raises:
        BrokenError: the text is no array; the items before that place have been yielded.
    """
    for begin, end in _spans(text, b"[", b"]"):
        yield text[begin:end]


def members(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each member of the object that a text is, as they are written; a key may come twice.

    Raises:
        BrokenError: the text is no object; the members before that place have been yielded.
    """
    for begin, end in _spans(text, b"{", b"}"):
        key_end = _end_of_member(text, begin)
        yield text[begin:key_end], text[_after_blanks(text, _after_blanks(text, key_end) + 1) : end]


def _spans(text: bytes, opening: bytes, closing: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each member of an array or an object begins and ends; of an object, from its key on."""
    at = _after_blanks(text, 0)
    if text[at : at + 1] != opening:
        raise BrokenError(at)
    at = _after_blanks(text, at + 1)
    is_over = text[at : at + 1] == closing
    while not is_over:
        begin, end = at, _end_of_member(text, at)
        if opening == b"{":
            at = _after_blanks(text, end)
            if text[begin : begin + 1] != b'"' or text[at : at + 1] != b":":
                raise BrokenError(begin)
            end = _end_of_member(text, _after_blanks(text, at + 1))
        at = _after_blanks(text, end)
        is_over = text[at : at + 1] == closing
        if not is_over and text[at : at + 1] != b",":
            raise BrokenError(begin)
        yield begin, end
        if not is_over:
            at = _after_blanks(text, at + 1)
    at = _after_blanks(text, at + 1)
    if at < len(text):
        raise BrokenError(at)


def end_of_value(text: bytes, begin: int, end: int) -> int:
    """Return where the value that begins at an offset ends; brackets are counted, and not told apart.

    Args:
        text: that holds it.
        begin: its offset.
        end: offset at which the text counts as ended.

    Raises:
        BrokenError: no value begins there, or it has no end.
    """
    if text[begin : begin + 1] in (b"[", b"{"):
        return _end_of_container(text, begin, end)
    scalar = _SCALAR.match(text, begin, end)
    if scalar is None:
        raise BrokenError(begin, is_cut=_CUT_TEXT.match(text, begin, end) is not None)
    return scalar.end()


def _end_of_member(text: bytes, begin: int) -> int:
    """Return where a member of an array or an object ends."""
    if text[begin : begin + 1] in (b"[", b"{"):
        return _end_of_container(text, begin, len(text))
    member = _MEMBER.match(text, begin)
    if member is None:
        raise BrokenError(begin)
    return member.end()


def _end_of_container(text: bytes, begin: int, end: int) -> int:
    depth, at, skip = 1, begin + 1, _TO_A_BRACKET.match
    while depth:
        at = skip(text, at, end).end()  # type: ignore[union-attr]  # it matches anywhere
        match text[at : min(at + 1, end)]:
            case b"[" | b"{":
                depth += 1
            case b"]":
                depth -= 1
            case b"}" if depth == 1 or not _OBJECT.match(text, at + 1, end):
                depth -= 1
            case _:  # the text ends, or what comes cannot stand there
                raise BrokenError(begin, is_cut=at == end or _CUT_TEXT.match(text, at, end) is not None)
        at += 1
    return at


def _after_blanks(text: bytes, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere
