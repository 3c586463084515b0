# SPDX-License-Identifier: GPL-2.0-only
"""The VP assist page: how a VMCS becomes current by two stores and no instruction."""

from typing import TypeAlias, TypedDict

from kvm_vmx import Machine
from kvm_vmx.abi.constants import HV_X64_MSR_VP_ASSIST_PAGE
from kvm_vmx.lessons.evmcs import assist_page
from kvm_vmx.lessons.record import Cell, Picture, Record, choice, other_seed
from kvm_vmx.machine.guests import CPUID_LOOP

TITLE = "the assist page, and evmcs_load() against VMPTRLD"
MINUTES = 15
CASES = ()
KERNEL = [
    ("hv_cpu_init", "HV_X64_MSR_VP_ASSIST_PAGE"), ("hardware_enable", "hv_get_vp_assist_page"),
    ("evmcs_load", "current_nested_vmcs"), ("evmcs_load", "enlighten_vmentry"),
    ("vmcs_load", "evmcs_load"), ("vmx_vcpu_load", "vmcs_load"),
]
HIDDEN = 2      # of the moves, the last
Move: TypeAlias = tuple[int, int]       # which vCPU goes to which CPU


class CpuState(TypedDict):
    """What a CPU's assist page says, and what L0 goes by."""

    cpu: int
    msr: int | None
    enlighten_vmentry: int
    current_nested_vmcs: int
    active: int | None


def state(machine: Machine) -> list[CpuState]:
    """Each CPU: the MSR, the two words of its page that KVM writes, what L0 takes as active."""
    found: list[CpuState] = []
    for n in range(machine.cpus):
        page, active = assist_page(machine, n), machine.cpu(n).active_evmcs
        found.append({
            "cpu": n, "msr": machine.cpu(n).rdmsr(HV_X64_MSR_VP_ASSIST_PAGE).value,
            "enlighten_vmentry": page[40],
            "current_nested_vmcs": int.from_bytes(page[48:56], "little"),
            "active": active})
    return found


def drive(seed: int, enlightened: bool, picture: Picture | None = None
          ) -> tuple[dict[str, int], int, list[CpuState], list[Move], list[int]]:
    """The seeded program in one mode: (vmptrld executed, exits, final state, moves)."""
    dice = choice("assist", seed)
    cpus, vcpus = dice.randint(2, 3), dice.randint(2, 3)
    moves = [(dice.randrange(vcpus), dice.randrange(cpus)) for _ in range(dice.randint(4, 6))]

    def draw(caption: str) -> None:
        """Record the state of all CPUs."""
        if picture is not None:
            picture.step(caption, [[
                Cell(f"cpu {row['cpu']}"), Cell(f"{row['msr']:#x}"),
                Cell(str(row["enlighten_vmentry"])), Cell(f"{row['current_nested_vmcs']:#x}"),
                Cell("none" if row["active"] is None else f"{row['active']:#x}")]
                for row in state(machine)])

    with Machine(cpus=cpus) as machine:
        draw("boot")
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vm = kvm.create_vm(code=CPUID_LOOP)
        guests = [vm.create_vcpu(cpu=0) for _ in range(vcpus)]
        draw(f"{vcpus} vCPUs created")
        before, exits = machine.counters, 0
        for vcpu, cpu in moves:
            guests[vcpu].cpu = cpu
            exits += guests[vcpu].run(exits=10).exits
            draw(f"vCPU {vcpu} on cpu {cpu}")
        after = machine.counters
        where = [vcpu.vmcs_gpa for vcpu in guests]
        counts = {name: after[name] - before[name] for name in ("vmptrld", "vmclear")}
        end = state(machine)
    return counts, exits, end, moves, where


