# SPDX-License-Identifier: GPL-2.0-only
"""Prints kvm_vmx/abi/numbers.py: the exit reasons and field encodings of asm/vmx.h, for Python."""

import re

from cheaders import ROOT

HEADER = "include/asm/vmx.h"
NUMBER = r"(0x[0-9a-f]+|\d+),"
OPENING = '''\
# SPDX-License-Identifier: GPL-2.0-only
"""The numbers of asm/vmx.h by their kernel names; dev/regenerate.py prints them."""

from kvm_vmx.abi.named import Named


class ExitReason(Named, what="exit reason"):
    """Why L2 left: a basic VM-exit reason (SDM volume 3, appendix C), an int."""

{reasons}


class Field(Named, what="field"):
    """A field of the VMCS by its encoding (SDM volume 3, appendix B), an int."""

{fields}
'''


def rows(pattern, text):
    """The members of an enumeration, in the header's order."""
    return "\n".join(f"    {name} = {value}" for name, value in re.findall(pattern, text, re.M))


def files():
    """path: text of what is printed."""
    text = (ROOT / HEADER).read_text()
    fields = re.search(r"^enum vmcs_field \{\n(.*?)^\};", text, re.M | re.S)[1]
    return {"kvm_vmx/abi/numbers.py": OPENING.format(
        reasons=rows(rf"^\tEXIT_REASON_(\w+) = {NUMBER}", text),
        fields=rows(rf"^\t(\w+) = {NUMBER}", fields))}
