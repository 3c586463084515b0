# SPDX-License-Identifier: GPL-2.0-only
"""CPUs that come and go: one without an assist page, and a vCPU that moves by VMCLEAR."""

from typing import Any, TypeAlias

from kvm_vmx import KernelBug, Machine
from kvm_vmx.abi.constants import HV_X64_MSR_VP_ASSIST_PAGE, X86_CR4_VMXE
from kvm_vmx.lessons.record import (
    TRACED, Cell, Named, Picture, Record, Wanted, choice, other_cases)
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.vcpu import Vcpu

TITLE = "a CPU without an assist page, and a vCPU that moves"
MINUTES = 20
# What meets the CPU that comes up.
CASES = {"new": "a VM, and no page yet", "again": "the same, and it comes twice",
         "short": "no memory for its page at first", "idle": "no VM",
         "bare": "no VM, and no memory for its page", "plain": "a module without enlightened VMCS"}
KERNEL = [
    ("hv_cpu_init", "HV_X64_MSR_VP_ASSIST_PAGE"), ("kvm_starting_cpu", "hardware_enable_nolock"),
    ("hardware_enable", "hv_get_vp_assist_page"), ("hardware_enable_nolock", "pr_info"),
    ("hardware_enable_all", "if hardware_enable_failed"), ("vmx_vcpu_load", "loaded_vmcs_clear"),
    ("loaded_vmcs_clear", "smp_call_function_single"), ("__loaded_vmcs_clear", "loaded_vmcs_init"),
    ("hardware_disable", "vmclear_local_loaded_vmcss"),
]
ORDERED = ("new", "again", "short")     # what goes wrong there is the order of the callbacks
CPUS, NEW = 2, 2                # CPUs that are online from the start; the one that comes up
EXITS = 10
# what is done, and with what
ScriptStep: TypeAlias = tuple[Any, ...]
PAGE = f"WRMSR {HV_X64_MSR_VP_ASSIST_PAGE:#x}"
SHOWN = ("VMXON", "VMXOFF", "VMCLEAR", "VMPTRLD", "VMLAUNCH", "VMRESUME")


def script(seed: int, case: str | None) -> tuple[
        str, list[ScriptStep], list[ScriptStep], list[ScriptStep]]:
    """(case, the steps before the CPU comes, those of its coming, those behind it)."""
    dice = choice("hotplug", seed)
    drawn = dice.choice(tuple(CASES))
    case = case or drawn
    first = dice.randrange(CPUS)
    moves = [("move", first, CPUS - 1 - first)]
    moves += [("move", dice.randrange(CPUS), dice.randrange(CPUS))
              for _ in range(dice.randint(1, 3))]
    who, back = dice.randrange(CPUS), dice.randrange(CPUS)
    coming: list[ScriptStep] = [("up", case in ("short", "bare"))]
    if case in ("again", "short"):
        coming += [("down",), ("up", False)]
    going = [("move", who, NEW), ("down",), ("move", who, back)]
    if case in ("idle", "bare"):
        return case, [("vm",), *moves, ("destroy",)], coming, [("vm",), *going]
    return case, [("vm",), *moves], coming, going


