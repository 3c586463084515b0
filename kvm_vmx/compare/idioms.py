# SPDX-License-Identifier: GPL-2.0-only
"""The idioms: what C and Cython say in different words, as data.

An idiom is a pattern of each side and the reason they mean the same. `$x` stands for one
expression, `$$x` for the remaining arguments of a call; what they stand for must agree in turn.
"""

from typing import NamedTuple


class Idiom(NamedTuple):
    """One rule: its name, C's words, Cython's words, why they agree."""

    name: str
    c: str
    cython: str
    why: str


EXPRESSIONS = (
    Idiom("truth", "$x", "$x != 0", "bint keeps a number as it is: it is made 0 or 1 by hand"),
    Idiom("truth", "!!$x", "$x != 0", "bint keeps a number as it is: it is made 0 or 1 by hand"),
    Idiom("bool", "true", "1", "a bint is set by number"),
    Idiom("bool", "false", "0", "a bint is set by number"),
    Idiom("log level", "printk(KERN_ERR $f, $$a)", "pr_err($f, $$a)", "Cython pastes no literals"),
    Idiom("log level", "printk(KERN_INFO $f, $$a)", "pr_info($f, $$a)", "Cython pastes no literals"),
    Idiom("log level", "printk(KERN_WARNING $f, $$a)", "pr_warn($f, $$a)",
          "Cython pastes no literals"),
    Idiom("per CPU", "per_cpu($v, $c)", "per_cpu_ptr($v, $c)[0]", "the same variable, by address"),
    Idiom("per CPU list", "&per_cpu($v, $c)", "per_cpu_list($v, $c)",
          "per_cpu_ptr() of a list head, under a name of its own for its type"),
)

STATEMENTS = (
    Idiom("void return", "return $f($$a);", "$f($$a)\nreturn",
          "Cython returns no value from a void function, not even a void one"),
    Idiom("online CPUs", "for_each_online_cpu($c) ;",
          "for $c in range(nr_cpu_ids()):\n    if not cpu_online($c):\n        continue",
          "Cython has no macros that loop"),
    Idiom("possible CPUs", "for_each_possible_cpu($c) ;",
          "for $c in range(nr_cpu_ids()):\n    if not cpu_possible($c):\n        continue",
          "Cython has no macros that loop"),
)

# Idioms that are rules of the engine and no patterns.
NAMES = {
    "cast": "a conversion that C makes by itself",
    "switch": "a switch is a chain of if and elif on one number",
    "global": "Cython names the globals that a function assigns",
    "pass": "an empty block",
    "doc": "a docstring",
    "hoisted": "declarations stand at the head of the function",
    "type": "a type of the same width and sign",
    "#if": "a condition of the configuration, tested where it folds away",
    "#else": "the empty stub that stands in the header for another configuration",
    "label": "a function of its own for the statements behind a label",
    "initialiser": "Cython has no designated initialisers: a function fills the table",
}
