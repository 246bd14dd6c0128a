"""Objects: what a URL names, what is read of it, and what is said where that cannot be."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import make_certificate
from support.object_stores import (
    ACCESS_KEY,
    SECRET_KEY,
    Bucket,
    Environment,
    object_server,
    remote,
    stand_in,
    variables,
)
from support.replays import track
from support.servers import serve, unused_port

from voucherify_sync.errors import SourceError
from voucherify_sync.sources import object_store
from voucherify_sync.sources.discover import Source, find_sources
from voucherify_sync.sources.object_store import shown_url, shown_word
from voucherify_sync.sources.reader import Reader
from voucherify_sync.stop import Stop

KEYS = (
    *("logs/2/b.gz", "logs/10/a.gz", "logs/1/a b#c?d%20e+f=g.gz", "logs/1/é*[x].gz", "logs/2024-1/x.ndjson"),
    *("logs/_SUCCESS", "logs/.hidden/a.gz", "logs/1/_temporary/a.gz", "logsandmore/a.gz", "one"),
)
ODD = ("odd/d//e.gz", "odd/d/f.gz", "odd/d/0", "odd/a.gz", "odd/z/x.gz")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Run one stand-in for all tests of this module."""
    with stand_in() as url:
        yield url


@pytest.fixture(scope="module")
def bucket(endpoint: str) -> Bucket:
    """Return a bucket with one event in each of the KEYS."""
    made = Bucket("archive", endpoint)
    for number, key in enumerate((*KEYS, *ODD)):
        made.put({key: gzip.compress(track(number).encode())})
    made.put({"logs/": b"", "logs/1/empty.gz": b""})
    return made


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """Return what lets the tests reach a store."""
    pytest.importorskip("obstore", reason="needs obstore")
    monkeypatch.setenv("HOME", str(tmp_path))

    def reach(url: str) -> None:
        object_store._store.cache_clear()
        for name, value in variables(url).items():
            monkeypatch.setenv(name, value)

    return reach


@pytest.fixture
def archive(bucket: Bucket, reach: Environment) -> Bucket:
    """Return the bucket, which can be reached."""
    reach(bucket.endpoint)
    return bucket


def names(*arguments: str, files_from: str | None = None) -> list[str]:
    """Return the names of what is found."""
    return [
        each.name for each in find_sources(arguments, stdin_is_terminal=True, files_from=files_from).sources
    ]


def refusal(*arguments: str, files_from: str | None = None) -> SourceError:
    """Return the error in which the search ends."""
    with pytest.raises(SourceError) as caught:
        names(*arguments, files_from=files_from)
    assert caught.value.remedy
    return caught.value


def read(*sources: Source, verifies: bool = False) -> tuple[bytes, Reader]:
    """Return the lines of sources, and the reader that read them."""
    reader = Reader(sources, Stop(), verifies=verifies)
    return b"".join(batch.text for batch in reader), reader


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        ("logs/", [3, 2, 0, 1, 4]),
        ("logs", [3, 2, 0, 1, 4]),
        ("one", [9]),
        ("logs/1/a b#c?d%20e+f=g.gz", [2]),
        ("logs/1/é*[x].gz", [3]),
        ("logs/*/a.gz", [1]),
        ("logs/1*", [2, 3, 1]),
        ("logs/**/*.gz", [3, 2, 0, 1]),
        ("logs/1/_*/*", [7]),
        ("logs*/a.gz", [8]),
        ("logs/[12]/?.gz", [0]),
        ("logs/1?/", [1]),
    ],
)
def test_a_url_names_an_object_or_a_prefix_or_is_a_pattern(
    archive: Bucket, url: str, keys: list[int]
) -> None:
    """Keys come in natural order; hidden parts and empty objects are left out, as of files."""
    found = names(f"s3://archive/{url}")
    assert sorted(found) == sorted(f"s3://archive/{KEYS[key]}" for key in keys)
    folders = [int(part) for name in found for part in name.split("/")[4:5] if part.isdigit()]
    assert folders == sorted(folders)


