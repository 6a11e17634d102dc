"""script(): one shell that stops at the first failure and reports its progress. Run in every available shell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.config.steps.shell_script import COMMANDS_FILE, build_script, stands_alone

SHELLS = [shell for shell in ("sh", "bash", "dash", "ksh", "zsh", "busybox") if shutil.which(shell)]


def argv(shell: str, path: Path) -> list[str]:
    return [*(["busybox", "sh"] if shell == "busybox" else [shell]), str(path)]


class Ran:
    """What one run of a script printed, returned and reported."""

    def __init__(self, shell: str, commands: Sequence[str], directory: Path, *, report: bool = True) -> None:
        reported = directory / ("commands" if report else "no/such/directory/commands")
        path = directory / "script"
        path.write_text(build_script(commands).replace(COMMANDS_FILE, str(reported)))
        done = subprocess.run(
            argv(shell, path), cwd=directory, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20
        )
        self.code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        self.reported = reported.read_text().splitlines() if report and reported.exists() else []


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_all_commands_run_in_one_shell_and_each_start_is_reported(shell: str, tmp_path: Path) -> None:
    ran = Ran(shell, ["export A=1", "mkdir d; cd d", "B=2", 'echo "$A$B ${PWD##*/}"'], tmp_path)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "12 d\n", "")
    assert ran.reported == ["start 1", "start 2", "start 3", "start 4"]


@pytest.mark.parametrize(
    ("commands", "code", "stdout", "reported"),
    [
        (["echo a", "exit_7() { return 7; }", "exit_7", "echo b"], 7, "a\n", ["exit 3 7"]),
        (["false", "echo b"], 1, "", ["exit 1 1"]),
        (["false && true", "echo b"], 1, "", ["exit 1 1"]),
        (["false || true", "echo b"], 0, "b\n", ["start 2"]),
        (["echo a", "false"], 1, "a\n", ["exit 2 1"]),
        (["no-such-program 2>/dev/null"], 127, "", ["exit 1 127"]),
        (["true &", "echo b"], 0, "b\n", ["start 2"]),
        (["echo a # a comment", "echo b;", "echo c"], 0, "a\nb\nc\n", ["start 3"]),
        (["cat <<EOF\n$((1+1)) 'x\nEOF", "echo b"], 0, "2 'x\nb\n", ["start 2"]),
        (["cat <<-'EOF'\n\t$x\n\tEOF", "false"], 1, "$x\n", ["exit 2 1"]),
        (["for i in 1 2\ndo echo $i; done", "false"], 1, "1\n2\n", ["exit 2 1"]),
        (["case x in\n(a) echo a;;\nx) echo x;;\nesac", "echo b"], 0, "x\nb\n", ["start 2"]),
        (["set -e", "false", "echo b"], 1, "", ["start 2"]),
        (["set -e", "true", "echo b"], 0, "b\n", ["start 3"]),
        (["set -u", "echo b"], 0, "b\n", ["start 2"]),
        (["set -u", "unset pushmill_commands", "echo b"], 0, "b\n", ["start 2"]),
        (["set -C", "echo b"], 0, "b\n", ["start 2"]),
        (["IFS=0123456789", "false", "echo b"], 1, "", ["exit 2 1"]),
        (["exit 0", "echo b"], 0, "", ["start 1"]),
        (["exit 3", "echo b"], 3, "", ["start 1"]),
        (["trap 'echo bye' EXIT", "false"], 1, "bye\n", ["exit 2 1"]),
        (["(exit 5)", "echo b"], 5, "", ["exit 1 5"]),
        (["echo a\nfalse\necho b", "echo c"], 0, "a\nb\nc\n", ["start 2"]),
        (["echo a", "", "  ", "echo d"], 0, "a\nd\n", ["start 4"]),
        (["echo a | tr a b", "echo done if then"], 0, "b\ndone if then\n", ["start 2"]),
    ],
)
def test_the_first_failing_command_ends_the_script_with_its_code(
    shell: str, commands: list[str], code: int, stdout: str, reported: list[str], tmp_path: Path
) -> None:
    assert all(stands_alone(command) for command in commands)
    ran = Ran(shell, commands, tmp_path)
    assert (ran.code, ran.stdout) == (code, stdout)
    assert ran.reported[-1:] == reported
    silent = Ran(shell, commands, tmp_path, report=False)
    assert (silent.code, silent.stdout, silent.stderr) == (code, stdout, ran.stderr)


@pytest.mark.parametrize(
    ("commands", "code", "stdout"),
    [
        (["for i in 1 2", "do echo $i", "done", "echo b"], 0, "1\n2\nb\n"),
        (["echo a \\", "b", "echo c"], 0, "a b\nc\n"),
        (["cat <<EOF", "x", "EOF", "echo b"], 0, "x\nb\n"),
        (["if false; then", "echo a", "else echo b", "fi"], 0, "b\n"),
        (["echo 'a", "b'"], 0, "a\nb\n"),
        (["f() {", "echo a", "}", "f"], 0, "a\n"),
        (["f()", "{ echo a; }", "f"], 0, "a\n"),
        (["echo a |", "tr a b"], 0, "b\n"),
        (["true &&", "echo b"], 0, "b\n"),
        (["for i in 1", "do false", "done", "echo b"], 1, ""),
        (["echo $(", "echo a)", "false", "echo b"], 1, "a\n"),
    ],
)
def test_commands_that_only_make_sense_together_are_joined_and_still_stop_at_a_failure(
    shell: str, commands: list[str], code: int, stdout: str, tmp_path: Path
) -> None:
    ran = Ran(shell, commands, tmp_path)
    assert (ran.code, ran.stdout, ran.reported) == (code, stdout, [])


def test_tracing_shows_the_users_commands_and_none_of_ours(tmp_path: Path) -> None:
    ran = Ran("bash", ["set -x", "echo a", "true"], tmp_path)
    assert ran.stderr.splitlines() == ["+ echo a", "+ true"]


def test_a_trap_on_exit_keeps_its_stderr(shell: str, tmp_path: Path) -> None:
    assert Ran(shell, ["trap 'echo bye >&2' EXIT", "false"], tmp_path).stderr == "bye\n"


def test_after_a_stop_the_running_program_ends_and_the_next_command_does_not_start(shell: str, tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(build_script(["sh -c 'echo $$; exec sleep 60'", "echo next"]))
    with subprocess.Popen(argv(shell, path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        program = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)  # the shell notes it and waits for the program, which is told next
        os.kill(program, signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait(timeout=10) == 143


@pytest.mark.parametrize(
    "line",
    ["#!/bin/bash", "#!/bin/sh -e", "#!/usr/bin/env bash", "#! /usr/bin/env -S dash -u", "#!/usr/bin/env A=1 zsh"],
)
def test_a_first_line_that_names_a_shell_stays_first_and_the_checks_follow(line: str) -> None:
    lines = build_script([f"{line}\necho a", "echo b"]).splitlines()
    assert lines[0] == line
    assert "trap 'exit 143' TERM" in lines[1]
    assert [text for text in lines if text.startswith("echo")] == ["echo a", "echo b"]


@pytest.mark.parametrize("line", ["#!/usr/bin/python3", "#!/usr/bin/env perl", "#!", "#!/bin/tcsh", "#!'"])
def test_a_first_line_that_names_no_shell_leaves_the_text_alone(line: str) -> None:
    assert build_script([f"{line}\nprint(1)", "print(2)"]) == f"{line}\nprint(1)\nprint(2)\n"


def test_a_first_command_that_is_only_the_interpreter_is_not_counted_as_started(tmp_path: Path) -> None:
    assert Ran("bash", ["#!/bin/bash", "echo a"], tmp_path).reported == ["start 2"]


def test_one_line_is_added_for_each_command() -> None:
    assert len(build_script(["a", "b", "c"]).splitlines()) == 1 + 2 * 3


@pytest.mark.parametrize(
    "item",
    [
        *(
            "python train.py --x='a b'",
            "nohup python w.py &",
            "a # don't",
            "a && b || c",
            "a;",
            "echo {} ${x} $((1+2))",
        ),
        *('echo "$(date "+%Y")" `pwd`', "while read x; do echo $x; done < f", "f() { a; }; f", "x=(a b)", "x=()"),
        *("[[ -n $x && ( $y == a* ) ]] && z", "((i++))", "[ ! -f x ] || ! y", "find . -exec rm {} \\;"),
        *(
            "a \\\n  --b",
            "cat <<'E' > f\n'\"$(\nE",
            "python -c \"import x; print('y')\"",
            "diff <(a) <(b)",
            "a 2>&1 | tee f",
        ),
        *(
            "if a; then b; elif c; then d; else e; fi",
            "awk '{print $1}' f",
            "echo done",
            "echo a#b",
            "arr[$i]=3",
            "# c",
        ),
    ],
)
def test_whole_commands_stand_alone(item: str) -> None:
    assert stands_alone(item)


@pytest.mark.parametrize(
    "item",
    [
        *("a \\", "'", '"', "`a", "$(a", "${a", "$((1", "a |", "a &&", "a ||", "(a", "a)", "{ a;", "}", "f()", "f() #"),
        *(
            "function f",
            "if a",
            "if a; then b",
            "then b",
            "else b",
            "elif b",
            "fi",
            "for x in a",
            "for x",
            "do a",
            "done",
        ),
        *(
            "while a",
            "case x in",
            "case x in a) b;;",
            "case x in <( case $x in a) b;; esac",
            "esac",
            "cat <<E",
            "cat <<E\na\nE ",
            "cat <<E\na\\\nE",
            "[[ a",
            "[[ a &&",
        ),
        *(
            "x=(a",
            "a[",
            "x=( [[)",
            'echo "$(echo \'a)"',
            "alias a='if'",
            "!",
            "a >",
            "$'a\\'b'",
            "a\r",
            "cat <<E\n$(\nE",
        ),
        *(
            "cat <<E $(cat <<F\nE\nF\n)",
            "while a; do >f done",
            "((1 << E))",
            "foreach x (a b)",
            "`if`",
            '${"a" }',
            "a <<$(b)",
        ),
    ],
)
def test_parts_of_commands_do_not_stand_alone(item: str) -> None:
    assert not stands_alone(item)


def test_a_long_and_deeply_nested_item_is_judged_quickly() -> None:
    before = time.thread_time()
    assert stands_alone("echo '" + "x" * 2_000_000 + "'")
    assert not stands_alone("echo " + "$(" * 100_000)
    assert not stands_alone("echo " + '"${x:-' * 100_000)
    assert time.thread_time() - before < 5


PARTS = [
    *(
        "echo a",
        "x=1",
        "if",
        "then",
        "else",
        "fi",
        "for x in a b",
        "do",
        "done",
        "while true",
        "case x in",
        "esac",
        "a)",
    ),
    *(
        ";;",
        "{",
        "}",
        "(",
        ")",
        "((",
        "))",
        "[[",
        "]]",
        "&&",
        "||",
        "|",
        "&",
        ";",
        "\n",
        "'",
        '"',
        "`",
        "$(",
        "${x}",
        "${",
    ),
    *(
        "$((1+2))",
        "$'",
        "\\",
        "# c",
        "<<EOF",
        "<<'EOF'",
        "EOF",
        "f()",
        "function f",
        "!",
        ">f",
        "<(",
        "<<<",
        "x=(",
        "\\\n",
    ),
    *(
        "cat <<EOF\nfoo\nEOF",
        "if a; then b; fi",
        "case $x in a) b;; esac",
        "a[",
        "$#",
        '"$(echo a)"',
        "$(cat <<E\n$(x)\nE\n)",
    ),
]
OF_ONE_SHELL = ("[[", "<(", "<<<", "function", "((", "=(", "$'")
UNFINISHED = (b"unexpected end of file", b"unexpected EOF", b"delimited by", b"looking for matching", b"nterminated")


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from([" ", "\n", "; ", ""])), min_size=1, max_size=8))
@settings(max_examples=400)
def test_no_shell_looks_for_more_after_text_that_stands_alone(parts: list[tuple[str, str]]) -> None:
    item = "".join(part + gap for part, gap in parts).strip()
    if not stands_alone(item):
        return
    for shell in ("bash",) if any(word in item for word in OF_ONE_SHELL) else ("bash", "dash"):
        said = subprocess.run([shell, "-n"], input=f"{item}\n".encode(), capture_output=True).stderr
        assert not any(word in said for word in UNFINISHED), (shell, said)
