# SPDX-License-Identifier: GPL-2.0-only
"""Decoded VMCSs as one self-contained page."""

from collections.abc import Sequence
from html import escape

from kvm_vmx import frame
from kvm_vmx.decode import html, text
from kvm_vmx.decode.result import State

STYLE = """
main { max-width: 70em; margin: 0 auto; padding: 1em 1.5em; }
h2 { border-bottom: 1px solid var(--rule); }
td, th { text-align: left; padding: .1em 1em .1em 0; vertical-align: top; }
td.v, code { font-family: ui-monospace, monospace; }
.refused { background: var(--bad-tint); padding: .4em .8em; margin: .4em 0; }
.taken { background: var(--good-tint); padding: .4em .8em; }
.noticed { background: var(--hot-tint); padding: .4em .8em; margin: .4em 0; }
small { color: var(--faint); }
"""


def page(states: Sequence[State]) -> str:
    """One page for all of them."""
    title = "kvm_vmx: a VMCS, decoded"
    body = "\n".join(f"<h1>{escape(text.heading(state))}</h1>\n{html.of_state(state)}"
                     for state in states)
    return frame.page(title, f"<main>\n{body}\n</main>", style=STYLE)
