"""Read archives in object stores and on the web: URLs in, listed objects and streams of bytes out.

The only user of obstore, which is an extra and imported with the first URL. Its calls run in a thread of their own, so
that a signal or a stop ends the wait for any of them at once. Credentials are those of the environment. They appear
in no text, nor does the query of a URL.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import Future
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from io import RawIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from voucherify_sync.errors import RunStopped, SourceError
from voucherify_sync.sources.gzip_stream import DamageError
from voucherify_sync.sources.unsupported_formats import ForeignFormat
from voucherify_sync.stop import Stop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES: Final = ("s3://", "s3a://", "gs://", "az://", "abfs://", "abfss://", "https://", "http://")
AHEAD: Final = 8
"""Objects that are fetched at once, ahead of their turn."""
AHEAD_BYTES: Final = 16 << 20
"""Size of an object up to which it is fetched ahead; a larger one is read in its turn."""
MEMORY_BYTES: Final = 64 << 20
"""Bytes of an object that is fetched whole and kept in memory; a larger one goes to a private temporary file."""

_CHUNK_BYTES: Final = 1 << 20
_POLL_S: Final = 0.1
"""Seconds between two looks at whether the run stops."""
_TIMEOUT: Final = "60s"
_ASKED_AT_ONCE: Final = 32
"""Objects of a list that are asked for at the same time."""
_WEB_TRIES: Final = 3
"""Times that an object of the web is begun again, if its connection breaks before anything of it was used."""
_MARKS: Final = re.compile(r"[*?\[]")

_INSTALL: Final = "pip install 'voucherify-sync[{}]'"
_ONE_OBJECT: Final = "Use s3://, gs:// or az://, or name each object in a list for --files-from."
_CREDENTIALS: Final = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (extra `aws`); for a public bucket "
    "AWS_SKIP_SIGNATURE=true.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS, or run on a machine that has a role; for a public bucket "
    "GOOGLE_SKIP_SIGNATURE=true.",
    "az": "Set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY, or run on a machine that has an identity.",
}
_RIGHTS: Final = "Check the rights to list and to read it, and whose credentials these are."
_RIGHTS_OF_S3: Final = (
    " A bucket whose readers pay needs AWS_REQUEST_PAYER=true, a public one AWS_SKIP_SIGNATURE=true."
)
_NAME: Final = "Check the name."
_NETWORK: Final = "Check the network, the name of the host, and AWS_ENDPOINT_URL if it is set."
_WEB_NETWORK: Final = "Check the network, the name of the host, and its certificate."
_LATER: Final = "Run the same command again later."
_REGION: Final = "Set AWS_REGION to the region of the bucket."
_SIGNED: Final = ("access denied; a signed URL may have expired", "Get a new URL.")

_BROKEN: Final = "body error"
"""Words of the library for a connection that broke inside of an object, and could not be taken up."""
_UNNAMED: Final = re.compile(r'[Pp]ath "(.*)"')
"""Where the library says which key it cannot name."""
_ODD_KEY: Final = "a key with an empty part (//), or one that is . or .."
_BESIDE: Final = "Name the objects or the prefixes beside it, or copy it to another key."
_UNREADABLE: Final = (
    f"{_ODD_KEY}, cannot be read; of the same folder all such keys are left out, and names that begin with a space or "
    "one of !\"#$%&'()*+,-."
)
_NO_CREDENTIALS: Final = re.compile(r"169\.254\.169\.254|metadata\.google\.internal|token request")
_REFUSED_KEYS: Final = re.compile(
    "InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|AuthenticationFailed|401 Unauthorized|"
    "UnauthenticatedError"
)
_DENIED: Final = re.compile("403 Forbidden|PermissionDeniedError")
_SAID: Final = (  # what the library says, or the name of its error: the sentence for people, the remedy
    ("NoSuchBucket", "there is no such bucket", _NAME),
    ("ContainerNotFound", "there is no such container", _NAME),
    ("Account must be specified", "no storage account is named", "Set AZURE_STORAGE_ACCOUNT_NAME."),
    (
        "any known pattern",
        "no storage account is named",
        "Write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH.",
    ),
    ("RequestTimeTooSkewed", "the clock of this machine is wrong", "Set it."),
    (
        "incorrectly configured region|AuthorizationHeaderMalformed",
        "the bucket is in another region",
        _REGION,
    ),
    ("BadScheme", "it is redirected to http://, which is not encrypted", "Use https://."),
    ("PreconditionError|412 Precondition", "it has changed since it was listed", _LATER),
    ("FileNotFoundError|NotFoundError", "there is no such object", _NAME),
    ("InvalidPathError", f"{_ODD_KEY}, cannot be read", _BESIDE),
    (_BROKEN, "the connection broke, and again when it was taken up", _LATER),
    ("SlowDown|429 Too Many|503 Service", "the store asks to slow down, at each try", _LATER),
    ("following redirect", "it is redirected without end", _NAME),
    ("timed out", "the store does not answer", _NETWORK),
    ("error sending request", "the store cannot be reached", _NETWORK),
)
_STATUS: Final = re.compile(r"status code: (\d+)")

Stream = RawIOBase | IO[bytes]
"""What the bytes of a source are read from."""

_T = TypeVar("_T")


class RefusedError(DamageError):
    """Nothing of an object can be read: the server refuses it, or it is of a wrong format.

    Attributes:
        remedy: what to do about it.
        foreign: the format.
    """

    def __init__(self, message: str, remedy: str, foreign: ForeignFormat | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.foreign = foreign


class RemoteObject(Struct, frozen=True):
    """An object to be read.

    Attributes:
        url: what reads it, with the query, which may hold a signature: never shown.
        size: bytes; None for one of the web, of which nothing is known before it is read.
        e_tag: what tells it from a later object of the same name.
        damaged: why it cannot be read, if that is known before.
    """

    url: str
    size: int | None = None
    e_tag: str | None = None
    damaged: str | None = None


def is_url(name: str) -> bool:
    """Tell whether a name is that of an object or a prefix."""
    return name.startswith(SCHEMES)


def without_alias(url: str) -> str:
    """Return a URL with s3:// in place of s3a://, which is Hadoop's name for the same."""
    return f"s3://{url.removeprefix('s3a://')}" if url.startswith("s3a://") else url


