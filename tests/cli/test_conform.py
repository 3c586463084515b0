# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx conform: the registry, the verdict on a rule, one rule explained, trouble."""

import argparse
import functools
import json
import subprocess
import sys

import pytest
import schemed
from command import PACKAGE, kvm_vmx

from kvm_vmx import cli
from kvm_vmx.conform import command as conform
from kvm_vmx.conform import Rule, rules
from kvm_vmx.conform.plugin import may_tag


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The rules that the tests of the tree are tagged with."""
    path = tmp_path_factory.mktemp("conform") / "report.json"
    subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
         "-p", "kvm_vmx.conform.plugin", "--conform-report", path, PACKAGE / "tests"],
        cwd=PACKAGE, check=True, stdout=subprocess.DEVNULL)
    return {id for test in json.loads(path.read_text()).values() for id in test["rules"]}


def test_the_registry_has_every_rule():
    known = rules()
    assert list(known) == [f"{kind}{n}" for kind, last in (("R", 104), ("K", 15))
                           for n in range(1, last + 1)]
    for rule in known.values():
        assert rule.text.endswith(".") and rule.text[0] == rule.text[0].upper()
        assert rule.profile in ("", "kvm-6.12", "tlfs-strict")


@pytest.mark.host("pytest", "hypothesis", "capstone")
def test_every_tag_is_a_rule_and_every_rule_has_its_test(shown):
    known = rules()
    assert shown - set(known) == set()
    assert {id for id, rule in known.items() if not rule.not_applicable} - shown == set()
    # no rule is said not to apply while a test shows it
    assert {id for id, rule in known.items() if rule.not_applicable} & shown == set()


@pytest.mark.parametrize("passed, rule, status, why", [
    ([True], Rule("R1", "Text."), "holds", "1 test passed"),
    ([True, True], Rule("R1", "Text."), "holds", "2 tests passed"),
    ([True, False], Rule("R1", "Text."), "falls short", "1 of 2 tests: broken"),
    ([], Rule("R1", "Text."), "falls short", "no test shows it"),
    ([], Rule("R1", "Text.", "", "elsewhere"), "not applicable", "elsewhere"),
])
def test_the_verdict_on_a_rule(passed, rule, status, why):
    results = {f"test_{n}": {"rules": ["R1"], "passed": ok, "why": "broken"}
               for n, ok in enumerate(passed)}
    results["test_of_another"] = {"rules": ["R2"], "passed": False}
    verdict = conform.judge(rule, results)
    assert (verdict["status"], verdict["why"]) == (status, why)
    assert verdict["tests"] == [f"test_{n}" for n in range(len(passed))]


@pytest.mark.parametrize("passed, status, why", [
    (1, "holds", "1 test passed, 2 skipped"),
    (0, "falls short", "each of its tests is skipped here"),
])
def test_a_skipped_test_tells_nothing_of_its_rule(passed, status, why):
    results = {f"test_{n}": {"rules": ["R1"], "passed": False, "why": "skipped"} for n in range(2)}
    results |= {f"test_that_ran_{n}": {"rules": ["R1"], "passed": True} for n in range(passed)}
    verdict = conform.judge(Rule("R1", "Text."), results)
    assert (verdict["status"], verdict["why"]) == (status, why)


@pytest.mark.host("pytest")
def test_one_rule_as_json_and_explained(monkeypatch, capsys):
    """Both of one run of its tests."""
    monkeypatch.setattr(conform, "run_tests", functools.cache(conform.run_tests))
    assert cli.main(["conform", "r38", "--json"]) == 0
    report = schemed.kept_text(capsys.readouterr().out)
    assert report["schema"] == "kvm_vmx.conform/1"
    (rule,) = report["rules"]
    assert set(rule) == {"id", "text", "tests", "status", "why"}
    assert rule["id"] == "R38" and rule["status"] == "holds" and rule["tests"]
    assert cli.main(["conform", "R38"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith("R38: A group") and "  passed  tests/l0/" in out


@pytest.mark.host("pytest")
def test_a_rule_that_does_not_apply_is_explained():
    done = kvm_vmx("conform", "R65")
    assert done.returncode == 0 and "Not applicable: " in done.stdout


def test_the_cases_of_a_test_are_one_line_and_what_failed_is_named(capsys):
    names = [*(f"t.py::test_a[{n}]" for n in range(5)), "t.py::test_b", "t.py::test_c[1]",
             "t.py::test_c[2]"]
    results = {name: {"passed": "3" not in name and name != "t.py::test_c[2]"} for name in names}
    conform.explain(Rule("R1", "Text."), {"status": "falls short", "why": "some", "tests": names},
                    results)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  passed  t.py::test_a: 4 of 5 cases", "  FAILED  t.py::test_a[3]",
        "  passed  t.py::test_b", "  passed  t.py::test_c: 1 of 2 cases",
        "  FAILED  t.py::test_c[2]"]


@pytest.mark.parametrize("text, found", [
    ('@pytest.mark.rule("R38")', True), ('@pytest.mark.rule("R3",\n  "R38")', True),
    ('@pytest.mark.rule("R3")\n"R38"', False), ("marks=pytest.mark.rule(rule_of(row))", True),
    ('mark.rule("R380")\nmark.rule("K38")', False), ('"R38"', False)])
def test_a_file_that_cannot_tag_a_rule_is_passed_over(text, found):
    assert may_tag(text, "R38") == found and may_tag(text, None) == ("mark.rule(" in text)


def test_no_such_rule():
    done = kvm_vmx("conform", "R105")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kvm-vmx: no rule 'R105': there are R1 to R104 and K1 to K15\n"


def test_without_the_tests_the_recorded_results_are_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conform, "__file__", str(tmp_path / "kvm_vmx/conform/command.py"))
    assert conform.checkout() is None
    assert conform.execute(argparse.Namespace(rule="R38", json=False)) == 0
    said = capsys.readouterr().out
    assert said.startswith("As recorded at ") and "\nR38: A group" in said
    assert "  passed  tests/l0/" in said
    conform.execute(argparse.Namespace(rule=None, json=True))
    told = json.loads(capsys.readouterr().out)
    assert told["recorded"] and len(told["rules"]) == len(rules())
    monkeypatch.chdir(PACKAGE)
    assert conform.checkout() == PACKAGE


def test_what_is_recorded_stands_in_the_tree():
    """Each recorded test is still there, and nothing that binds was left without one."""
    results, _ = conform.recorded()
    texts = {}
    for name in {name.partition("[")[0] for name in results}:
        file, *_, function = name.split("::")
        text = texts.setdefault(file, (PACKAGE / file).read_text())
        assert f"def {function}(" in text, name
    tagged = {id for result in results.values() for id in result["rules"]}
    assert tagged >= {rule.id for rule in rules().values() if not rule.not_applicable}
