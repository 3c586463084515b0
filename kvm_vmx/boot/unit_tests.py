# SPDX-License-Identifier: GPL-2.0-only
"""Runs an image of kvm-unit-tests, or one test of its vmx.flat, and says what the suite said."""

import dataclasses
import re

from kvm_vmx.boot import loader
from kvm_vmx.boot.board import Board

MEMORY, MEMORY_OF_EPT_ACCESS = 512 << 20, 2560 << 20    # ept_access wants a page of 1 GByte
SUMMARY = re.compile(r"SUMMARY: (\d+) tests(?:, (\d+) unexpected failures)?"
                     r"(?:, \d+ expected failures)?(?:, (\d+) skipped)?")
SKIPS = 38


@dataclasses.dataclass(frozen=True)
class UnitTestResult:
    """How a test ended: "pass", "fail", "skip" or "unfinished"; what the suite counted; and why
    it ended where that is not by its own exit port."""

    result: str
    checks: int
    failed: int
    why: str
    text: str
    instructions: int


def run(data: bytes, name: str, seconds: float = 60.0, profile: str = "bare",
        cpus: int = 1) -> UnitTestResult:
    """Boot vmx.flat with one test's name as its command line."""
    return run_image(data, "vmx.flat", name, seconds, profile, cpus)


def run_image(data: bytes, file: str, append: str = "", seconds: float = 60.0,
              profile: str = "bare", cpus: int = 1, test_device: bool = True) -> UnitTestResult:
    """Boot an image of that name. Some tests take a test device as a sign that they run on KVM."""
    sent: list[bytes] = []
    large = append.startswith("ept_access")
    board = Board(MEMORY_OF_EPT_ACCESS if large else MEMORY, cpus, profile, sent.append)
    loader.boot(board, data, file, append, test_device=test_device)
    end = board.run(seconds)
    text = b"".join(sent).decode("latin-1").replace("\r", "")
    counted = SUMMARY.findall(text)
    checks, failed = (int(counted[-1][0]), int(counted[-1][1] or 0)) if counted else (0, 0)
    if end.value is None:
        result = "unfinished"
    elif end.value == SKIPS:
        result = "skip"
    else:
        result = "pass" if end.value == 0 else "fail"
    return UnitTestResult(result, checks, failed, end.why, text, end.instructions["l1"]
                          + end.instructions["l2"])


def names(text: str) -> list[str]:
    """The tests that an image knows, from what it prints of each while it looks for one."""
    found = re.findall(r"^filter = vmx\.flat, test = (.+)$", text, re.M)
    return [name.replace(" ", "_") for name in dict.fromkeys(found)]
