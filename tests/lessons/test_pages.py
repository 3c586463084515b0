# SPDX-License-Identifier: GPL-2.0-only
"""The lessons as pages of a terminal: the golden texts, the options, the bad ones."""

import json
import pathlib
import re

import pytest
from command import kvm_vmx, kvm_vmx_json

from kvm_vmx.lessons import NAMES

GOLDEN = pathlib.Path(__file__).with_name("golden")
# Nobody's variant: neither the one that is run unasked nor one of the documentation's.
SEED = 20180423
# What the C compiler decides, and another one decides otherwise: sites, their bytes and distances.
PLACES = [
    (re.compile(r"(?m)^  \w+ #\d+ .* jmp \+0x.*\n"), ""), (re.compile(r"\s+"), " "),
    (re.compile(r"(?:\w+ #\d+|(?:[0-9a-f]{2} ){4}[0-9a-f]{2}|\b\d+\b)"), "N"),
]


def page(name, *options):
    """What a lesson prints, as a command of its own."""
    done = kvm_vmx("lesson", name, *options)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def neutral(name, text):
    """A page without what the compiler decides, and without where the port's lines stand."""
    text = re.sub(r"(\.p[yx][xd]):\d+  .*", r"\1", text)
    for pattern, word in PLACES if name == "key" else ():
        text = pattern.sub(word, text)
    return text


# Of these a process of its own prints the golden page, each time.
ALONE = NAMES[::6]


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_the_golden_page(name, request, said, soak):
    """A variant with its answer, character by character; by a command of its own some of them, and
    all in a soak."""
    line = name, "-c", "--seed", SEED
    text = neutral(name, page(*line) if soak or name in ALONE else said("lesson", *line))
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--golden"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_withheld_and_the_page_fits(said, name):
    line = "lesson", name, "--seed", 5
    shut, answered = said(*line), said(*line, "-c")
    assert shut != answered
    assert name not in ALONE or shut == said(*line)     # the others: as their golden pages
    assert max(map(len, answered.splitlines())) <= 100
    answer = re.search(r"\nThe answer\n(.*?)\n\n", shut, re.S)[1]
    assert answer == "  Work it out first; then run this again with -c."
    told = re.search(r"\nThe answer\n(.*?)\n\n", answered, re.S)[1]
    assert told not in shut and len(told) > 60


@pytest.mark.parametrize("name", NAMES)
def test_json(said_json, name):
    line = "lesson", name, "--seed", 3
    shut, answered = said_json(*line), said_json(*line, "-c")
    assert shut["schema"] == "kvm_vmx.lesson/1" and shut["lesson"] == name
    assert shut["answer"] is None and shut["explanation"] is None
    assert answered["answer"] and answered["given"] == shut["given"]
    assert len({len(step["rows"]) for step in shut["steps"]}) == 1


def test_the_list():
    listed = kvm_vmx_json("lesson")
    assert [lesson["name"] for lesson in listed["lessons"]] == list(NAMES)
    assert len(kvm_vmx("lesson").stdout.splitlines()) == len(NAMES) + 3


@pytest.mark.parametrize("options, words", [
    (["nothing"], "no lesson 'nothing': there are levels, vmcs"),
    (["detect", "--case", "moon"], "has no case 'moon': there are none, hypervisor"),
    (["key", "--case", "moon"], "has no case 'moon': it has none"),
    (["detect", "--seed", "-1"], "give a whole number from 0"),
    (["detect", "--seed", "x"], "give a whole number from 0"),
    (["detect", "--write", "x.py"], "takes no function"),
    (["detect", "--tree", "/nowhere"], "no such tree"),
])
def test_bad_input_is_one_line(told, options, words):
    done = told("lesson", *options)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and words in done.stderr


def test_lines_in_a_tree(said_json, tmp_path):
    """By function name, and with the tree's own line where a tree has it."""
    kvm = tmp_path / "arch/x86/kvm"
    kvm.mkdir(parents=True)
    (kvm / "vmx.c").write_text(
        "\n\nstatic int vmx_init(void)\n{\n\tstatic_branch_enable(&enable_evmcs);\n"
        "\treturn 0;\n}\n")
    lines = said_json("lesson", "detect", "--case", "none", "--tree", tmp_path)["lines"]
    by = {(line["function"], line["kernel_line"]) for line in lines}
    assert ("vmx_init", 5) in by and ("hv_cpu_init", 0) in by
    assert all(json.dumps(line["port_text"]) and line["port_line"] for line in lines)
