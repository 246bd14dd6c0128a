"""`check` with mapping tests, as one runs it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.cli import Cli

from voucherify_sync.settings import template

FAILING = """\
tests:
  - name: "no \\e[31mmarkup [bold]"
    event: {type: identify, userId: u1, traits: {name: "\\e]0;x\\a[red]", email: a@b.c}}
    expect: {contains: {body: {name: Ann, email: a@b.c}}}
  - {name: fine, event: {type: page}, expect_skipped: type_page}
"""


@pytest.fixture
def cli(run_cli: Cli) -> Cli:
    """Return the command line where keys are set, so that no note speaks of them."""
    run_cli.env |= {"VOUCHERIFY_API_KEY": "app", "VOUCHERIFY_API_TOKEN": "CANARY"}
    return run_cli


def write(cli: Cli, text: str, name: str = "voucherify-sync.yaml") -> Path:
    """Write a settings file that is found by itself."""
    file = cli.folder / name
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def test_what_init_writes_passes(cli: Cli) -> None:
    """Three tests come with it; stdout stays the settings in force."""
    cli("init")
    ended = cli("check")
    assert (ended.code, ended.err) == (
        0,
        "voucherify-sync.yaml: no mistakes, 3 mapping tests passed\n",
    )
    assert ended.out == ""
    assert "tests:" not in ended.out


def test_settings_without_mistakes_are_one_line(cli: Cli) -> None:
    """Nothing on stdout: what one does not ask for does not push away what matters."""
    write(cli, "identify: {unmapped_traits: metadata}\n")
    ended = cli("check")
    assert (ended.code, ended.out, ended.err) == (0, "", "voucherify-sync.yaml: no mistakes\n")


def test_warnings_come_with_their_line_and_end_in_0(cli: Cli) -> None:
    """A row that cannot match, rows that switch the default table off."""
    write(cli, "identify:\n  mapping:\n    trait.email: customer.email\n")
    ended = cli("check")
    assert (ended.code, ended.out) == (0, "")
    row, table, verdict = ended.err.splitlines()
    assert row == (
        "Warning: voucherify-sync.yaml:3:5: identify.mapping: 'trait.email': no event has a key 'trait' at its top "
        "level; did you mean traits.email?"
    )
    assert table.startswith("Warning: identify.mapping replaces the default table")
    assert verdict == "voucherify-sync.yaml: no mistakes, 2 warnings"


def test_show_prints_the_rows_that_apply_and_no_key(cli: Cli) -> None:
    """As YAML that a settings file can be made of, which gives the same requests."""
    write(
        cli,
        "api: {key: CANARY, token: '${T:-CANARY}', version: Latest}\n"
        "identify: {mapping: {$.traits.plan: customer.metadata.plan}, extend_default: true}\n",
    )
    ended = cli("check", "--show")
    assert ended.code == 0
    assert "CANARY" not in ended.out + ended.err
    assert "version: latest\n" in ended.out
    assert "    $.traits.plan: customer.metadata.plan\n  extend_default: true\n" in ended.out
    assert "    properties.address.street: customer.address.line_1\n" in ended.out
    copy = write(cli, ended.out, "copy.yaml")
    event = (
        '{"type":"track","event":"A","userId":"u","properties":{"email":"a@b.c","address":{"street":"S"}}}\n'
        '{"type":"identify","userId":"u","traits":{"email":"a@b.c","plan":"x","metadata":{"k":1}}}\n'
    )
    requests = [cli("replay", "--dry-run", "-q", *option, stdin=event).out for option in ([], ["-c", copy])]
    assert requests[0] == requests[1]
    assert requests[0].count("a@b.c") == 2


SWITCHED_OFF = "identify.mapping replaces the default table, which would fill these fields"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["replay", "--dry-run"], 1),
        (["plan"], 1),
        (["replay", "--dry-run", "-q"], 0),
        (["replay", "--sandbox", "--yes"], 0),
        (["coverage"], 0),
    ],
    ids=["dry run", "plan", "quiet", "sandbox", "coverage"],
)
@pytest.mark.parametrize("said", ["", "  extend_default: false\n"], ids=["not said", "said"])
def test_previews_say_once_that_the_default_table_is_off(
    cli: Cli, arguments: list[str], count: int, said: str
) -> None:
    """Until the file says that it is meant."""
    write(cli, "identify:\n  mapping: {traits.plan: customer.metadata.plan}\n" + said)
    line = '{"type":"identify","userId":"u","messageId":"m","traits":{"email":"a@b.c","plan":"x"}}\n'
    ended = cli(*arguments, "-", stdin=line)
    assert ended.code == 0
    assert (ended.out + ended.err).count(SWITCHED_OFF) == (0 if said else count)


def test_a_failing_test_ends_in_3_and_is_shown_path_by_path(cli: Cli) -> None:
    """With file:line:column for editors; what events hold can do nothing to a terminal."""
    write(cli, FAILING)
    ended = cli("check")
    assert ended.code == 3
    assert ended.err.splitlines() == [
        "voucherify-sync.yaml:2:5: failed: no \\x1b[31mmarkup [bold]",
        "  body.name",
        '    expected  "Ann"',
        '    got       "\\u001b]0;x\\u0007[red]"',
        "1 of 2 mapping tests failed",
        "If these results are right: the same command with --update makes the tests expect them.",
    ]


def test_of_long_values_the_part_that_differs_is_shown(cli: Cli) -> None:
    """Else both lines would look alike."""
    head = "x" * 400
    event = f"{{type: identify, userId: u, traits: {{name: {head}b}}}}"
    write(cli, f"tests: [{{name: a, event: {event}, expect: {{contains: {{body: {{name: {head}c}}}}}}}}]")
    expected, got = [line for line in cli("check").err.splitlines() if line.startswith("    ")]
    assert expected == f'    expected  …{"x" * 20}c"'
    assert got == f'    got       …{"x" * 20}b"'


def test_of_many_differences_the_first_are_shown(cli: Cli) -> None:
    """The rest is counted."""
    body = ", ".join(f"k{number}: 1" for number in range(30))
    write(
        cli,
        f"tests: [{{name: a, event: {{type: track, userId: u}}, expect: {{contains: {{body: {{{body}}}}}}}}}]",
    )
    assert "  and 10 differences more\n" in cli("check").err


def test_update_lets_failed_tests_expect_what_came_out(cli: Cli) -> None:
    """The next check passes; the rest of the file stands."""
    file = write(cli, FAILING.replace("\\e]0;x\\a[red]", "Bob"))
    ended = cli("check", "--update")
    assert ended.code == 0
    assert ended.err.endswith("1 of 2 mapping tests failed\nvoucherify-sync.yaml: 1 expectation updated\n")
    assert file.read_text() == FAILING.replace("\\e]0;x\\a[red]", "Bob").replace("Ann", "Bob")
    assert cli("check").code == 0


def test_junit_is_written_whether_tests_pass_or_fail(cli: Cli) -> None:
    """CI reads it either way."""
    write(cli, FAILING)
    assert cli("check", "--junit", "out.xml").code == 3
    suites = ET.parse(cli.folder / "out.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")
    assert cli("check", "--junit", "no/where.xml").code == 2


def test_no_tests_are_no_failure(cli: Cli) -> None:
    """Who asks for their results is told that there are none."""
    ended = cli("check", "--junit", "out.xml")
    assert (ended.code, ended.err) == (0, "No settings file: the defaults apply, no mapping tests\n")
    assert ET.parse(cli.folder / "out.xml").getroot().get("tests") == "0"


def test_tests_beside_the_settings_file_are_run(cli: Cli) -> None:
    """Whichever folder the command is run in."""
    (cli.folder / "sub").mkdir()
    (cli.folder / "sub" / "s.yaml").write_text("identify: {disabled: true}\n")
    (cli.folder / "sub" / "e.ndjson").write_text('{"type":"identify","userId":"u"}\n')
    (cli.folder / "sub" / "a.test.yaml").write_text(
        "tests: [{name: a, event: e.ndjson:1, expect_skipped: identify_disabled}]"
    )
    assert cli("check", "-c", "sub/s.yaml").err == "sub/s.yaml: no mistakes, 1 mapping test passed\n"


def test_wrong_settings_end_in_2_before_any_test_runs(cli: Cli) -> None:
    """Mistakes of settings and tests are told together, and stdout stays empty."""
    write(cli, "trak: {}\ntests: [{name: a, event: no.ndjson:1}]\n")
    ended = cli("check")
    assert (ended.code, ended.out) == (2, "")
    assert "1:1: trak: no such setting; did you mean track?" in ended.err
    assert "2:9: tests[0]: needs `expect` or `expect_skipped`; one is missing" in ended.err


def test_an_event_that_is_not_there_ends_in_2(cli: Cli) -> None:
    """It is a mistake in the settings, with its place."""
    write(cli, "tests: [{name: a, event: no.ndjson:1, expect_skipped: a}]\n")
    ended = cli("check")
    assert (ended.code, ended.out) == (2, "")
    assert "voucherify-sync.yaml:1:26: tests[0].event: no.ndjson: no such file" in ended.err


def test_a_source_without_online_is_a_mistake(cli: Cli) -> None:
    """Nobody would look at it."""
    ended = cli("check", "events.ndjson")
    assert (ended.code, "check reads SOURCE only with --online" in ended.err) == (2, True)


def test_help_begins_with_examples_and_is_quick_to_import(cli: Cli) -> None:
    """Two real ones, no matter how it is asked."""
    text = cli("check", "--help").out
    assert "voucherify-sync check -c production.yaml --junit mapping-tests.xml" in text
    assert "voucherify-sync check --online segment-logs/" in text
    assert template().count("- name:") == 3