def test_an_object_is_read_once_however_often_it_is_named(archive: Bucket, tmp_path: Path) -> None:
    """By itself, by its prefix, by the other name of the scheme, and by a list, which keeps its own order."""
    (tmp_path / "list").write_text(
        "s3://archive/logs/_SUCCESS\r\n\ns3://archive/one\ns3://archive/logs/2/b.gz"
    )
    assert names("s3a://archive/one", "s3://archive/one", files_from=str(tmp_path / "list")) == [
        "s3://archive/one",
        "s3://archive/logs/_SUCCESS",
        "s3://archive/logs/2/b.gz",
    ]


def test_each_object_is_read_by_its_own_name(archive: Bucket) -> None:
    """Spaces and the marks of URLs are characters of a key."""
    for number, key in enumerate(KEYS):
        (found,) = find_sources([f"s3://archive/{key}"], stdin_is_terminal=True).sources
        text, reader = read(found)
        assert text == track(number).encode()
        assert reader.facts[0].bytes == found.size
        assert reader.facts[0].e_tag


def test_keys_that_the_library_cannot_name_are_told_and_the_others_are_read(archive: Bucket) -> None:
    """One of them fails the listing of a whole prefix in the library."""
    sources = find_sources(["s3://archive/odd"], stdin_is_terminal=True).sources
    text, reader = read(*sources)
    assert sorted(text.splitlines()) == sorted(track(len(KEYS) + at).encode().rstrip() for at in (1, 2, 3, 4))
    damaged = {facts.name: facts.damaged for facts in reader.facts if facts.damaged}
    assert list(damaged) == ["s3://archive/odd/d//e.gz"]
    assert "(//), or one that is . or .., cannot be read" in str(damaged["s3://archive/odd/d//e.gz"])


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://nowhere/a/", "s3://nowhere/a/: there is no such bucket."),
        ("s3://archive/none", "s3://archive/none: there is no such object, and none with events below it."),
        ("s3://archive/none/*.gz", "there is no such object, and none with events below it."),
        ("s3://archive/d//e", "a key with an empty part (//), or one that is . or .., cannot be read."),
        ("s3://user:CANARY@archive/", "s3://archive: a URL holds no credentials."),
        ("s3:///a", "no bucket is named."),
        ("az://archive/a", "no storage account is named."),
        ("abfss://archive@account/a", "no storage account is named."),
        ("http://example.com/a?CANARY", "http://example.com/a: http:// is not encrypted."),
        ("https://u:CANARY@h/a/?CANARY", "https://h/a/: https:// names one object and cannot be listed."),
        ("https://h/*.gz?CANARY", "https://h/*.gz: https:// names one object and cannot be listed."),
        ("https://[h/a?CANARY", "https://[h/a: this is no URL."),
        ("https://h", "https://h: https:// names one object and cannot be listed."),
    ],
)
def test_what_a_url_cannot_name_is_an_error(archive: Bucket, url: str, sentence: str) -> None:
    """Each is one sentence, with a remedy, and without what is secret."""
    error = refusal(url)
    assert error.message.endswith(sentence)
    assert "CANARY" not in str(error)


