# SPDX-License-Identifier: GPL-2.0-only
"""The rules of Hyper-V, each with the tests that show it and how they ended.

Runs the tests of the source checkout that are tagged with a rule (R1 to R104 of the
specification, K1 to K15 of real implementations), and reports rule by rule: it holds, falls
short (a test fails, or there is none), or is not applicable, with the reason. Without a checkout
it reports how they ended when they last ran before the release.
With --json: {"schema": "kvm_vmx.conform/1", "rules": [{"id", "text", "tests", "status",
"why"}]}, and "recorded", a commit, where they did not run now. Exit status 1: a rule falls short.
"""

import argparse
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import TypeAlias, TypedDict

from kvm_vmx.conform import EndedTest, Rule, rules
from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, need, offer, print_columns, print_json)
from kvm_vmx.progress import progress
from kvm_vmx.words import unknown

EXAMPLE = """\
examples:
  kvm-vmx conform              every rule
  kvm-vmx conform R39          one rule, its tests and their results
  kvm-vmx conform --json       for a program
"""

# how far pytest says it is, at the end of a line of dots
DONE = re.compile(r"\[ *(\d+)%\]$")

# How the tests ended when dev/record_conform.py last ran them: where there are no tests.
RECORD = pathlib.Path(__file__).with_name("recorded.json")
STATES = ("holds", "falls short", "not applicable")

# by the test's name
Endings: TypeAlias = dict[str, EndedTest]


class Recorded(TypedDict):
    """What the package carries."""

    results: Endings
    recorded: str


class Judged(TypedDict):
    """What the report says of a rule."""

    id: str
    text: str
    tests: list[str]
    status: str
    why: str


def configure(commands: Commands) -> None:
    """Add `conform` to the command line."""
    command = add_command(commands, sys.modules[__name__], "conform", EXAMPLE)
    offer(command.add_argument("rule", nargs="?", metavar="RULE",
                               help="explain one rule, as in R39"), rules)


def execute(args: argparse.Namespace) -> int:
    """Run the tests and report."""
    known = rules()
    wanted = args.rule and args.rule.upper()
    if wanted and wanted not in known:
        number = re.sub(r"\D", "", args.rule)
        raise Trouble(unknown("rule", args.rule, (id for id in known if id[1:] == number),
                              "there are R1 to R104 and K1 to K15"))
    chosen = [known[wanted]] if wanted else list(known.values())
    root = checkout()
    results, said = recorded() if root is None else (run_tests(root, wanted), {})
    report = [judge(rule, results) for rule in chosen]
    if args.json:
        print_json({"schema": "kvm_vmx.conform/1", **said, "rules": report})
        return verdict(report)
    if said:
        print(f"As recorded at {said['recorded']}; in a source checkout the tests run.\n")
    if wanted:
        explain(known[wanted], report[0], results)
    else:
        print_rules(report)
    return verdict(report)


def verdict(report: list[Judged]) -> int:
    """The exit status that a report comes to."""
    return DIFFERS if any(rule["status"] == "falls short" for rule in report) else HOLDS


def recorded() -> tuple[Endings, dict[str, str]]:
    """The results that the package carries, in the form of run_tests(), and what to say of them:
    with --json as {"recorded": the commit}."""
    found: Recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    return found["results"], {"recorded": found["recorded"]}


def checkout() -> pathlib.Path | None:
    """The source checkout that holds the tests: around this package, or the current folder."""
    for root in (pathlib.Path(__file__).resolve().parents[2], pathlib.Path.cwd()):
        if (root / "tests" / "l0").is_dir() and (root / "pyproject.toml").is_file():
            return root
    return None


def run_tests(root: pathlib.Path, rule: str | None) -> Endings:
    """The tagged tests by name, each with its rules and whether it passed."""
    need("pytest", "test")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pytest", "-q", "--no-header",
            "-p", "kvm_vmx.conform.plugin", "--conform-report", str(path), str(root / "tests")]
        if rule:
            command += ["--conform-rule", rule]
        status, said = followed(command, root)
        # 0: all passed, 1: some failed, 5: none is tagged
        if status not in (0, 1, 5):
            last = said.strip().rpartition("\n")[2]
            raise Trouble(f"the tests did not run: {last}: see python -m pytest {root / 'tests'}")
        with contextlib.suppress(FileNotFoundError):
            found: Endings = json.loads(path.read_text(encoding="utf-8"))
            return found
    return {}


def followed(command: list[str], root: pathlib.Path) -> tuple[int, str]:
    """Run pytest, and show how far it is; its exit status and all that it said."""
    said = []
    with progress({"per cent of the tests": 100}) as report, subprocess.Popen(
            command, cwd=root, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                said.append(line)
                if found := DONE.search(line):
                    report("per cent of the tests", int(found[1]))
        except BaseException:
            child.kill()
            raise
    return child.returncode, "".join(said)


def judge(rule: Rule, results: Endings) -> Judged:
    """One rule as the report has it."""
    tests = {name: result for name, result in results.items() if rule.id in result["rules"]}
    skipped = [name for name, result in tests.items() if is_skipped(result)]
    failed = [name for name, result in tests.items()
              if not result["passed"] and name not in skipped]
    passed = len(tests) - len(skipped)
    if rule.not_applicable:
        status, why = "not applicable", rule.not_applicable
    elif not tests:
        status, why = "falls short", "no test shows it"
    elif failed:
        first = results[failed[0]].get("why", "did not run")
        status, why = "falls short", f"{len(failed)} of {len(tests)} tests: {first}"
    elif not passed:
        status, why = "falls short", "each of its tests is skipped here"
    else:
        status, why = "holds", f"{passed} test{'s' * (passed > 1)} passed"
        why += f", {len(skipped)} skipped" if skipped else ""
    return {"id": rule.id, "text": rule.text, "tests": sorted(tests), "status": status, "why": why}


def is_skipped(result: EndedTest) -> bool:
    """Did a test not run for want of what it needs? It tells nothing of its rules, then."""
    return not result["passed"] and result.get("why") == "skipped"


def explain(rule: Rule, entry: Judged, results: Endings) -> None:
    """One rule for a reader."""
    print(f"{rule.id}: {rule.text}")
    if rule.profile:
        print(f"Profile: {rule.profile}")
    print(f"{entry['status'].capitalize()}: {entry['why']}")
    tests: dict[str, list[str]] = {}
    for name in entry["tests"]:
        tests.setdefault(name.partition("[")[0], []).append(name)
    for test, cases in tests.items():
        skipped = [name for name in cases if is_skipped(results[name])]
        failed = [name for name in cases
                  if not results[name]["passed"] and name not in skipped]
        good = len(cases) - len(failed) - len(skipped)
        if good:
            of_all = f" of {len(cases)}" if good < len(cases) else ""
            print(f"  passed  {test}" + (f": {good}{of_all} cases" if len(cases) > 1 else ""))
        for name in failed:
            print(f"  FAILED  {name}")
        for name in skipped:
            print(f"  skipped {name}")


def print_rules(report: list[Judged]) -> None:
    """Every rule in a line, and how many there are of each kind."""
    print_columns([("rule", "status", "why", "what it says"), *(
        (rule["id"], rule["status"], shorten(rule["why"], 40), shorten(rule["text"], 72))
        for rule in report)])
    counts = {state: sum(rule["status"] == state for rule in report) for state in STATES}
    print("\n" + ", ".join(f"{count} {state}" for state, count in counts.items()))


def shorten(text: str, width: int) -> str:
    """At most width characters of a line."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"