class Grid:
    """The machine, its vCPUs, and what each CPU has executed since the last look."""

    def __init__(self, machine: Machine, picture: Picture):
        self.machine, self.picture = machine, picture
        self.vcpus: list[Vcpu] = []
        self.cleared = [0] * machine.possible_cpus
        self.first = ""         # of page and VMX, what a CPU that came up had first; "": not both

    def executed(self) -> list[str]:
        """The VMX instructions of each CPU and its writes of the assist page's MSR, in order."""
        counts: list[dict[str, int]] = [{} for _ in range(self.machine.possible_cpus)]
        self.order = []         # the same of the CPU that comes up, one by one
        for record in self.machine.trace:
            name = record.instruction.upper()
            if name == "WRMSR" and record.operands[0] == HV_X64_MSR_VP_ASSIST_PAGE:
                name = PAGE
            elif name not in SHOWN:
                continue
            if record.cpu == NEW:
                self.order.append(name)
            mine = counts[record.cpu]
            mine[name] = mine.get(name, 0) + 1
        self.machine.start_trace(TRACED)
        return [", ".join(f"{count} {name}" if count > 1 else name for name, count in mine.items())
                for mine in counts]

    def draw(self, caption: str) -> None:
        """Record the state of all CPUs."""
        machine, rows = self.machine, []
        executed = self.executed()
        both = [name for name in self.order if name in (PAGE, "VMXON")]
        if len(both) == 2 and "VMXOFF" not in self.order:
            self.first = both[0]
        for n, done in enumerate(executed):
            here = [str(k) for k, vcpu in enumerate(self.vcpus) if vcpu.cpu == n]
            rows.append([
                Cell(f"cpu {n}"), Cell("yes" if machine.is_online(n) else "no"),
                Cell("yes" if machine.assist_page(n) else "no"),
                Cell("on" if machine.cpu(n).cr4 & X86_CR4_VMXE else "off"), Cell(" ".join(here)),
                Cell(done)])
        self.picture.step(caption, rows)

    def act(self, step: ScriptStep) -> str:
        """Do one step of the script, and count the VMCLEARs of moves and hotplug; its caption."""
        machine = self.machine
        before = [machine.cpu(n).counters()["vmclear"] for n in range(machine.possible_cpus)]
        what, *how = step
        try:
            caption: str = getattr(self, what)(*how)
            return caption
        finally:
            for n in range(machine.possible_cpus):
                if what not in ("vm", "destroy"):
                    self.cleared[n] += machine.cpu(n).counters()["vmclear"] - before[n]

    def vm(self) -> str:
        """A VM, and a vCPU on each of the CPUs that are online from the start."""
        module = self.machine.module
        assert module is not None
        self.guest = module.create_vm(code=CPUID_LOOP)
        self.vcpus = [self.guest.create_vcpu(cpu=n) for n in range(CPUS)]
        for vcpu in self.vcpus:
            vcpu.run(exits=EXITS)
        return "a VM, both vCPUs run"

    def destroy(self) -> str:
        """The VM goes."""
        self.guest.destroy()
        self.vcpus = []
        return "the VM is destroyed"

    def move(self, vcpu: int, cpu: int) -> str:
        """A vCPU goes on on a CPU, the one where it is or another."""
        self.vcpus[vcpu].cpu = cpu
        self.vcpus[vcpu].run(exits=EXITS)
        return f"vCPU {vcpu} runs on cpu {cpu}"

    def up(self, short: bool) -> str:
        """The new CPU comes up; short: it finds no memory for its page."""
        if short:
            self.machine.fail("vmalloc", 1)
        self.machine.online(NEW)
        return f"cpu {NEW} up, short of memory" if short else f"cpu {NEW} comes up"

    def down(self) -> str:
        """The new CPU goes down."""
        self.machine.offline(NEW)
        return f"cpu {NEW} goes down"


def drive(case: str, before: list[ScriptStep], coming: list[ScriptStep], after: list[ScriptStep],
          picture: Picture) -> Named:
    """The script; what the CPU that comes up says of itself, and what becomes of the vCPU. The
    picture ends before that, and a copy of it goes on."""
    with Machine(cpus=CPUS, possible_cpus=NEW + 1) as machine:
        machine.start_trace(TRACED)
        machine.insmod(enlightened_vmcs=case != "plain")
        grid = Grid(machine, picture)
        grid.draw("the module is loaded")
        for step in before:
            grid.draw(grid.act(step))
        grid.picture = picture.copy()
        for step in coming:
            grid.draw(grid.act(step))
        found = {"page": machine.assist_page(NEW) is not None,
                 "vmx": bool(machine.cpu(NEW).cr4 & X86_CR4_VMXE), "moved": "runs", "create_vm": 0}
        try:
            for step in after:
                grid.draw(grid.act(step))
        except KernelBug:
            found["moved"] = "kernel BUG"
        except OSError as refused:
            found["moved"], found["create_vm"] = "no VM", -(refused.errno or 0)
        # closing the machine unloads the module, unless the kernel has stopped
        found["disabled"] = bool(machine.counters["vmxoff"]) or not machine.oopsed
        found["first"] = grid.first
        found["log"] = sum("enabling virtualization" in line for line in machine.dmesg)
        return {**found, "vmclear": grid.cleared, "picture": grid.picture}


