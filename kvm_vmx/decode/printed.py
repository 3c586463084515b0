# SPDX-License-Identifier: GPL-2.0-only
"""What decode() gives: a decoded VMCS that prints itself."""

from typing import Any

from kvm_vmx.decode import html, text
from kvm_vmx.decode.result import State


class Decoded(State):
    """A VMCS, or assist page, of a source; str() is all of it as text."""

    def __str__(self) -> str:
        return "\n".join(text.of_state(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return html.of_state(self)