def shown_url(url: str) -> str:
    """Return what may be shown of a URL: for the web without query, fragment, user and password."""
    if not is_web(url):
        return url
    scheme, _, rest = re.split("[?#]", url, maxsplit=1)[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def shown_word(word: str) -> str:
    """Return what may be shown of a word of a command line: in place of the query of a URL stands an ellipsis."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    shown = shown_url(value)
    return word if shown == value else f"{option}{equals}{shown}?…"


def is_web(url: str) -> bool:
    """Tell whether a URL names one object of a web server."""
    return url.startswith(("https://", "http://"))


def find_objects(url: str) -> list[RemoteObject]:
    """Return the objects that a URL names: one, all below a prefix, or those that a pattern matches, as listed.

    Below a prefix or a pattern, parts of a key that begin with ``.`` or ``_`` are hidden, and empty objects left out.

    Raises:
        SourceError: there is none, or the store refuses; with a remedy.
    """
    return _wait(_find(url))


def find_listed(urls: Sequence[str]) -> list[RemoteObject | SourceError]:
    """Return the object that each URL of a list names, or why there is none; several are asked for at once."""
    return _wait(_find_each(urls))


async def _find_each(urls: Sequence[str]) -> list[RemoteObject | SourceError]:
    import asyncio

    room = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def find(url: str) -> RemoteObject | SourceError:
        async with room:
            try:
                return (await _find(url, is_listed=True))[0]
            except SourceError as error:
                return error

    return await asyncio.gather(*map(find, urls))


async def _find(url: str, *, is_listed: bool = False) -> list[RemoteObject]:
    _check_installed(url)
    if is_web(url):
        return [_web_object(url)]
    url = without_alias(url)
    root, key = _split(url)
    if "@" in root and not root.startswith("abfs"):
        scheme, _, bucket = root.partition("://")
        shown = f"{scheme}://{bucket.rpartition('@')[2]}"
        raise SourceError(f"{shown}: a URL holds no credentials.", _CREDENTIALS[scheme])
    if root.endswith("://"):
        raise SourceError(f"{url}: no bucket is named.", _NAME)
    if key and _odd_part(key.removesuffix("/")) is not None:
        raise SourceError(f"{url}: {_ODD_KEY}, cannot be read.", _BESIDE)
    try:
        found = [] if not key or key.endswith("/") else await _named(root, key)
        if not (found or is_listed):
            found = await _listed(root, key)
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001  # the library's errors have no base that is known before it is imported
        raise _source_error(error, url) from None
    if not found:
        below = "; a list names no prefixes" if is_listed else ", and none with events below it"
        raise SourceError(f"{url}: there is no such object{below}.", _NAME)
    return found


async def _named(root: str, key: str) -> list[RemoteObject]:
    """Return what the store knows of one object; nothing if there is none."""
    try:
        meta = await _obstore().head_async(_store(root, patient=False), key)
    except FileNotFoundError:
        return []
    return [_object(root, meta)]


async def _listed(root: str, key: str) -> list[RemoteObject]:
    """List the objects with events below a prefix, or those that a pattern matches."""
    key = key.strip("/")
    pattern = key.split("/") if _MARKS.search(key) else []
    first = next((at for at, part in enumerate(pattern) if _MARKS.search(part)), 0)
    prefix = "/".join(pattern[:first]) if pattern else key
    begin = len(f"{root}/{prefix}/" if prefix else f"{root}/")
    return [
        each
        for each in await _below(root, prefix)
        if (each.size or each.damaged) and _matches(each.url[begin:].split("/"), pattern[first:])
    ]


async def _below(root: str, prefix: str) -> list[RemoteObject]:
    """List all objects below a prefix, around keys that the library cannot name.

    One of those fails the whole listing. So the other folders are listed by themselves, and its own from the first key
    behind it.
    """
    from obstore.exceptions import InvalidPathError

    try:
        return await _pages(root, prefix, patient=False)
    except InvalidPathError as error:
        said = _UNNAMED.search(str(error))
        if said is None:
            raise
        unnamed = said[1]
    *folders, part = unnamed.split("/")[: (_odd_part(unnamed) or 0) + 1]
    folder = "/".join(folders)
    if folder != prefix:
        level = await _obstore().list_with_delimiter_async(_store(root), prefix or None)
        found = [_object(root, meta) for meta in level["objects"]]
        for below in level["common_prefixes"]:
            found += await _below(root, below)
        return found
    behind = f"{folder}/{part}0" if folder else f"{part}0"  # 0 is what follows a slash
    damaged = RemoteObject(f"{root}/{unnamed}", 0, damaged=_UNREADABLE)
    return [damaged, *await _named(root, behind), *await _pages(root, prefix, behind)]


def _odd_part(key: str) -> int | None:
    """Return the number of the first part of a key for which the library has no name; None if there is none."""
    return next((at for at, part in enumerate(key.split("/")) if part in ("", ".", "..")), None)


async def _pages(
    root: str, prefix: str, offset: str | None = None, *, patient: bool = True
) -> list[RemoteObject]:
    """List what follows a key; of a store that is not patient only the first page is asked for."""
    found: list[RemoteObject] = []
    async for page in _obstore().list(_store(root, patient=patient), prefix or None, offset=offset):
        found += [_object(root, meta) for meta in page]
        if not patient and page:
            return found + await _pages(root, prefix, page[-1]["path"])
    return found


def _object(root: str, meta: ObjectMeta) -> RemoteObject:
    return RemoteObject(f"{root}/{meta['path']}", meta["size"], meta["e_tag"])


def _web_object(url: str) -> RemoteObject:
    shown = shown_url(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SourceError(f"{shown}: this is no URL.", _NAME) from None
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise SourceError(f"{shown}: http:// is not encrypted.", "Use https://.")
    if not parts.hostname or parts.path.endswith("/") or not parts.path or "*" in parts.path:
        raise SourceError(f"{shown}: {parts.scheme}:// names one object and cannot be listed.", _ONE_OBJECT)
    return RemoteObject(url)


def _is_loopback(host: str | None) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "_"))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether a pattern matches a key, or a folder that the key is in; ``**`` stands for any folders."""
    if not pattern:
        return not any(map(_is_hidden, parts))
    if not parts:
        return False
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (not _is_hidden(parts[0]) and _matches(parts[1:], pattern))
    is_shown = pattern[0][:1] in (".", "_") or not _is_hidden(parts[0])
    return is_shown and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


class Downloads:
    """Opens objects, in their order, and fetches small ones ahead.

    The first object is opened alone, then one more is fetched ahead with each, up to AHEAD: what reads only the first
    events asks for little.

    Args:
        objects: in the order in which they are opened; some may be left out.
        stop: ends the wait for an answer.
        is_whole: each object is fetched whole before anything of it is read.
    """

    def __init__(self, objects: Sequence[RemoteObject], stop: Stop, *, is_whole: bool) -> None:
        self._waiting = deque(objects)
        self._stop = stop
        self._is_whole = is_whole
        self._ahead = 1
        self._under_way: deque[tuple[RemoteObject, Future[IO[bytes]] | None]] = deque()

    def open(self, wanted: RemoteObject) -> Stream:
        """Open an object: as a file that can seek, if it is small or fetched whole, else as a stream.

        Raises:
            DamageError: it cannot be read; the message says why.
            InterruptedError: the run stops.
            RunStopped: there is no room on disk.
        """
        if wanted.damaged:
            raise DamageError(wanted.damaged)
        while not self._under_way or self._under_way[0][0] is not wanted:
            if self._under_way:
                _leave(self._under_way.popleft()[1])
            else:
                self._submit_next()
        while self._waiting and len(self._under_way) < self._ahead:
            self._submit_next()
        self._ahead = min(2 * self._ahead, AHEAD)
        _, download = self._under_way.popleft()
        if download is None and self._is_whole:
            download = _submit(_download(wanted))
        if download is None:
            return _ObjectStream(wanted, self._stop)
        return _answer(download, wanted, self._stop)

    def close(self) -> None:
        """Leave what was fetched ahead."""
        for _, download in self._under_way:
            _leave(download)
        self._under_way.clear()
        self._waiting.clear()

    def _submit_next(self) -> None:
        each = self._waiting.popleft()
        is_small = each.size is not None and each.size <= AHEAD_BYTES and not each.damaged
        self._under_way.append((each, _submit(_download(each)) if is_small else None))


class _ObjectStream(RawIOBase):
    """The bytes of an object as they come, one chunk ahead of what is read."""

    def __init__(self, wanted: RemoteObject, stop: Stop) -> None:
        self._wanted = wanted
        self._stop = stop
        self._chunks = _chunks(wanted)
        self._view = memoryview(b"")
        self._next = _submit(anext(self._chunks, None))

    def readable(self) -> bool:
        """Say that it is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            DamageError: it cannot be read further.
            InterruptedError: the run stops.
        """
        if not self._view:
            chunk = _answer(self._next, self._wanted, self._stop)
            if chunk is None:
                return b""
            self._view = chunk
            self._next = _submit(anext(self._chunks, None))
        piece = bytes(self._view[:size])
        self._view = self._view[size:]
        return piece

    def close(self) -> None:
        """Leave the rest."""
        if not self.closed:
            self._next.cancel()
        super().close()


def put(url: str, data: bytes | IO[bytes]) -> None:
    """Write an object, whole or not at all; a large one goes in parts.

    Raises:
        SourceError: the store refuses it; with a remedy.
    """
    root, key = _split(url)

    async def write() -> None:
        await _obstore().put_async(_store(root), key, data)

    _wait_for_store(write(), url)


def get(url: str, begin: int = 0, end: int | None = None) -> bytes:
    """Return an object, or a part of it.

    Raises:
        FileNotFoundError: there is none.
        SourceError: the store refuses it; with a remedy.
    """
    root, key = _split(url)

    async def read_range() -> bytes:
        return bytes(await _obstore().get_range_async(_store(root), key, start=begin, end=end))

    if end is not None:
        return _wait_for_store(read_range(), url)
    with open_object(url) as copy:
        return copy.read()


def open_object(url: str) -> IO[bytes]:
    """Fetch an object whole: to memory, or to a file without a name if it is large. Errors are those of `get`."""
    return _wait_for_store(_download(RemoteObject(url)), url)


def names_in(url: str) -> list[str]:
    """Return the names directly below a prefix, of objects and of further prefixes."""
    root, key = _split(url)
    prefix = key.strip("/")

    async def listed() -> Any:
        return await _obstore().list_with_delimiter_async(_store(root, patient=False), prefix or None)

    found = _wait_for_store(listed(), url)
    paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
    return sorted(path[len(prefix) + 1 if prefix else 0 :] for path in paths)


def remove_below(url: str) -> None:
    """Delete all objects below a prefix."""
    root, key = _split(url)

    async def remove() -> None:
        async for page in _obstore().list(_store(root), key.strip("/")):
            await _obstore().delete_async(_store(root), [meta["path"] for meta in page])

    _wait_for_store(remove(), url)


def _wait_for_store(coroutine: Coroutine[Any, Any, _T], url: str) -> _T:
    """Wait for an answer; say in a sentence why there is none, unless there is no such object."""
    try:
        return _wait(coroutine)
    except (FileNotFoundError, SourceError):
        raise
    except Exception as error:  # noqa: BLE001  # the library's errors have no base that is known before it is imported
        raise _source_error(error, url) from None


def _source_error(error: Exception, url: str) -> SourceError:
    """Return an error of the library as people read it."""
    sentence, remedy = _explained(error, url)
    return SourceError(f"{shown_url(url)}: {sentence}.", remedy)


async def _download(wanted: RemoteObject) -> IO[bytes]:
    """Fetch an object whole: to memory, or to a file without a name, if it is large."""
    copy = tempfile.SpooledTemporaryFile(MEMORY_BYTES, prefix="voucherify-sync-")  # noqa: SIM115  # the caller closes it
    tries = _WEB_TRIES if is_web(wanted.url) else 1
    try:
        while True:
            copy.seek(0)
            copy.truncate()
            tries -= 1
            try:
                async for chunk in _chunks(wanted):
                    copy.write(chunk)
            except Exception as error:
                if tries and _BROKEN in str(error):
                    continue
                raise
            copy.seek(0)
            return copy
    except BaseException:
        copy.close()
        raise


def _leave(download: Future[IO[bytes]] | None) -> None:
    """Let nothing of a download stay."""
    if download is not None and not download.cancel():
        download.add_done_callback(lambda done: done.exception() or done.result().close())


async def _chunks(wanted: RemoteObject) -> AsyncIterator[memoryview]:
    options: Any = {"if_match": wanted.e_tag} if wanted.e_tag else {}
    root, key = (wanted.url, "") if is_web(wanted.url) else _split(wanted.url)
    answer = await _obstore().get_async(_store(root), key, options=options)
    async for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
        yield memoryview(chunk)


def _answer(future: Future[_T], wanted: RemoteObject, stop: Stop) -> _T:
    """Wait for what was submitted, until the run stops."""
    try:
        while not stop.requested:
            try:
                return future.result(_POLL_S)
            except TimeoutError:
                continue
    except OSError as error:
        if error.errno is None:  # it is the library's
            raise _damage(error, wanted) from None
        raise RunStopped(
            f"cannot copy an object to {tempfile.gettempdir()}: {error.strerror or error}",
            "Make room there, or name another directory in TMPDIR, then run the same command again.",
        ) from error
    except Exception as error:  # noqa: BLE001  # the library's errors have no base that is known before it is imported
        raise _damage(error, wanted) from None
    future.cancel()
    raise InterruptedError


def _damage(error: Exception, wanted: RemoteObject) -> DamageError:
    """Say why an object cannot be read; of the web nothing was known before, so that it may be refused."""
    sentence, remedy = _explained(error, wanted.url)
    is_refused = is_web(wanted.url) and _BROKEN not in str(error)
    return RefusedError(sentence, remedy) if is_refused else DamageError(sentence)


def _explained(error: BaseException, url: str) -> tuple[str, str]:
    """Return what an error of the library means, and a remedy; its own text has a page for programmers."""
    text, scheme = f"{type(error).__name__}: {error}", url.partition(":")[0]
    if is_web(url) and (_DENIED.search(text) or _REFUSED_KEYS.search(text)):
        return _SIGNED
    credentials = _CREDENTIALS.get(scheme, _CREDENTIALS["az"])
    if _NO_CREDENTIALS.search(text):
        return "there are no credentials", credentials
    if _REFUSED_KEYS.search(text):
        return "the credentials are not accepted", credentials
    if _DENIED.search(text):
        return "access is denied", _RIGHTS + (_RIGHTS_OF_S3 if scheme == "s3" else "")
    status = _STATUS.search(text)
    other = f"the store answers with status {status[1]}" if status else "the store cannot be used"
    sentence, remedy = next(
        ((sentence, remedy) for words, sentence, remedy in _SAID if re.search(words, text)), (other, _NETWORK)
    )
    return sentence, _WEB_NETWORK if remedy == _NETWORK and is_web(url) else remedy


def _split(url: str) -> tuple[str, str]:
    """Return the store and the key."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


@lru_cache(maxsize=64)
def _store(root: str, *, patient: bool = True) -> ObjectStore:
    """Make the store of a bucket, or of one object of the web."""
    from obstore.store import from_url

    options: dict[str, Any] = {"client_options": {"timeout": _TIMEOUT}}
    if not patient:
        options["retry_config"] = {"max_retries": 1, "retry_timeout": timedelta(seconds=60)}
    if is_web(root):
        options["client_options"]["allow_http"] = urlsplit(root).scheme == "http"
        return from_url(root, **options)
    if root.startswith("s3://"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        options["client_options"]["allow_http"] = endpoint.startswith("http://")
        if _has_profile():
            options["credential_provider"] = _profile()
    return from_url(root, **options)


def _has_profile() -> bool:
    """Tell whether the credentials are those of a profile: one is named, or there is a file, and no key is set."""
    if "AWS_ACCESS_KEY_ID" in os.environ or os.environ.get("AWS_SKIP_SIGNATURE"):
        return False
    if os.environ.get("AWS_PROFILE"):
        return True
    from importlib.util import find_spec

    return any(Path(f"~/.aws/{name}").expanduser().exists() for name in ("credentials", "config")) and bool(
        find_spec("boto3")
    )


def _profile() -> Any:
    """Return what gives the credentials of an AWS profile, by keys, a role or SSO."""
    profile = os.environ.get("AWS_PROFILE") or "default"
    try:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise SourceError(
            f"AWS_PROFILE={profile} needs the extra `aws`.", f"Install it: {_INSTALL.format('aws')}"
        ) from None
    try:
        return Boto3CredentialProvider()
    except (BotoCoreError, ValueError):
        raise SourceError(
            f"the AWS profile {profile} gives no credentials.",
            f"Check it by `aws sts get-caller-identity --profile {profile}`, or log in by `aws sso login`.",
        ) from None


def _check_installed(url: str) -> None:
    try:
        _obstore()
    except ImportError:
        scheme, remedy = url.partition(":")[0], f"Install it: {_INSTALL.format('cloud')}"
        raise SourceError(f"{scheme}:// needs the extra `cloud`.", remedy) from None


def _obstore() -> Any:
    import obstore

    return obstore


def _wait(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Wait for an answer, so that a signal is heard meanwhile."""
    future = _submit(coroutine)
    try:
        return future.result()
    finally:
        future.cancel()


def _submit(coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
    import asyncio

    return asyncio.run_coroutine_threadsafe(coroutine, _loop(os.getpid()))


@lru_cache(maxsize=1)
def _loop(_pid: int) -> AbstractEventLoop:
    """Start the thread in which all calls of the library run; a process that is forked has none of its parent."""
    import asyncio

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="object store", daemon=True).start()
    return loop