def left(end: list[CpuState], where: list[int], moves: list[Move]) -> str:
    """Which pages name a VMCS that has gone elsewhere, in words."""
    at = {gpa: 0 for gpa in where} | {where[vcpu]: cpu for vcpu, cpu in moves}
    stale = [row for row in end if at.get(row["current_nested_vmcs"], row["cpu"]) != row["cpu"]]
    used = {0, *(cpu for _, cpu in moves)}      # all were created on cpu 0
    reset = [row for row in end if row["cpu"] in used and not row["enlighten_vmentry"]]
    if reset:
        return (f"The page of cpu {reset[0]['cpu']} names nothing, though a vCPU was there: the "
                "port has been mended (v4.19 has the erratum two_pages).")
    if stale:
        return ("Nobody takes the pointer back when a vCPU goes: cpu "
                f"{stale[0]['cpu']}'s page still names {stale[0]['current_nested_vmcs']:#x}, which "
                "has gone elsewhere (erratum two_pages).")
    return ("Here each page names a VMCS that is on its CPU still. In v4.19 a page keeps the last "
            "one also where a vCPU has gone and none has come (its erratum two_pages).")


def run(seed: int, case: str | None = None) -> Record:
    """vCPUs that move between CPUs, under eVMCS and then under VMCS."""
    columns = ["CPU", "MSR", "enlighten_vmentry", "current_nested_vmcs", "active in L0"]
    solved = Picture(columns, kind="pages")
    counts, exits, end, moves, where = drive(seed, True, solved)
    plain, plain_exits, *_ = drive(seed, False)
    solved.places = [(f"{gpa:#x}", f"vCPU {n}") for n, gpa in enumerate(where)]
    picture = solved.copy()
    del picture.steps[-HIDDEN:]
    picture.hide(step.caption for step in solved.steps[-HIDDEN:])
    for each in (picture, solved):
        each.by_step()
    asked = choice("assist question", seed).choice([row["cpu"] for row in end])
    final = end[asked]
    return Record(
        "assist", seed, "", TITLE,
        about=["Each CPU has told L0 through MSR 0x40000073 where its VP assist page is; bit 0 "
               "enables it. From then on a VMCS becomes current by a store of its address there, "
               "which traps nowhere: L0 looks at the next VM entry. VMPTRLD is an instruction, and "
               "each one is a trap to L0.",
               "KVM remembers which VMCS it made current last on a CPU, and makes another one "
               "current where it needs that. A vCPU that goes on elsewhere leaves its old CPU by a "
               "VMCLEAR, and KVM forgets it there."],
        run=[f"{len(end)} CPUs, {len(where)} vCPUs, each run of 10 exits: " + ", ".join(
            f"vCPU {vcpu} on cpu {cpu}" for vcpu, cpu in moves) + ". All were created on cpu 0, "
             "one after another, which made each of them current there.",
             "eVMCSs at " + ", ".join(f"{gpa:#x}" for gpa in where) + "."],
        picture=picture,
        solved=solved,
        question=f"What does cpu {asked}'s page hold at the end? How many "
                 "VMPTRLD do these runs execute, and how many under the plain VMCS? How many "
                 "VMCLEAR, and why any?",
        given={"cpus": len(end), "vcpus": len(where), "moves": [list(move) for move in moves],
               "evmcs": where, "cpu": asked},
        answer=[f"enlighten_vmentry {final['enlighten_vmentry']}, current_nested_vmcs "
                f"{final['current_nested_vmcs']:#x}; L0's active one is "
                + ("none." if final["active"] is None else f"{final['active']:#x}."),
                f"{counts['vmptrld']} VMPTRLD and {counts['vmclear']} VMCLEAR under eVMCS, "
                f"{plain['vmptrld']} and {plain['vmclear']} under VMCS, for {exits} and "
                f"{plain_exits} exits. A vCPU that moves to another CPU is cleared on the old one "
                "in either mode: L0 must write back what it holds.",
                left(end, where, moves)],
        values={"current_nested_vmcs": final["current_nested_vmcs"], "vmptrld": counts["vmptrld"],
                "vmclear": counts["vmclear"], "vmptrld_plain": plain["vmptrld"]},
        change=[f"kvm-vmx lesson assist --seed {other_seed(seed)}",
                "kvm-vmx run --insn trap     what a trap costs"],
        constant=("vmptrld",),
        kernel=KERNEL,
        leaves_out="The overlay page of Hyper-V itself; profile tlfs-strict has it.",
    )
