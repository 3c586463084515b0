# SPDX-License-Identifier: GPL-2.0-only
"""A pytest plugin: keep the tests that show a rule, and write down how each ended.

A test is tagged @pytest.mark.rule("R39", "K7"). Loaded by `kvm-vmx conform` with
-p kvm_vmx.conform.plugin; the report is JSON, {test: {"rules": [...], "passed": bool}}.
"""

import json
import pathlib
import re
from typing import TYPE_CHECKING

from kvm_vmx.conform import EndedTest

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: "pytest.Parser") -> None:
    """The two options of the command."""
    group = parser.getgroup("kvm_vmx conform")
    group.addoption("--conform-report", metavar="FILE", help="write the results there")
    group.addoption("--conform-rule", metavar="RULE", help="run the tests of this rule alone")


def pytest_configure(config: "pytest.Config") -> None:
    """Know the marker, and watch the run."""
    config.addinivalue_line("markers", "rule(id, ...): the rules of Hyper-V that a test shows")
    config.pluginmanager.register(
        TaggedTests(config.getoption("--conform-report"), config.getoption("--conform-rule")))


def rules_of(item: "pytest.Item") -> list[str]:
    """The ids that a test is tagged with, whoever tagged it."""
    return sorted({id for mark in item.iter_markers("rule") for id in mark.args})


# What a mark is given: ids, or names that only who imports the file can tell.
TAGS = re.compile(r"mark\.rule\(([^)]*)\)")
PLAIN = re.compile(r'\s*("\w+",?\s*)*')


def may_tag(text: str, rule: str | None) -> bool:
    """Does a test in this text show the rule, or, with None, any?"""
    tags = TAGS.findall(text)
    return bool(tags) and (rule is None or any(
        f'"{rule}"' in tag or not PLAIN.fullmatch(tag) for tag in tags))


def pytest_ignore_collect(collection_path: pathlib.Path, config: "pytest.Config") -> bool | None:
    """A file that does not speak of the rule has no test of it: importing it is for nothing."""
    if collection_path.name.startswith("test_") and collection_path.suffix == ".py" and not may_tag(
            collection_path.read_text(encoding="utf-8"), config.getoption("--conform-rule")):
        return True
    return None


class TaggedTests:
    """Selects the tagged tests and keeps how each ended."""

    def __init__(self, report: str | None, rule: str | None) -> None:
        self.report, self.rule = report, rule
        self.results: dict[str, EndedTest] = {}

    def pytest_collection_modifyitems(self, config: "pytest.Config",
                                      items: "list[pytest.Item]") -> None:
        """Keep what shows a rule, or the one rule asked for."""
        kept = [item for item in items
                if rules_of(item) and (self.rule is None or self.rule in rules_of(item))]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
        self.results = {item.nodeid: {"rules": rules_of(item), "passed": False} for item in kept}

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        """A test passed when its call did; a failure anywhere leaves its last line."""
        result = self.results[report.nodeid]
        if report.when == "call":
            result["passed"] = report.passed
        if report.skipped:
            result["why"] = "skipped"
        if report.failed:
            result["passed"] = False
            result["why"] = report.longreprtext.strip().rpartition("\n")[2]

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        if self.report:
            with open(self.report, "w", encoding="utf-8") as file:
                json.dump(self.results, file)
