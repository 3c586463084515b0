# SPDX-License-Identifier: GPL-2.0-only
"""v4.19's vmx.c as it was before enlightened VMCSs, or as a configuration without Hyper-V has it.

Constructs are taken out by what they name: blocks of CONFIG_HYPERV, conditions on the static key,
what hands the assembly of vmx_vcpu_run() an address for its stack pointer.
"""

import re

from kvm_vmx.errors import BuildError

FILE = "arch/x86/kvm/vmx.c"
KEY = "enable_evmcs"
BLOCK = re.compile(r"^#\s*if IS_ENABLED\(CONFIG_HYPERV\)$")
CONDITION = re.compile(r"^[ \t]*if \((?=[^;{]*\b" + KEY + r"\b)", re.M)
COMMENT = re.compile(r"^[ \t]*/\*(?:(?!\*/).)*\*/[ \t]*\n\Z", re.M | re.S)
NAMED = re.compile(rf"^(?:DEFINE_STATIC_KEY_FALSE\({KEY}\);|#define (?:current_evmcs|"
                   r"KVM_EVMCS_VERSION) .*|#include \"vmx_evmcs\.h\")\n\n?", re.M)
POINTER = "evmcs_rsp"


def without_config(text: str) -> str:
    """The file as it is compiled without CONFIG_HYPERV."""
    if "IS_ENABLED(CONFIG_HYPERV)" not in text:
        raise BuildError(f"{FILE} of this tree has nothing of CONFIG_HYPERV: give one of v4.19")
    return text.replace("IS_ENABLED(CONFIG_HYPERV)", "0")


def before(text: str) -> str:
    """The file without what enlightened VMCSs have brought; BuildError where it has another
    shape."""
    text = NAMED.sub("", _without_blocks(text))
    while hit := CONDITION.search(text):
        text = _without_condition(text, hit.start(), hit.end())
    text = _without_pointer(text)
    if left := re.search(rf".*\b(?:{KEY}|{POINTER}|current_evmcs)\b.*", text):
        raise BuildError(f"{FILE} of this tree has a shape that v4.19's has not: {left[0].strip()}")
    return text


def _without_blocks(text: str) -> str:
    lines, kept, depth = text.split("\n"), [], 0
    for line in lines:
        if depth:
            depth += bool(re.match(r"#\s*if", line)) - bool(re.match(r"#\s*endif", line))
        elif BLOCK.match(line):
            depth = 1
        else:
            kept.append(line)
    if len(kept) == len(lines):
        raise BuildError(f"{FILE} of this tree has nothing of CONFIG_HYPERV: give one of v4.19")
    return "\n".join(kept)


def _closing(text: str, at: int) -> int:
    """Behind the bracket that closes the one before at."""
    depth = 1
    while depth:
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(text[at], 0)
        at += 1
    return at


def _statement(text: str, at: int) -> tuple[int, int]:
    """Where the statement behind a place begins and ends."""
    start = at + len(text[at:]) - len(text[at:].lstrip())
    end = _closing(text, start + 1) if text[start] == "{" else text.index(";", start) + 1
    return start, end


def _without_condition(text: str, start: int, behind: int) -> str:
    """A condition on the key never holds: what it guards goes, with the comment on it, and what
    stands behind its else stays."""
    head, indent = text[:start], text[start:behind].removesuffix("if (")
    _, end = _statement(text, _closing(text, behind))
    other = re.match(r"\s*else\b", text[end:])
    kept = ""
    if other:
        first, end = _statement(text, end + other.end())
        kept = f"{indent}{text[first:end]}\n"
    rest = text[end:].removeprefix("\n")
    said = COMMENT.search(head)
    if said and not kept:
        head = head[:said.start()]
    if not kept and head.endswith("\n\n"):
        rest = rest.removeprefix("\n")
    return head + kept + rest


def _without_pointer(text: str) -> str:
    """The assembly writes the stack pointer down by VMWRITE alone."""
    text = re.sub(rf"^[ \t]*{POINTER} = [^;]*;\n\n?", "", text, flags=re.M)
    text = re.sub(rf", {POINTER};|, \"S\"\({POINTER}\)",
                  lambda hit: ";" if hit[0].endswith(";") else "", text)
    return re.sub(r"(?<=\n)(\s*\"mov %%\" _ASM_SP \", %c\[host_rsp\].*\n)(?:.*\n)*?"
                  r"(?=.*VMWRITE_RSP)", r"\1", text)
