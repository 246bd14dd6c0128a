"""The documentation is true: what is made from the code is up to date, commands run, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cli import Cli
from support.shell import run_in_shell

from voucherify_sync.sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(file for file in DOCS.rglob("*.md") if file.parent.name != "reference")]
EVERY_PAGE = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(
    r"^( *)(?:<!-- not run: (?P<why_not>[^\n]+) -->\n *)?```(?P<language>\w*)\n(?P<text>.*?)^\1```$",
    re.MULTILINE | re.DOTALL,
)
"""A block; a comment above it says why no test can run it."""
FILE_NAME = re.compile(r"# ([\w./-]+\.(?:yaml|sh|py))\n")
LIVE = re.compile(r"voucherify-sync (replay|retry)\b(?![^|]*(?:--dry-run|--sandbox|--yes))")
TOOLS = ("jq", "zcat")
"""What pipelines of the pages need; where one is missing, only our own part of them is run."""
API = "https://api.voucherify.io"


def relative(file: Path) -> str:
    """Return what a test about a page is called."""
    return file.relative_to(ROOT).as_posix()


def test_the_reference_says_what_the_code_says() -> None:
    """`python docs/generate.py` would change nothing."""
    check = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", EVERY_PAGE, ids=relative)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    """The file is there, and so is the heading."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in map(slug, re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)), target


def test_the_files_that_how_it_works_names_are_there() -> None:
    """A developer who looks for a rule finds its file."""
    named = re.findall(r"`((?:\w+/)*(?:\w+\.py|\w+/))`", (DOCS / "how-it-works.md").read_text())
    assert len(named) > 30
    assert [
        name for name in named if not any((top / name).exists() for top in (ROOT / "voucherify_sync", ROOT))
    ] == [
        "reports/",
        "logs/",  # of the state directory
    ]


@dataclass(frozen=True)
class Step:
    """Something that a reader does: a file to write, or a command with what it is said to print."""

    command: str = ""
    shown: tuple[str, ...] = ()
    code: int = 0
    file: str = ""
    text: str = ""


def steps_of(page: Path) -> Iterator[Step]:
    """Yield the steps of a page in their order; a block that is neither a file nor a session has none."""
    for block in BLOCK.finditer(page.read_text()):
        text = re.sub(rf"^{block[1]}", "", block["text"], flags=re.MULTILINE)
        if block["why_not"]:
            continue
        if named := FILE_NAME.match(text):
            yield Step(file=named[1], text=text)
        elif block["language"] == "console":
            yield from commands_in(text)


REFERENCES = [
    page for page in EVERY_PAGE if page.parent.name == "reference" and "```yaml" in page.read_text()
]


@pytest.mark.parametrize("page", REFERENCES, ids=relative)
def test_the_settings_of_a_reference_page_load(run_cli: Cli, page: Path) -> None:
    """They are whole files, and the program takes them without a warning."""
    for number, block in enumerate(BLOCK.finditer(page.read_text())):
        file = run_cli.folder / f"{number}.yaml"
        file.write_text(block["text"])
        ended = run_cli("check", "-c", file)
        assert (ended.code, "arning" in ended.err) == (0, False), ended.err


def test_what_stands_for_liquid_loads(run_cli: Cli) -> None:
    """Each row and each value that the page of directives names is one that the program takes."""
    cells = re.findall(
        r"\| a (row|value of `set`): `(.*)` \|$", (DOCS / "reference/directives.md").read_text(), re.MULTILINE
    )
    assert len(cells) == 6
    for number, (kind, cell) in enumerate(cells):
        text = cell.replace("\\|", "|")
        file = run_cli.folder / f"{number}.yaml"
        file.write_text(
            f"page:\n  mapping:\n    {text}\n" if kind == "row" else f"page:\n  set:\n    event: {text}\n"
        )
        ended = run_cli("check", "-c", file)
        assert ended.code == 0, ended.err


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_each_block_is_run_or_says_why_not(page: Path) -> None:
    """A session, a file with its name, or output of a program; anything else tells why no test runs it."""
    unclear = [
        block["text"].splitlines()[0]
        for block in BLOCK.finditer(page.read_text())
        if not (
            block["why_not"] or block["language"] in {"console", "text"} or FILE_NAME.match(block["text"])
        )
    ]
    assert unclear == []
    assert page.read_text().count("not run:") == sum(
        1 for b in BLOCK.finditer(page.read_text()) if b["why_not"]
    )


