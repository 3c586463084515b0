# SPDX-License-Identifier: GPL-2.0-only
"""Unloading: what vmx_exit() takes back, and what an entry finds where it did not."""

from kvm_vmx import KernelBug, Machine, fields
from kvm_vmx.abi.constants import MSR_IA32_VMX_BASIC
from kvm_vmx.lessons.evmcs import assist_page
from kvm_vmx.lessons.record import (
    TRACED, Cell, Named, Picture, Record, choice, other_cases, other_seed)
from kvm_vmx.machine.guests import CPUID_LOOP, HALT
from kvm_vmx.machine.outcome import VMfailValid
from kvm_vmx.machine.vcpu import Vcpu

TITLE = "what vmx_exit() takes back, and what a missing reset does"
MINUTES = 20
# How one page is missed: v4.19 passes over a CPU that is offline, or L1's memory is written.
CASES = {"offline": "v4.19's own hole (erratum stale_assist)",
         "written": "the words written back after rmmod"}
KERNEL = [
    ("vmx_exit", "cpu_online"), ("vmx_exit", "current_nested_vmcs"),
    ("vmx_exit", "enlighten_vmentry"), ("vmx_exit", "static_branch_disable"),
    ("hardware_disable", "vmclear_local_loaded_vmcss"), ("hv_cpu_init", "__vmalloc"),
    ("vmcs_load", "evmcs_load"),
]
NOBODY = "no vCPU"
EPT_POINTER = next(row["offset"] for row in fields() if row["vmcs_field"] == "EPT_POINTER")
# The new guests' memory: what it takes of the old pages decides what the stale one holds.
SIZES = (64 << 10, 2 << 20, 8 << 20)


class ReloadPlan:
    """What a seed asks for."""

    def __init__(self, seed: int, case: str | None):
        dice = choice("reload", seed)
        drawn = dice.choice(tuple(CASES))
        self.case = case or drawn
        self.cpus = dice.randint(2, 3)
        self.missed = dice.randrange(1, self.cpus)
        self.before = [dice.randrange(self.cpus) for _ in range(dice.randint(1, 2))]
        self.before.insert(dice.randrange(len(self.before) + 1), self.missed)
        self.after = [dice.randrange(self.cpus) for _ in range(dice.randint(0, 2))]
        self.own = dice.randrange(len(self.after) + 1)
        self.after.insert(self.own, self.missed)
        self.size = dice.choice(SIZES)


def number(data: bytes) -> int:
    """Little-endian bytes."""
    return int.from_bytes(data, "little")


class PageWatch:
    """The machine's pages after each step, and whose they are."""

    def __init__(self, machine: Machine, picture: Picture):
        self.machine, self.picture = machine, picture
        self.vcpus: list[Vcpu] = []

    def owner(self, gpa: int) -> str:
        """Whose VMCS stands at gpa now."""
        for n, vcpu in enumerate(self.vcpus):
            if vcpu.vmcs_gpa == gpa:
                return f"vCPU {n}"
        return NOBODY

    def draw(self, caption: str) -> None:
        """Record the state of all CPUs."""
        machine, rows = self.machine, []
        key = "on" if machine.module and machine.module.enable_evmcs else "off"
        for n in range(machine.possible_cpus):
            page, active = assist_page(machine, n), machine.cpu(n).active_evmcs
            gpa = number(page[48:56])
            rows.append([
                Cell(f"cpu {n}" if machine.is_online(n) else f"cpu {n} off"), Cell(key),
                Cell(str(page[40])), Cell(f"{gpa:#x}"), Cell(self.owner(gpa) if gpa else "-"),
                Cell(f"{number(machine.memory.read(gpa, 4)):#x}" if gpa else "-"),
                Cell("none" if active is None else f"{active:#x}")])
        self.picture.step(caption, rows)

    def load(self, enlightened: bool, code: bytes, cpus: list[int], size: int = 2 << 20) -> None:
        """insmod, a VM, a vCPU on each of the CPUs."""
        kvm = self.machine.insmod(enlightened_vmcs=enlightened)
        vm = kvm.create_vm(code=code, memory=size)
        self.vcpus = [vm.create_vcpu(cpu=cpu) for cpu in cpus]

    def unload(self) -> None:
        """rmmod."""
        assert self.machine.module is not None
        self.machine.module.rmmod()
        self.vcpus = []


def miss(watch: PageWatch, plan: ReloadPlan) -> int:
    """rmmod that does not reset one page; what that names then, 0: it has been reset, too."""
    machine, cpu = watch.machine, plan.missed
    gpa = machine.assist_page_gpa(cpu)
    assert gpa is not None
    kept = machine.memory.read(gpa + 40, 16)
    if plan.case == "offline":
        machine.offline(cpu)
    watch.unload()
    if plan.case == "offline":
        machine.online(cpu)
    else:
        machine.memory.write(gpa + 40, kept)
    words = machine.memory.read(gpa + 40, 16)
    missed = number(words[8:]) if words[0] else 0
    watch.draw("rmmod, one page missed" if missed else "rmmod, no page missed")
    return missed