def test_a_list_names_no_prefix_and_all_that_is_missing_is_told(archive: Bucket, tmp_path: Path) -> None:
    """The first ten by name."""
    file = tmp_path / "list"
    file.write_text("\n".join(["s3://archive/logs/", *(f"s3://archive/none-{at}" for at in range(14))]))
    error = refusal(files_from=str(file))
    assert error.message.splitlines()[0] == (
        "s3://archive/logs/: there is no such object; a list names no prefixes."
    )
    assert error.message.splitlines()[-1].endswith("cannot be read, 15 in all.")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("403 Forbidden\n<Error><Code>AccessDenied</Code></Error>", "access is denied"),
        ("403 Forbidden\n<Error><Code>InvalidAccessKeyId</Code></Error>", "the credentials are not accepted"),
        ("400 Bad Request\n<Error><Code>ExpiredToken</Code></Error>", "the credentials are not accepted"),
        ("301 Moved Permanently\n", "the bucket is in another region"),
        (
            "503 Service Unavailable\n<Error><Code>SlowDown</Code></Error>",
            "the store asks to slow down, at each try",
        ),
        ("404 Not Found\n<Error><Code>NoSuchBucket</Code></Error>", "there is no such bucket"),
        ("418 Teapot\nlonger text of the server", "the store answers with status 418"),
    ],
)
def test_a_store_that_cannot_be_listed_is_an_error(reach: Environment, answer: str, sentence: str) -> None:
    """The library's own text, which is a page long, is not shown."""
    with object_server(b"", {0: answer}) as server:
        reach(server.url)
        assert refusal("s3://b/a/").message == f"s3://b/a/: {sentence}."


def test_a_store_that_nobody_serves_is_an_error_soon(reach: Environment) -> None:
    """Only a run that has begun is patient."""
    reach(f"http://127.0.0.1:{unused_port()}")
    assert refusal("s3://b/a/").message == "s3://b/a/: the store cannot be reached."


DATA = b"".join(track(number).encode() for number in range(8_000))


@pytest.mark.parametrize("verifies", [False, True])
@pytest.mark.parametrize("ahead", [0, 16 << 20], ids=["streamed", "ahead"])
@pytest.mark.parametrize(
    "faults",
    [{}, {1: 500_000}, {1: 100_000, 2: 100_000, 3: 7}, {1: "503 Slow", 2: "503 Slow"}],
    ids=["whole", "cut once", "cut thrice", "not available twice"],
)
def test_a_broken_connection_is_taken_up(
    reach: Environment,
    monkeypatch: pytest.MonkeyPatch,
    faults: dict[int, str | int],
    ahead: int,
    verifies: bool,
) -> None:
    """The bytes are those of the object, and each answer is asked to be of the object that was listed."""
    monkeypatch.setattr(object_store, "AHEAD_BYTES", ahead)
    with object_server(DATA, faults) as server:
        reach(server.url)
        text, reader = read(remote("s3://b/a", len(DATA), '"one"'), verifies=verifies)
    assert text == DATA
    assert reader.facts[0].is_read
    assert len(server.asked) == 1 + len(faults)
    assert 'if-match: "one"' in server.asked[0].lower()


@pytest.mark.parametrize(
    ("faults", "e_tag", "sentence"),
    [
        ({0: 1_000}, None, "the connection broke, and again when it was taken up"),
        ({0: "412 Precondition Failed\n"}, '"two"', "it has changed since it was listed"),
        ({0: "404 Not Found\n"}, '"one"', "there is no such object"),
        ({0: "403 Forbidden\n"}, '"one"', "access is denied"),
    ],
    ids=["broken", "changed", "gone", "denied"],
)
def test_an_object_that_cannot_be_read_is_damaged_and_the_next_one_is_read(
    reach: Environment,
    tmp_path: Path,
    faults: dict[int, str | int],
    e_tag: str | None,
    sentence: str,
) -> None:
    """Nothing is a mixture of two objects."""
    file = tmp_path / "next"
    file.write_text("{}\n")
    with object_server(DATA, faults, e_tag=e_tag) as server:
        reach(server.url)
        text, reader = read(remote("s3://b/a", len(DATA), '"one"'), Source("next", file, 3))
    assert DATA.startswith(text.removesuffix(b"{}\n"))
    assert text.endswith(b"{}\n")
    assert str(reader.facts[0].damaged).startswith(sentence)


def packed(*, flipped: bool = False, cut: bool = False) -> bytes:
    """Return DATA as gzip, whole or damaged."""
    data = bytearray(gzip.compress(DATA))
    if flipped:
        data[-6] ^= 1
    return bytes(data[:-2_000] if cut else data)


