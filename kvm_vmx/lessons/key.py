# SPDX-License-Identifier: GPL-2.0-only
"""The static key: every site's bytes before and after one static_branch_enable()."""

from kvm_vmx import Machine
from kvm_vmx.lessons.record import Cell, Picture, Record, choice
from kvm_vmx.machine.guests import HALT
from kvm_vmx.machine.sites import Site

TITLE = "what a static key does to the code"
MINUTES = 15
CASES = ()
KERNEL = [
    ("vmcs_write64", "static_branch_unlikely"), ("vmx_init", "static_branch_enable"),
    ("jump_label_update", ""), ("vmx_exit", "static_branch_disable"),
]
SHOWN = 8
# Doors and benchmarks, which are not the kernel's.
OURS = ("bench_", "call_", "probe_")


def sites(machine: Machine) -> list[Site]:
    """The sites of enable_evmcs in the kernel's functions; nth is the place in the function."""
    found = [site for site in machine.keys()
             if site["key"] == "enable_evmcs" and not site["function"].startswith(OURS)]
    count: dict[str, int] = {}
    for site in sorted(found, key=lambda site: site["address"]):
        count[site["function"]] = site["nth"] = count.get(site["function"], 0) + 1
    return sorted(found, key=lambda site: (site["function"], site["nth"]))


def run(seed: int, case: str | None = None) -> Record:
    """Load without the key, with it, and without it again."""
    dice = choice("key", seed)
    with Machine(cpus=2) as machine:
        states = []
        for on in (False, True, False):
            kvm = machine.insmod(enlightened_vmcs=on)
            kvm.create_vm(code=HALT).create_vcpu()
            states.append(sites(machine))
            kvm.rmmod()
    before, after, again = states
    functions = sorted({site["function"] for site in after})
    some = set(dice.sample(functions, min(SHOWN, len(functions))))
    shown = [n for n, site in enumerate(after) if site["function"] in some and site["nth"] == 1]
    asked = after[dice.choice(shown)]
    name = f"{asked['function']} #{asked['nth']}"
    changed = sum(old["bytes"] != new["bytes"] for old, new in zip(before, after))
    distance = asked["target"] - asked["address"]
    return Record(
        "key", seed, "", TITLE,
        about=["if (static_branch_unlikely(&enable_evmcs)) is no load and no test: it is five "
               "bytes of text, a NOP while the key is off and a JMP while it is on. The compiler "
               "leaves a row in the jump table for each: site, target, key. These are the bytes of "
               "this very process."],
        run=["insmod enlightened_vmcs=0, then 1, then 0 again, each time with a vCPU, whose fields "
             "go through these branches; all sites are read.",
             f"{len(shown)} sites of enable_evmcs in functions of the kernel's are here. kvm-vmx "
             "keys lists all there are; those of functions named call_, probe_ or bench_ are our "
             "own."],
        picture=drawn(shown, states, asked),
        solved=drawn(shown, states),
        question=f"{name} reads {asked['bytes'].hex(' ')} with the key on. How many bytes behind "
                 "the site's first one does the processor go on, with the key on and with it off? "
                 "How many of the kernel's sites did one static_branch_enable() change?",
        given={"site": name, "bytes": asked["bytes"].hex(),
               "before": [site["bytes"].hex() for site in before],
               "after": [site["bytes"].hex() for site in after]},
        answer=[f"On: {distance} bytes, which the jump table's target says as well as the JMP: 5 "
                f"for its own length and {distance - 5} in its last four bytes, little-endian. "
                "Off: 5, the next instruction.",
                f"{changed} of {len(after)} sites changed. After the third load "
                f"{sum(a['bytes'] == b['bytes'] for a, b in zip(before, again))} of them read as "
                "they did at first."],
        values={"on": distance, "off": len(asked["bytes"]), "changed": changed},
        change=["kvm-vmx keys                 every site, with its address",
                "valgrind runs a copy of the code that it made before the patch: under it, without "
                "--smc-check=all, the key reads on while the code still takes the off path: a "
                "stale cache of code, as lesson stale shows one of data."],
        constant=("off", "changed"),
        kernel=KERNEL,
        leaves_out="The int3 that keeps other processors out of a half-written site: here the "
                   "processors stand still while the text changes.",
    )


def assembly(site: Site) -> str:
    """The site's one instruction."""
    if site["state"] == "nop":
        return "nop"
    return f"jmp +{int.from_bytes(site['bytes'][1:], 'little', signed=True) + 5:#x}"


def drawn(shown: list[int], states: list[list[Site]], asked: Site | None = None) -> Picture:
    """The chosen sites in each of the three states, without where the one that is asked for goes
    on while the key is on."""
    def instruction(site: Site) -> Cell:
        """What a disassembler says."""
        return Cell("?", "dim") if site is asked else Cell(assembly(site))

    picture = Picture(["site", "bytes", "instruction", "goes on"], kind="code", paper=1)
    captions = ("the key is off", "static_branch_enable(&enable_evmcs)", "the key is off again")
    for caption, state in zip(captions, states):
        picture.step(caption, [
            [Cell(f"{state[n]['function']} #{state[n]['nth']}"), Cell(state[n]["bytes"].hex(" ")),
             instruction(state[n]),
             Cell("next instruction" if state[n]["state"] == "nop" else "at the target")]
            for n in shown])
    off, on = states[:2]
    picture.table = ["site", "off", "", "on", ""], [
        [Cell(f"{off[n]['function']} #{off[n]['nth']}"), Cell(off[n]["bytes"].hex(" ")),
         Cell(assembly(off[n]), "dim"), Cell(on[n]["bytes"].hex(" "), "hot"), instruction(on[n])]
        for n in shown]
    return picture