def enter(machine: Machine, vcpu: Vcpu) -> Named:
    """Run the vCPU, and see which VMCS its first entry took and how that ended."""
    machine.start_trace(TRACED)
    try:
        ended = vcpu.run(exits=1).reason
    except KernelBug:
        ended = "kernel BUG"
    machine.stop_trace()
    trace = list(machine.trace)
    at, entry = next((n, record) for n, record in enumerate(trace)
                     if record.instruction == "vmlaunch")
    good = entry.outcome.ok
    refused = sum(record.instruction == "vmwrite" and not record.outcome.ok
                  for record in trace[at:])
    # a pointer that was refused has been tried, and no more
    taken = good or isinstance(entry.outcome, VMfailValid)
    return {"entered": entry.operands[0] if taken else None,
            "outcome": type(entry.outcome).__name__, "error": getattr(entry.outcome, "error", None),
            "exit": entry.results[0] & 0xFFFF if good else None, "kvm": ended,
            "refused": refused}


def drive(plan: ReloadPlan, enlightened: bool, picture: Picture) -> Named:
    """Reload after a reset, and with a page that was missed, into either mode. The picture ends
    before the last run, and a copy of it goes on."""
    with Machine(cpus=plan.cpus) as machine:
        watch = PageWatch(machine, picture)
        watch.load(True, CPUID_LOOP, plan.before)
        for vcpu in watch.vcpus:
            vcpu.run(exits=5)
        watch.draw("enlightened_vmcs=1, run")
        used = [n for n in range(plan.cpus) if any(assist_page(machine, n)[40:56])]
        watch.unload()
        watch.draw("rmmod")
        reset = sum(not any(assist_page(machine, n)[40:56]) for n in used)
        watch.load(False, HALT, plan.after, plan.size)
        control = enter(machine, watch.vcpus[plan.own])
        watch.draw("enlightened_vmcs=0, run")
        watch.unload()
        watch.load(True, CPUID_LOOP, plan.before)
        for vcpu in watch.vcpus:
            vcpu.run(exits=5)
        watch.draw("enlightened_vmcs=1, run")
        pointer = miss(watch, plan)
        watch.load(enlightened, HALT, plan.after, plan.size)
        watch.draw(f"enlightened_vmcs={int(enlightened)}")
        page = machine.memory.read(pointer, 4096) if pointer else bytes(4096)
        found = {"pointer": pointer, "vmcs": watch.vcpus[plan.own].vmcs_gpa,
                 "owner": watch.owner(pointer) if pointer else NOBODY,
                 "revision": number(page[:4]),
                 "ept_pointer": number(page[EPT_POINTER:EPT_POINTER + 8]),
                 "basic": (machine.cpu(0).rdmsr(MSR_IA32_VMX_BASIC).value or 0) & 0x7FFFFFFF}
        watch.picture = picture.copy()
        end = enter(machine, watch.vcpus[plan.own])
        if machine.oopsed:
            watch.picture.step("kernel BUG", watch.picture.steps[-1].rows)
        else:
            watch.draw(f"run on cpu {plan.missed}")
    return {"control": control, "reset": reset, "found": found, "end": end,
            "picture": watch.picture}


def told(found: Named, end: Named) -> str:
    """The entry on the CPU whose page was to be missed, in words."""
    if not found["pointer"]:
        took = ("the VMCS that VMPTRLD has made current" if end["entered"] == found["vmcs"] else
                "no VMCS" if end["entered"] is None else f"{end['entered']:#x}")
        return (f"The page names nothing any more: VMLAUNCH on that CPU takes {took}, and ends "
                f"with {end['outcome']}.")
    nobody = found["owner"] == NOBODY
    what = "VMLAUNCH on that CPU takes " + (
        "a page that is no vCPU's any more" if nobody else f"the page of {found['owner']}")
    if end["outcome"] == "VMfailInvalid":
        bad = found["revision"] not in (1, found["basic"])
        return f"{what}: " + (
            f"revision {found['revision']:#x} is neither 1 nor VMX_BASIC's, so L0 refuses: "
            if bad else "L0 refuses: ") + "VMfailInvalid. KVM has no VMCS to read an error from."
    if end["outcome"] == "VMfailValid":
        empty = " but a vCPU that has not run yet has no EPT pointer:" * (not found["ept_pointer"])
        return f"{what}: the revision passes,{empty} VMfailValid ({end['error']})."
    if end["entered"] == found["vmcs"]:
        return (f"{what}, by luck its own: L0 writes back the VMCS that VMPTRLD made current, and "
                "reads it as an eVMCS. It runs"
                + (f", and {end['refused']} VMWRITE{'s' * (end['refused'] != 1)} behind the entry "
                   f"fail{'s' * (end['refused'] == 1)}." if end["refused"] else "."))
    guest = "a guest that is gone" if nobody else f"{found['owner']}'s guest"
    return (f"{what}, and enters: L2 is {guest} and exits with reason {end['exit']}. Whatever KVM "
            "does with that exit, it does to the wrong vCPU.")


