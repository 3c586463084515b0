# SPDX-License-Identifier: GPL-2.0-only
"""The .config of a kernel: which symbols hold, as the preprocessor sees them."""

import re

from kvm_vmx.compare.mail import content
from kvm_vmx.compare.preprocessor import CONFIG
from kvm_vmx.console import Trouble
from kvm_vmx.streams import plain

SET = re.compile(r"(CONFIG_\w+)=([ym]|0x[0-9a-fA-F]{1,16}|\d{1,18})\s*")
UNSET = re.compile(r"# (CONFIG_\w+) is not set\s*")
CURE = "give the .config of a kernel, or NAME=NUMBER"
LEAST = 20  # symbols that any kernel's has


def read(path: str) -> dict[str, int]:
    """{symbol: value} of a .config: those it says to be set or unset, and 0 for each that
    `compare` knows and it does not name. A module is set as well: IS_ENABLED() asks for both."""
    found = {}
    for row in content(path, CURE).decode("utf-8", "replace").split("\n"):
        if hit := SET.fullmatch(row):
            found[hit[1]] = 1 if hit[2] in "ym" else int(hit[2], 0)
        elif hit := UNSET.fullmatch(row):
            found[hit[1]] = 0
    if len(found) < LEAST:
        raise Trouble(f"{plain(path)} is no .config of a kernel: it sets {len(found)} symbols: "
                      f"{CURE}")
    for name in CONFIG:
        if name.startswith("CONFIG_") and name not in DERIVED:
            found.setdefault(name, 0)
    return found


# What a later kernel has no symbol for, and what the compiler and not the .config says.
DERIVED = {"CONFIG_HAVE_JUMP_LABEL", "CONFIG_CC_HAS_ASM_GOTO", "CONFIG_KVM_HYPERV",
           "CONFIG_HYPERV_TSCPAGE"}