def told(found: Named) -> list[str]:
    """The answer in words."""
    says = [f"cpu {NEW} has {'a' if found['page'] else 'no'} page, VMX is "
            f"{'on' if found['vmx'] else 'off'}: the picture has what each CPU executed."]
    if found["moved"] == "kernel BUG":
        says.append("The vCPU that is moved there ends in a kernel BUG: VMX is not on, and nobody "
                    "has made that CPU's list of VMCSs: hardware_enable() returned -EFAULT before."
                    + (" KVM's callback comes before Hyper-V's, which allocates the page; by 6.12 "
                       "it is the other way round." if found["page"] else ""))
    elif found["moved"] == "no VM":
        says.append(f"create_vm() returns {found['create_vm']} (-EBUSY): hardware_enable() on cpu "
                    f"{NEW} returned -EFAULT, so the whole machine gets no VM.")
    else:
        says.append("The vCPU that is moved there runs.")
    if found["first"] == PAGE:
        says.append(mended(found))
    return [
        *says,
        f"The log says \"enabling virtualization on CPU{NEW} failed\" {found['log']} "
        f"time{'s' * (found['log'] != 1)}" + (
            ", and online() succeeded: kvm_starting_cpu() returns 0 whatever happens."
            if found["log"] else "."),
        f"VMCLEARs by moves and hotplug, CPU by CPU: {found['vmclear']}. A vCPU that goes on "
        "elsewhere is cleared where it was, by IPI; one whose CPU goes down is cleared by that "
        "CPU. Its next entry is a VMLAUNCH. One that stays costs nothing."]


def mended(found: Named) -> str:
    """What is said where a CPU that came up had its page before VMX."""
    if found["first"] != PAGE:
        return ""
    return (f"cpu {NEW} had its page before VMX was turned on there: the port has been mended "
            "(v4.19 has the erratum offline_order).")


def lines(case: str, found: Named) -> list[Wanted]:
    """KERNEL, with what this run does not come to."""
    reached = {"kvm_starting_cpu": case not in ("idle", "bare"),
               "hardware_enable_nolock": found["log"] > 0, "hardware_disable": found["disabled"]}
    return [(function, word, reached.get(function, True)) for function, word in KERNEL]


def words(step: ScriptStep) -> str:
    """A step to come."""
    what, *how = step
    if what == "move":
        return f"vCPU {how[0]} runs on cpu {how[1]}"
    if what == "up":
        return f"cpu {NEW} comes up{', and no memory for its page' if how[0] else ''}"
    return (f"cpu {NEW} goes down" if what == "down" else
            "a VM with vCPUs on cpus 0 and 1 is created and both run")


def run(seed: int, case: str | None = None) -> Record:
    """vCPUs that move, a CPU that comes up, and a vCPU that moves there."""
    case, before, coming, after = script(seed, case)
    picture = Picture(["CPU", "online", "page", "VMX", "vCPUs", "executed"], kind="cpus")
    found = drive(case, before, coming, after, picture)
    solved, to_come = found["picture"], [*coming, *after]
    for each in (picture, solved):
        each.by_step()
    # a page shows both with one slider: as many steps in each, however far the run gets
    picture.hide(words(step) for step in to_come)
    while len(solved.steps) < len(picture.steps):
        solved.step(f"never: {found['moved']}", solved.steps[-1].rows)
    return Record(
        "hotplug", seed, case, TITLE,
        about=["Two callbacks run on a CPU that comes up: KVM's enables VMX if there is a VM, and "
               "Hyper-V's allocates the assist page and tells L0 of it. Under enlightened VMCS, "
               "KVM needs the page: hardware_enable() returns -EFAULT without one. v4.19 calls "
               "KVM's before Hyper-V's. The first VM enables VMX on all CPUs that are online, and "
               "there is none where one of them refuses. A vCPU that runs where VMX is off is a "
               "kernel BUG. It may run on any other CPU; its VMCS is active on one."],
        run=[f"insmod enlightened_vmcs={int(case != 'plain')}; {CPUS} CPUs are online of "
             f"{NEW + 1}. Each run of a vCPU is {EXITS} exits.",
             "After the picture: " + "; ".join(words(step) for step in to_come) + "."],
        picture=picture,
        question=f"When cpu {NEW} is up (the last time): has it a page, is VMX on? How often does "
                 "the log say in the end that enabling virtualization failed? What becomes of the "
                 "vCPU that is moved there? How many VMCLEAR do all moves and hotplugs, those of "
                 "the picture included, execute on each CPU, as far as it gets?",
        given={"enlightened_vmcs": case != "plain", "before": [list(step) for step in before],
               "coming": [list(step) for step in coming], "after": [list(step) for step in after]},
        answer=told(found),
        values={name: found[name]
                for name in ("page", "vmx", "log", "moved", "create_vm", "vmclear")},
        change=other_cases("hotplug", seed, case, CASES),
        kernel=lines(case, found),
        leaves_out="Threads that race: a vCPU moves here when no other runs. The IPI is a call "
                   "that the other CPU executes at once.",
        solved=solved,
        mended=mended(found) if case in ORDERED else "",
    )