def asked(plan: ReloadPlan, found: Named) -> str:
    """The question, by what the page names."""
    names = (f"but cpu {plan.missed}'s page names {found['pointer']:#x}, where the EPT pointer "
             f"reads {found['ept_pointer']:#x}; revisions that L0 accepts are 1 and VMX_BASIC's "
             f"{found['basic']:#x}. Which of the two does VMLAUNCH take, and how does it end?"
             if found["pointer"] else
             f"and cpu {plan.missed}'s page names nothing. Which VMCS does VMLAUNCH take, and how "
             "does it end?")
    return (f"Now vCPU {plan.own} runs. VMPTRLD loads its {found['vmcs']:#x}, {names} How, had the "
            "module been loaded with enlightened_vmcs=1? Of how many CPUs did the first unload "
            "take the two words back?")


def elsewhere(found: Named, again: Named) -> str:
    """The same entry after a load with enlightened VMCS, in words."""
    takes = "no VMCS" if again["entered"] is None else f"{again['entered']:#x}"
    what = f"With enlightened_vmcs=1 VMLAUNCH takes {takes} and the run ends with {again['kvm']}"
    return what + (
        ": evmcs_load() stores both words before the first entry"
        + (", so only a load without enlightened VMCS meets the old ones."
           if found["pointer"] else ".")
        if again["entered"] == again["vmcs"] else ".")


def nothing_missed(plan: ReloadPlan, found: Named) -> str:
    """What is said where no page was missed."""
    if found["pointer"]:
        return ""
    return (f"The page of cpu {plan.missed}, which was offline while the module went, names "
            "nothing either: the port has been mended (v4.19 has the erratum stale_assist here).")


def run(seed: int, case: str | None = None) -> Record:
    """Unload and reload with a good reset, then with one page that was missed."""
    plan = ReloadPlan(seed, case)
    picture = Picture(["CPU", "key", "enlighten_vmentry", "current_nested_vmcs", "whose",
                       "revision", "active in L0"], kind="pages")
    result = drive(plan, False, picture)
    other = drive(plan, True, Picture(picture.columns))
    again = {**other["end"], "vmcs": other["found"]["vmcs"]}
    named = {cell.text for step in picture.steps for row in step.rows for cell in (row[3], row[-1])}
    named |= {f"{result['found']['vmcs']:#x}"}
    for each in (picture, result["picture"]):
        each.places = [(gpa, "") for gpa in sorted(named - {"0x0", "none"})]
        each.by_step(["CPU", "key", "enl.", "current_nested_vmcs", "whose", "revision",
                      "active in L0"])
    picture.hide([f"run on cpu {plan.missed}"])
    found, end = result["found"], result["end"]
    how = ("is offline while the module goes; v4.19's vmx_exit() resets the pages of CPUs that are "
           "online" if plan.case == "offline" else
           "has its two words written back after rmmod, as if vmx_exit() had not zeroed them")
    return Record(
        "reload", seed, plan.case, TITLE,
        about=["While a CPU's assist page says enlighten_vmentry, each VM entry there takes the "
               "VMCS that current_nested_vmcs names, whatever VMPTRLD has loaded. The module's "
               "VMCSs go with it, and the page stays with the CPU: vmx_exit() must zero the two "
               "words, and turn the key off, before anybody enters without enlightened VMCS."],
        run=[f"{plan.cpus} CPUs; vCPUs on CPUs {plan.before}, then on {plan.after} with "
             f"{plan.size >> 10} KB of guest memory.",
             f"At the second rmmod cpu {plan.missed} {how}. Then insmod enlightened_vmcs=0, and "
             f"vCPU {plan.own} runs on that CPU a guest that halts."],
        picture=picture,
        question=asked(plan, found),
        given={"cpus": plan.cpus, "before": plan.before, "after": plan.after, "cpu": plan.missed,
               "vcpu": plan.own, "guest_memory": plan.size, **found},
        answer=[told(found, end),
                f"To KVM the run ended with {end['kvm']}; after the good reset it had ended with "
                f"{result['control']['kvm']}.",
                elsewhere(found, again),
                f"CPUs whose two words the first unload took back: {result['reset']}. Later "
                "kernels reset a page when virtualization is disabled on its CPU, not when the "
                "module goes."],
        values={"entered": end["entered"], "outcome": end["outcome"], "error": end["error"],
                "kvm": end["kvm"], "kvm_enlightened": again["kvm"],
                "entered_enlightened": again["entered"], "reset": result["reset"]},
        change=[*other_cases("reload", seed, plan.case, CASES),
                f"kvm-vmx lesson reload --seed {other_seed(seed)}    other owners of the page"],
        constant=("kvm_enlightened",),
        kernel=KERNEL,
        leaves_out="A real processor keeps a VMCS page in a format of its own. Here it is laid out "
                   "like an eVMCS, so that an entry through one may run instead of failing.",
        solved=result["picture"],
        mended=nothing_missed(plan, found),
    )
