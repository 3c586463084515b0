# SPDX-License-Identifier: GPL-2.0-only
"""What became of one statement of a patch."""

import dataclasses

from kvm_vmx.compare.mail import Remark
from kvm_vmx.compare.patch_lines import Statement
from kvm_vmx.compare.patch_places import Spot
from kvm_vmx.compare.units import Function, Unit

KINDS = ("same", "renamed", "moved", "changed", "changed after review", "not taken up")


@dataclasses.dataclass(eq=False)
class Fate:
    """One statement of a patch, what stands for it in the tree and in the port, and why."""

    statement: Statement
    kind: str
    kernel: Spot | None = None
    port: Spot | None = None
    why: str = ""
    remark: Remark | None = None
    unit: Unit | None = None
    home: Function | None = None
