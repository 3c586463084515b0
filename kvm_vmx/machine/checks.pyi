# SPDX-License-Identifier: GPL-2.0-only
# The types of the module beside it, printed by dev/stubs.py.
from typing import Any
from kvm_vmx.machine.refusal import Refusal as Refusal

def checks() -> list[dict[str, Any]]: ...
def control_bits() -> dict[str, dict[int, str]]: ...