def test_the_image_is_made_of_what_the_package_needs() -> None:
    """Every source of the Dockerfile is there, and nothing that the wheel is built of is missing."""
    lines = (DOCS / "Dockerfile").read_text().splitlines()
    assert len(lines) <= 20
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*project["tool"]["setuptools"]["package-dir"].values(), project["project"]["readme"]}
    assert copied == {*needed, *project["project"]["license-files"], "pyproject.toml"}
    assert [name for name in copied if not (ROOT / name).exists()] == []


def commands_in(block: str) -> Iterator[Step]:
    """Yield the commands of a block of a session: a line with `$ `, and what follows up to the next."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        command, _, code = command.partition(" # exit code ")
        yield Step(command=command, shown=tuple(set(shown) - {"", "…"}), code=int(code or 0))


def own_part(command: str) -> str:
    """Return what of a pipeline is ours, fed with the sample events; nothing of one that is not ours."""
    part = next((part for part in command.split(" | ") if part.startswith("voucherify-sync")), None)
    return "true" if part is None else f"cat sample_events/s*.ndjson | {part}"


class Reader:
    """Does what a page says, in a folder of its own, with a sandbox in Voucherify's place."""

    def __init__(self, cli: Cli, samples: Path, url: str) -> None:
        self.folder = cli.folder / "reader"
        self.folder.mkdir()
        self._url = url
        shutil.copytree(samples, self.folder / "sample_events")
        tools = cli.folder / "tools"
        tools.mkdir()
        self._make_aws(tools / "aws", samples)
        settings = cli.folder / "sandbox.yaml"
        settings.write_text(f"api: {{url: '{url}'}}\n")
        self._config = str(settings)
        self._env = {
            **cli.env,
            "PATH": os.pathsep.join([str(tools), cli.env["PATH"]]),
            "VOUCHERIFY_API_KEY": "sandbox-any",
            "VOUCHERIFY_API_TOKEN": "any",
        }

    @staticmethod
    def _make_aws(file: Path, samples: Path) -> None:
        """Make a command that has the sample events in its bucket."""
        archive = next((samples / "segment-logs").rglob("*.gz"))
        file.write_text(
            "#!/bin/sh\n"
            f'case $2 in cp) cat "{archive}" ;; sync) mkdir -p "$4" && cp -r "{samples}/segment-logs/." "$4" ;; esac\n'
        )
        file.chmod(0o755)

    def do(self, step: Step) -> None:
        """Do one step, and hold what comes of it against what the page says."""
        if step.file:
            file = self.folder / step.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(LIVE.sub(r"voucherify-sync \1 --yes", step.text))
            if file.suffix == ".yaml":
                yaml.safe_load(step.text)
        else:
            self._run(step)
        self._turn_to_the_sandbox()

    def _run(self, step: Step) -> None:
        command = LIVE.sub(r"voucherify-sync \1 --yes", step.command)
        is_whole = not any(tool in command and shutil.which(tool) is None for tool in TOOLS)
        if not is_whole:
            command = own_part(command)
        config = {}
        if not (self.folder / "voucherify-sync.yaml").exists():
            names = ("REPLAY", "RETRY", "PLAN", "STATUS", "CHECK", "FORGET")
            config = {f"VOUCHERIFY_SYNC_{name}_CONFIG": self._config for name in names}
        shell = ("bash", "-o", "pipefail", "-c")
        done = run_in_shell(command, self.folder, {**self._env, **config}, shell=shell)
        printed = done.stdout + done.stderr
        assert done.returncode in ({step.code} if is_whole else {0, step.code}), f"{command}\n{printed}"
        for line in step.shown if is_whole else ():
            assert line.strip() in printed, f"{command}\n{printed}"

    def _turn_to_the_sandbox(self) -> None:
        file = self.folder / "voucherify-sync.yaml"
        if not file.exists():
            return
        text = file.read_text()
        if re.search(r"^api:", text, re.MULTILINE):
            file.write_text(text.replace(f"url: {API}\n", f"url: {self._url}\n"))
        else:
            file.write_text(f"api: {{url: '{self._url}'}}\n{text}")


