# SPDX-License-Identifier: GPL-2.0-only
"""Source that is no C at all: every file is read to its end, and no answer is an exception."""

import random

import pytest
from snippets import PAIRS, port_function
from test_drift import STRUCT, TABLE

from kvm_vmx.compare import rows
from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.layout import field_table, layout
from kvm_vmx.compare.trees import Tree

JUNK = ["", "{", "}", "(", ")", ";", "#if", "#else", '"', "'", "struct {", "int", "[", "case",
        "switch (", "do", "\\", "\0", "é", "/*", "for (", "=", ",", ":"]


def spoiled(source, random):
    """The source with some pieces of it exchanged for junk."""
    for _ in range(random.randrange(1, 12)):
        place = random.randrange(len(source))
        source = source[:place] + random.choice(JUNK) + source[place + random.randrange(12):]
    return source


@pytest.mark.parametrize("name", PAIRS)
def test_functions(name):
    c, text = PAIRS[name]
    port, chance = port_function(text), random.Random(name)
    for _ in range(150):
        file = CFile("junk.c", spoiled(c, chance))
        for found in file.places:
            kernel = file.function(found)
            if kernel is not None:
                rows.compare(kernel, port, True)


def test_layouts_and_tables():
    chance = random.Random(1024)
    for _ in range(400):
        source = spoiled(STRUCT % "u64 tail;" + TABLE % "", chance)
        tree = Tree("junk", {"arch/x86/include/asm/hyperv-tlfs.h": source})
        layout(tree)
        field_table(tree)


@pytest.mark.parametrize("source", ["", "\n", "{", "}", "}}}}", "#endif\n#else\n#elif 1\n",
                                    "\0" * 9, "int f(void) {" * 50, "(" * 3000 + "{",
                                    "#if " + "(" * 5000,
                                    "int f(void) " + "{" * 5000 + "}" * 5000,
                                    "int f(void) { x = " + "(" * 5000 + ")" * 5000 + "; }"])
def test_corners(source):
    file = CFile("junk.c", source)
    for found in file.places:
        file.function(found)
