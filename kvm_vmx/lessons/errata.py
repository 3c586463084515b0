# SPDX-License-Identifier: GPL-2.0-only
"""The errata of v4.19 that the port keeps, from errata.toml, and docs/errata.md printed of them."""

import functools
import pathlib
import textwrap
import tomllib
from typing import NamedTuple

HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
# Errata of v4.19 that the port keeps

The port does what v4.19 does, weaknesses included. Each stands here under the name that marks it
in the source (`# erratum: NAME`): what happens, where, what became of it upstream, and the test in
[tests/l1/test_errata.py](../tests/l1/test_errata.py) that shows it. L0 is what notices.
`kvm-vmx lesson bug` runs some of them. This page is printed from
[kvm_vmx/lessons/errata.toml](../kvm_vmx/lessons/errata.toml).

| name | symptom | function |
|---|---|---|
"""
TAIL = """
### What the port does not inherit

| weakness of v4.19 | why it cannot show here |
|---|---|
| the enlightened MSR bitmap is also turned on for vmcs02, whose bitmap changes unannounced \
("Don't use Enlightened MSR Bitmap for L3", 5.17) | `alloc_loaded_vmcs` is v4.19's, but there is \
no nested VMX and so no vmcs02 |
| `vmx->host_rsp` belongs to the vCPU, not to the VMCS, so nested VMX must reset it (moved by 5.x) \
| one VMCS a vCPU |
"""


class Erratum(NamedTuple):
    """One weakness: what is seen, where it stands, what happens, what became of it."""

    name: str
    symptom: str
    functions: list[str]
    text: str
    upstream: str = ""


@functools.cache
def load() -> dict[str, Erratum]:
    """{name: Erratum}, in the order of the file."""
    table = tomllib.loads(pathlib.Path(__file__).with_name("errata.toml").read_text())
    return {name: Erratum(name, **row) for name, row in table.items()}


def page() -> str:
    """docs/errata.md."""
    errata = load().values()
    rows = "".join(
        f"| [{each.name}](#{each.name}) | {each.symptom} | "
        f"{', '.join(f'`{function}`' for function in each.functions)} |\n" for each in errata)
    sections = "".join(
        f"\n## {each.name}\n\n"
        + textwrap.fill(f"{each.text} {each.upstream}", 100, break_on_hyphens=False) + "\n"
        for each in errata)
    return HEAD + rows + sections + TAIL
