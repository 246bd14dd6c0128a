"""Archives in object stores and on the web, as sources of the commands."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import Cli
from support.object_stores import (
    ACCESS_KEY,
    SECRET_KEY,
    Bucket,
    object_server,
    stand_in,
    variables,
)
from support.replays import identify, report_of, settings_for, track
from support.shop_archive import shop_archive

from voucherify_sync.sandbox.server import Sandbox

CANARY = "CANARY-signature"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """Return a bucket that holds an archive of a shop, one file of which has a wrong bit."""
    with stand_in() as endpoint:
        made = Bucket("shop", endpoint)
        made.put(archive())
        made.put({"flipped/a.gz": flipped(), "flipped/b.gz": gzip.compress(track(9).encode())})
        yield made


def archive() -> dict[str, bytes]:
    """Return files by their names: packed and not, and one that is cut off."""
    lines = [f"{line}\n".encode() for line in shop_archive(2_400)]
    files = {
        f"logs/{at}/a.{'gz' if at % 2 else 'json'}": b"".join(lines[400 * at :][:400]) for at in range(6)
    }
    packed = {name: gzip.compress(text) if name.endswith("gz") else text for name, text in files.items()}
    return {**packed, "logs/7/cut.gz": packed["logs/1/a.gz"][:-3_000]}


def flipped() -> bytes:
    """Return gzip with wrong bytes whose events look right."""
    data = bytearray(gzip.compress(track(1).encode() + identify(1).encode()))
    data[-6] ^= 1
    return bytes(data)


@pytest.fixture
def cli(run_cli: Cli, bucket: Bucket) -> Cli:
    """Return the command line, which reaches the bucket."""
    run_cli.env.update(variables(bucket.endpoint))
    return run_cli


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_requests_and_report_are_those_of_the_files(cli: Cli, jobs: str) -> None:
    """But for the names of the sources, and the ETag of each object."""
    for name, data in archive().items():
        file = cli.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    cli.constants["voucherify_sync.run.options.MIN_SHARED_BYTES"] = 1
    cli.constants["voucherify_sync.api.opened.MIN_NOTED_BYTES"] = 1
    command = ["replay", "--dry-run", "--bulk", "--jobs", jobs, "--report", "report.json"]
    local = cli(*command, "logs")
    expected = report_of(cli)
    ended = cli(*command, "s3://shop/logs")
    report = report_of(cli)
    assert (local.code, ended.code) == (3, 3)
    assert local.out
    assert "The objects are fetched 2 times, " in ended.err
    assert ended.out.replace("s3://shop/logs", "logs") == local.out
    assert all(source.pop("e_tag") for source in report["input"]["sources"])
    assert not any(source.pop("e_tag") for source in expected["input"]["sources"])
    for each in (expected, report):
        each.update(dict.fromkeys(("run_id", "started_at", "finished_at", "duration_s", "selection"), None))
    assert json.loads(json.dumps(report).replace("s3://shop/logs", "logs")) == expected


def test_a_flipped_bit_sends_nothing(cli: Cli, sandbox: Sandbox) -> None:
    """The object is named, and the next one is sent."""
    settings = settings_for(cli, sandbox)
    ended = cli(
        "replay", "-c", settings, "--yes", "--new-ledger", "--report", "report.json", "s3://shop/flipped/"
    )
    assert ended.code == 3
    assert [source["lines"] for source in report_of(cli)["input"]["sources"]][1] == 1
    assert [str(customer.source_id) for customer in sandbox.store.customers] == ["u-9"]
    assert "s3://shop/flipped/a.gz is damaged" in ended.err
    assert "the whole file was left out" in ended.err


def test_nothing_that_is_secret_is_shown_or_kept(cli: Cli, sandbox: Sandbox) -> None:
    """Neither keys nor the query of a URL, on any stream and in any file, whether it goes well or not."""
    settings = settings_for(cli, sandbox)
    kept = ["--report", "report.json", "--report", "report.html", "--log-file", "run.log", "--new-ledger"]
    texts = []
    with object_server(
        b"".join([track(1).encode(), b'{"type":"track"}\n']), {7: "403 Forbidden\n"}
    ) as server:
        url = f"{server.url}/a.ndjson?X-Amz-Signature={CANARY}"
        for command in (
            ["plan", "-c", settings, url],
            ["coverage", url],
            ["explain", url],
            ["init", "-", "--from", url],
            ["replay", "--dry-run", url],
            ["replay", "-c", settings, "--yes", *kept, url],
            ["replay", "-c", settings, "--yes", *kept[:-1], "--progress", "json", url],
            ["prepare", url, "--to", "prepared"],
            ["plan", f"{url}*", f"https://user:{CANARY}@h/a/?{CANARY}"],
            ["plan", "s3://shop/none", "s3://none/a"],
            [url],
        ):
            ended = cli(*command)
            texts += [ended.out, ended.err]
        assert f"GET /a.ndjson?X-Amz-Signature={CANARY}" in server.asked[0]
        assert not any(head.startswith("HEAD") for head in server.asked)
    files = [file for file in cli.folder.rglob("*") if file.is_file() and file != settings]
    assert {"report.json", "report.html", "run.log"} <= {file.name for file in files}
    held = "\n".join([*texts, *(file.read_bytes().decode(errors="replace") for file in files)])
    assert f"{server.url}/a.ndjson:1" in held
    for secret in (CANARY, ACCESS_KEY, SECRET_KEY):
        assert secret not in held


def test_where_the_library_is_missing_files_are_read_and_urls_name_the_extra(run_cli: Cli) -> None:
    """So nothing but a URL imports it."""
    run_cli.before = "import sys; sys.modules['obstore'] = None"
    Path(run_cli.folder / "a.json").write_text(track(1))
    assert run_cli("replay", "--dry-run", "a.json").code == 0
    assert run_cli("--help").code == 0
    ended = run_cli("plan", "s3://bucket/a.gz")
    assert ended.code == 2
    assert "s3:// needs the extra `cloud`.\nInstall it: pip install 'voucherify-sync[cloud]'" in ended.err


def test_an_archive_is_prepared_in_a_bucket_and_replayed_from_there(cli: Cli, bucket: Bucket) -> None:
    """The same requests, known by the next command; what has changed there is not sent."""
    to = "s3://shop/prepared/"
    ended = cli("prepare", "s3://shop/logs/", "--to", to)
    assert ended.code == 3, ended.err  # one of the objects is cut off
    assert f"voucherify-sync replay --incomplete {to}" in ended.err  # without it nothing would be sent
    expected = cli("replay", "--dry-run", "s3://shop/logs/")
    made = cli("replay", "--dry-run", to)
    assert sorted(made.out.splitlines()) == sorted(expected.out.splitlines())
    assert "is incomplete" in made.err
    assert "is a prepared archive" in cli("coverage", to).err
    keys = [
        each["Key"] for each in bucket.client.list_objects_v2(Bucket="shop", Prefix="prepared/")["Contents"]
    ]
    for key in keys:
        assert ACCESS_KEY.encode() not in bucket.client.get_object(Bucket="shop", Key=key)["Body"].read()
    largest = max(
        (key for key in keys if "/requests-" in key),
        key=lambda key: bucket.client.head_object(Bucket="shop", Key=key)["ContentLength"],
    )
    bucket.put({largest: flipped()})
    changed = cli("replay", "--dry-run", to)
    assert changed.code == 3
    assert f"{largest} is damaged: its checksum is not that of the manifest" in " ".join(changed.err.split())
    assert len(changed.out.splitlines()) < len(expected.out.splitlines())
    nested = cli("prepare", "s3a://shop/logs/", "--to", "s3://shop/logs/prepared/")
    assert (nested.code, "are in each other" in nested.err) == (2, True)
    missing = cli("prepare", "s3://shop/logs/", "--to", "s3://nobody/prepared/")
    assert (missing.code, "there is no such bucket" in missing.err) == (2, True)