@pytest.mark.parametrize("page", [page for page in PAGES if "```console" in page.read_text()], ids=relative)
def test_what_a_page_tells_to_do_works(page: Path, run_cli: Cli, samples: Path, sandbox: Sandbox) -> None:
    """From its first step to its last, in a fresh folder."""
    reader = Reader(run_cli, samples, sandbox.url)
    for step in steps_of(page):
        reader.do(step)


def is_parent(path: str, described: set[str]) -> bool:
    """Tell whether a field has fields of its own, in place of which null may stand."""
    return any(known.startswith(f"{path}.") for known in described)


def fields_of(value: Any, path: str, described: set[str]) -> Iterator[str]:
    """Yield the paths of all fields; where any key may stand, the path says so."""
    if isinstance(value, dict):
        free = next((known for known in described if re.match(rf"{re.escape(path)}\.<", known)), None)
        for key, inside in value.items():
            is_free = free is not None and f"{path}.{key}" not in described
            name = free.removeprefix(path + ".").split(".")[0] if free and is_free else key
            yield from fields_of(inside, f"{path}.{name}" if path else name, described)
    elif isinstance(value, list) and value:
        for item in value:
            yield from fields_of(item, f"{path}[]", described)
    elif not isinstance(value, list) and not (value is None and is_parent(path, described)):
        yield path


def test_the_fields_of_the_report_are_those_of_runs(
    run_cli: Cli, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No field is written that is not described, and none is described that no run writes."""
    monkeypatch.syspath_prepend(str(DOCS))
    from generating.report import FIELDS, LETTER_FIELDS

    odd = run_cli.folder / "odd.ndjson"
    odd.write_bytes(
        b'{"type":"identify","userId":"u1","traits":{"email":[1],"plan":"pro"}}\nno json\n\xff\xfe\n["no event"]\n'
    )
    large = run_cli.folder / "large.ndjson"
    event = {
        "type": "identify",
        "userId": "u1",
        "traits": {"plan": "pro"},
        "timestamp": "2025-03-01T00:00:00Z",
    }
    lines = [json.dumps({**event, "messageId": f"m{number}"}) for number in range(1_500)]
    large.write_text("\n".join(lines))
    letters = run_cli.folder / "letters.ndjson"
    with_set = run_cli.folder / "with_set.yaml"
    with_set.write_text(
        "identify: {set: {customer.metadata.plan: {'@path': $.traits.plan}}}\norders: {disabled: false}\n"
    )
    sent = ("--sandbox", "--dead-letters", letters, samples, odd)
    seen: set[str] = set()
    for options in (
        ("--each", *sent),
        ("--bulk", *sent),
        ("--dry-run", large),
        ("--dry-run", "--event", "Nothing", "--type", "track", samples),
        ("--dry-run", "-c", with_set, large),
    ):
        run_cli("replay", "--progress", "none", "--report", "report.json", *options)
        seen |= set(fields_of(json.loads((run_cli.folder / "report.json").read_text()), "", set(FIELDS)))
    assert seen == set(FIELDS)
    keys = {key for line in letters.read_text().splitlines() for key in json.loads(line)}
    assert keys | {"order"} == set(LETTER_FIELDS)  # a refused order is shown by the tests of its retry