@pytest.mark.parametrize("memory", [1_000, 64 << 20], ids=["on disk", "in memory"])
def test_an_object_with_wrong_bytes_yields_no_line_where_objects_are_verified(
    reach: Environment, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """It is fetched once. One that is only cut off yields what can be trusted, and all of it is what a file yields."""
    monkeypatch.setattr(object_store, "MEMORY_BYTES", memory)
    for data, lines in ((packed(flipped=True), 0), (packed(), 8_000), (packed(cut=True), range(1, 8_000))):
        with object_server(data) as server:
            reach(server.url)
            text, reader = read(remote("s3://b/a.gz", len(data), '"one"'), verifies=True)
        assert DATA.startswith(text)
        assert text.count(b"\n") == lines if isinstance(lines, int) else text.count(b"\n") in lines
        assert reader.facts[0].corrupt == (lines == 0)
        assert len(server.asked) == 1


def test_gzip_is_not_unpacked_on_the_way(archive: Bucket) -> None:
    """A store that is told how an object is packed gives it as it is."""
    data = packed()
    archive.put({"packed/a.gz": data}, ContentEncoding="gzip")
    text, reader = read(*find_sources(["s3://archive/packed/"], stdin_is_terminal=True).sources)
    assert text == DATA
    assert reader.facts[0].bytes == len(data)


def test_small_objects_are_fetched_ahead_and_no_more_than_eight(
    archive: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More with each object, so that what reads only the first one asks for little."""
    archive.put({f"many/{number}": track(number).encode() for number in range(30)})
    sources = find_sources(["s3://archive/many"], stdin_is_terminal=True).sources
    begun: list[str] = []
    download = object_store._download

    async def counted(wanted: object_store.RemoteObject) -> object:
        begun.append(wanted.url)
        return await download(wanted)

    monkeypatch.setattr(object_store, "_download", counted)
    ahead = [len(begun) - number for number, _ in enumerate(Reader(sources, Stop()), 1)]
    assert (ahead[0], max(ahead), ahead[-1]) == (0, 7, 0)
    assert begun == [source.remote.url for source in sources if source.remote]


@pytest.mark.parametrize("size", [100, 100 << 20], ids=["ahead", "streamed"])
def test_a_stop_ends_the_wait_for_a_store_that_is_silent(reach: Environment, size: int) -> None:
    """At once, and nothing is damaged by it."""
    stop = Stop()
    asked, over = threading.Event(), threading.Event()

    def wait(_connection: object) -> None:
        asked.set()
        over.wait()

    with serve(wait) as address:
        reach(f"http://{address}")
        reader = Reader([remote("s3://b/a", size, '"one"')], stop)
        thread = threading.Thread(target=lambda: list(reader))
        thread.start()
        assert asked.wait(30)
        stop.request("enough")
        thread.join(30)
        over.set()
    assert not thread.is_alive()
    assert reader.facts[0].damaged is None


@pytest.mark.parametrize(
    ("e_tag", "faults", "lines"),
    [(None, {1: 1_000}, 8_000), (None, {0: 1_000}, 0), ('"one"', {1: 1_000}, 8_000)],
    ids=["begun again", "broken each time", "taken up"],
)
def test_an_object_of_the_web_is_begun_again_if_nothing_was_read_of_it(
    reach: Environment, e_tag: str | None, faults: dict[int, str | int], lines: int
) -> None:
    """Without an ETag it cannot be taken up: what follows could be of another object."""
    with object_server(DATA, faults, e_tag=e_tag) as server:
        reach(server.url)
        text, reader = read(remote(f"{server.url}/a?sig=CANARY", None), verifies=True)
    assert text.count(b"\n") == lines
    assert bool(reader.facts[0].damaged) == (not lines)
    assert all(head.startswith("GET /a?sig=CANARY ") for head in server.asked)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("403 Forbidden\n", "access denied; a signed URL may have expired"),
        ("401 Unauthorized\n", "access denied; a signed URL may have expired"),
        ("404 Not Found\n", "there is no such object"),
        ("200 OK\n<html><body>No</body></html>", "this is an HTML or XML page, not newline-delimited events"),
    ],
)
def test_a_web_server_that_refuses_the_only_source_is_an_error(
    reach: Environment, answer: str, sentence: str
) -> None:
    """Where other sources were read, it is damaged, or skipped with a notice if it is of another format."""
    with object_server(b"", {0: answer}) as server:
        reach(server.url)
        source = remote(f"{server.url}/a?sig=CANARY", None)
        with pytest.raises(SourceError) as caught:
            read(source)
        assert caught.value.message == f"{server.url}/a: {sentence}."
        assert "CANARY" not in str(caught.value)
        with object_server(DATA) as other:
            text, reader = read(remote(f"{other.url}/b", None), source)
    assert text == DATA
    assert reader.facts[1].damaged == (None if "HTML" in sentence else sentence)
    assert (reader.facts[1].foreign is not None) == ("HTML" in sentence)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("plain", "it is redirected to http://, which is not encrypted"),
        ("again", "it is redirected without end"),
    ],
)
def test_a_redirect_may_not_leave_encryption_or_go_on_without_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, sentence: str
) -> None:
    """Any other one is followed."""
    pytest.importorskip("obstore", reason="needs obstore")
    certificate = make_certificate(tmp_path / "tls", "IP:127.0.0.1", (2020, 2099))
    context = certificate.server_context()

    def redirect(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            asked = secure.recv(65_536)
            to = "http://127.0.0.1/a" if b"plain" in asked else "/again"
            secure.sendall(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with serve(redirect) as address, pytest.raises(SourceError) as caught:
        read(remote(f"https://{address}/{path}", None))
    assert caught.value.message == f"https://{address}/{path}: {sentence}."


def test_two_urls_that_differ_in_what_is_not_shown_are_two_sources() -> None:
    """Their places are told apart by a number."""
    pytest.importorskip("obstore", reason="needs obstore")
    assert names("https://h/a?sig=1", "https://h/a?sig=2", "https://h/a?sig=1", "https://h/b") == [
        *("https://h/a", "https://h/a#2", "https://h/b")
    ]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("https://u:p@h:8/a?sig=1#x", "https://h:8/a?…"),
        ("--from=https://h/a?sig=1", "--from=https://h/a?…"),
        ("https://h/a", "https://h/a"),
        ("s3://b/a?c", "s3://b/a?c"),
        ("--where=a?b", "--where=a?b"),
    ],
)
def test_no_word_that_is_shown_holds_the_query_of_a_url(word: str, shown: str) -> None:
    """In a key of a store a question mark is a character of the name."""
    assert shown_word(word) == shown
    assert "?" in shown_url(word) or "sig" not in shown_url(word) or word.startswith("--")


def test_an_object_of_another_format_is_told_when_its_turn_comes(archive: Bucket) -> None:
    """The others are read. Where there is nothing else, it is an error, as of files."""
    archive.put({"formats/a.parquet": b"PAR1" + bytes(100), "formats/b": DATA})
    sources = find_sources(["s3://archive/formats/"], stdin_is_terminal=True).sources
    text, reader = read(*sources)
    assert (text, reader.facts[0].damaged) == (DATA, None)
    assert reader.facts[0].foreign is not None
    with pytest.raises(SourceError, match="this is a Parquet file"):
        read(sources[0])


@pytest.mark.parametrize("profile", ["", "work"])
def test_credentials_are_those_of_a_profile_where_no_key_is_set(
    archive: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str
) -> None:
    """The one that AWS_PROFILE names, or the default one of the files of the AWS tools."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    file = tmp_path / ".aws/credentials"
    file.parent.mkdir()
    file.write_text(
        f"[{profile or 'default'}]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    assert names("s3://archive/one") == ["s3://archive/one"]
    object_store._store.cache_clear()
    monkeypatch.setenv("AWS_PROFILE", "gone")
    assert refusal("s3://archive/one").message == "the AWS profile gone gives no credentials."
