# SPDX-License-Identifier: GPL-2.0-only
"""Docstrings as Markdown: the names in them stand as code."""

import contextlib
import inspect
import re

import kvm_vmx

# What is code in a sentence: a call, a name with a dot or an underscore, a class of ours. What
# stands in quotes or as code already stays as it is.
OURS = "|".join(name for name in kvm_vmx.__all__ if re.search("[a-z][A-Z]", name)
                or name in ("Decoded", "HyperV", "Lint", "Machine", "Outcome", "Vcpu"))
NAME = (r'`[^`]*`|"[^"]*"|(?<![\w.])(?:[A-Za-z_]\w*\.)*\w+\((?:[^()]|\([^()]*\))*\)'
        r"|(?<![\w.])[A-Za-z]\w+(?:(?:\.\w+)+|_\w+(?:\.\w+)*)|\b\w+Error\b"
        rf"|\b(?:{OURS})\b(?!-)")
# And where a clause begins with it, a parameter or an attribute of what is described.
CLAUSE = r"|(?:^|(?<=[.;:,] ))(?:{})(?= (?:are|count|has|is|looks|may|names|says|what|which)\b)"


def prose(thing):
    """The paragraphs of a docstring."""
    own = [name for name in dir(thing) if not name.startswith("_")]
    with contextlib.suppress(TypeError, ValueError):
        own += inspect.signature(thing).parameters
    names = re.compile(f"({NAME}{CLAUSE.format('|'.join(own or ['$']))})")
    for part in (inspect.getdoc(thing) or "").split("\n\n"):
        yield "".join(map(shown, names.split(" ".join(part.split())), range(len(part))))


def shown(text, n):
    """A piece of a paragraph; every second one is a name, or what stays as it is."""
    if n % 2 and text[0] not in '`"':
        return f"`{text}`"
    return text if text.startswith("`") else text.replace("<", "&lt;").replace("*", "\\*")
