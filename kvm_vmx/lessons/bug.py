# SPDX-License-Identifier: GPL-2.0-only
"""Bugs of v4.19: the symptom is given, the line is to be found."""

from kvm_vmx.lessons import bug_cases
from kvm_vmx.lessons.errata import Erratum, load
from kvm_vmx.lessons.record import Cell, Picture, Record, choice, other_seed
from kvm_vmx.lessons.sources import Line, resolve
from kvm_vmx.lessons.terminal import WIDEST

TITLE = "a symptom of v4.19: which line does it?"
MINUTES = 30
SECRET = True
# The errata that can be seen in a run, each with the lines to read; the first one is it.
LINES = {
    "holes": [("get_evmcs_offset", "&vmcs_field_to_evmcs_1"),
              ("evmcs_write64", "get_evmcs_offset")],
    "host_rsp": [("vmx_vcpu_run", "current_evmcs.host_rsp"), ("vmx_vcpu_run", "asm_vmx_vcpu_run")],
    "perf_global_ctrl": [("add_atomic_switch_msr", "cpu_has_load_perf_global_ctrl"),
                         ("add_atomic_switch_msr_special", "vmcs_write64"),
                         ("evmcs_sanitize_exec_ctrls", "LOAD_IA32_PERF_GLOBAL_CTRL")],
    "encls": [("evmcs_sanitize_exec_ctrls", "PIN_BASED_POSTED_INTR"),
              ("vmx_vcpu_setup", "ENCLS_EXITING_BITMAP")],
    "stale_assist": [("vmx_exit", "cpu_online"), ("hardware_disable", "vmclear_local_loaded_vmcss"),
                     ("hv_cpu_die", "HV_X64_MSR_VP_ASSIST_PAGE")],
    "assist_not_zeroed": [("hv_cpu_init", "__vmalloc"),
                          ("hv_cpu_init", "HV_X64_MSR_VP_ASSIST_PAGE_ENABLE")],
    "memset_size": [("alloc_vmcs_cpu", "memset"), ("setup_vmcs_config", "vmcs_conf.size")],
    "clean_after_failure": [("vmx_vcpu_run", "evmcs_clean_fields_or"),
                            ("vmx_vcpu_run", "VMX_EXIT_REASONS_FAILED_VMENTRY")],
}
CASES = tuple(LINES)
# What the run beside it does otherwise.
CONTROL = {"memset_size": "memory that nobody used", "assist_not_zeroed": "memory that nobody used",
           "stale_assist": "the CPU online at rmmod"}
PLAIN = "plain VMCS"
ASSIST_PAGE = ("enlighten_vmentry", "current_nested_vmcs")


def drawn(found: bug_cases.Found, control: str) -> Picture:
    """Both runs side by side, filled step by step."""
    picture = Picture(["step", "what is seen", f"with {control}"], kind="twins")
    runs = [(step, ours, theirs)
            for (step, ours), (_, theirs) in zip(found.seen, found.control)]
    for shown in range(len(runs) + 1):
        picture.step(runs[shown - 1][0] if shown else "before it", [
            [Cell(step), Cell(ours, "" if ours == theirs else "bad"), Cell(theirs)] if n < shown
            else [Cell(step, "dim"), Cell("", "dim"), Cell("", "dim")]
            for n, (step, ours, theirs) in enumerate(runs)])
    return picture


def place(found: bug_cases.Found) -> str:
    """Where the field stands."""
    if found.group:
        return f"{found.field} of the eVMCS, clean group {found.group}"
    if found.field in ASSIST_PAGE:
        return f"{found.field} of the assist page, which has no clean groups"
    return f"{found.field} of the eVMCS, in no clean group of version 1"


def told(erratum: Erratum, line: Line, found: bug_cases.Found) -> list[str]:
    """The answer in words."""
    if not found.diverges:
        return [
            f"v4.19 has the erratum {erratum.name} here: {erratum.symptom}.", gone(found),
            f"Of v4.19: {plain(erratum.text)}",
            f"What became of it: {plain(erratum.upstream)}",
        ]
    if found.field == "HOST_RSP" and found.kvm is not None:
        values = f"KVM's is {-found.kvm} bytes below the one that L0 loads at the exit"
    else:
        values = f"KVM's value is {found.kvm:#x}, L0 goes by {found.l0:#x}"
    where = f"{line.function}(), {line.port_file}:{line.port_line}  "
    return [
        f"Erratum {erratum.name}: {erratum.symptom}.",
        where + line.port_text[:WIDEST - 2 - len(where)],
        f"{place(found)}; entry {found.entry} on cpu {found.cpu}: {values}.",
        plain(erratum.text),
        f"What became of it: {plain(erratum.upstream)}",
    ]


def gone(found: bug_cases.Found) -> str:
    """What is said of a run in which L0 goes by nothing else than what KVM means."""
    return "In this run L0 goes by what KVM means" + (
        ", and both columns agree" if found.seen == found.control else
        ", though the columns differ") + ": the port has been mended."


def plain(text: str) -> str:
    """Words without the marks of a page."""
    text = " ".join(text.split()).replace("`", "")
    return text.replace("[holes](#holes)", "see the erratum holes")


def run(seed: int, case: str | None = None) -> Record:
    """One erratum, chosen by the seed, beside a run where all is well."""
    dice = choice("bug", seed)
    hidden = dice.choice(CASES)
    case = case or hidden
    found = getattr(bug_cases, case)(dice)
    erratum, control = load()[case], CONTROL.get(case, PLAIN)
    line, = resolve(LINES[case][:1])
    return Record(
        "bug", seed, case, TITLE,
        about=["v4.19 has weaknesses, and the port keeps them. Nothing is broken on purpose here: "
               "this is the kernel's own code, on a Hyper-V that trusts what it is told. Whoever "
               "found these had a symptom like the one below, and the source."],
        run=[f"Twice the same steps; the second time with {control}. Where both columns agree all "
             "is well."],
        picture=drawn(found, control),
        question="Which function of v4.19 is at fault, at which line? Which field, of which clean "
                 "group, does L0 take other than KVM means it, and at which entry of which CPU "
                 "does that begin?",
        given={"control": control, **found.given,
               "seen": [list(step) for step in found.seen],
               "expected": [list(step) for step in found.control]},
        answer=told(erratum, line, found),
        values={"erratum": case, "function": line.function, "file": line.port_file,
                "line": line.port_line, "field": found.field, "group": found.group,
                "cpu": found.cpu, "entry": found.entry, "kvm": found.kvm, "l0": found.l0,
                "upstream": plain(erratum.upstream)},
        change=[f"kvm-vmx lesson bug --seed {other_seed(seed)}".ljust(47) + "another one",
                "Mend the line in kvm_vmx/l1, build, and run this seed again: it says that the "
                "port has been mended, and the exit status is 1.",
                "kvm-vmx compare FUNCTION --tree PATH           a function beside your kernel's",
                "grep -rn 'erratum:' kvm_vmx/l1                 gives them all away"],
        kernel=LINES[case],
        leaves_out="Where a real Hyper-V keeps its copies is not known: this one keeps as long as "
                   "the specification lets it.",
        secret=True,
        mended="" if found.diverges else gone(found),
    )
