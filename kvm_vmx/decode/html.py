# SPDX-License-Identifier: GPL-2.0-only
"""A decoded VMCS as a piece of a page: what refuses it, its fields by area, its clean bits."""

from html import escape

from kvm_vmx.decode import text
from kvm_vmx.decode.result import State, bits_of, ends, wrong_bits
from kvm_vmx.machine import pictures

def of_state(state: State) -> str:
    """One VMCS, without the frame."""
    parts = [f"<p><small>{escape(note)}</small></p>" for note in state.notes]
    parts.append(_verdict(state))
    if state.form == "evmcs":
        parts.append(pictures.of_page(state.page.ljust(pictures.PAGE, b"\0"), state.at or 0,
                                      state.clean_fields or 0))
    for name, names in state.by_area().items():
        rows = "\n".join(_row(state, field) for field in names)
        parts.append(f"<h2>{name}</h2>\n<table>{rows}</table>")
    if state.others:
        rows = "\n".join(f"<tr><td>{escape(name)}</td><td class=\"v\">{value:#x}</td></tr>"
                         for name, value in state.others.items())
        parts.append(f"<h2>beside the fields</h2>\n<table>{rows}</table>")
    return "\n".join(parts)


def _verdict(state: State) -> str:
    if state.form == "assist":
        return f"<p>{escape(' '.join(text.verdict(state)))}</p>"
    said = ["<h2>the checks of VM entry</h2>",
            f"<p><small>asked of {escape(state.against)}</small></p>"]
    for refusal in state.refusals:
        wrong = wrong_bits(refusal)
        more = f"<br>the wrong bits: {escape(', '.join(wrong))}" if len(wrong) > 1 else ""
        said.append(f'<div class="refused"><b>{escape(refusal.id)}</b> '
                    f"<small>{escape(ends(refusal.id))}</small><br>{escape(str(refusal))}{more}</div>")
    if not state.refusals:
        said.append('<div class="taken">no check refuses it</div>')
    said += [f'<div class="noticed">{escape(lint.explain())}</div>' for lint in state.lints]
    if state.missing:
        said.append(f"<p><small>not known: {escape(', '.join(state.missing))}</small></p>")
    return "\n".join(said)


def _row(state: State, field: str) -> str:
    value, group = state.fields[field], state.group(field)
    clean = ", ".join(filter(None, (group, state.clean(field))))
    bits = "".join(f"<br><small>{escape(bit)}</small>" for bit in bits_of(field, value))
    return (f'<tr><td>{field}</td><td class="v">{escape(text.value_of(field, value))}{bits}</td>'
            f"<td><small>{clean}</small></td></tr>")
