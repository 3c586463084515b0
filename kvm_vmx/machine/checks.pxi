# SPDX-License-Identifier: GPL-2.0-only
# The checks of L0 as data, and what it has written down of one that refused.

cdef extern from "kvm_vmx/l0/entry/control_bits.h":
    ctypedef struct l0_control_bit "struct l0_control_bit":
        const char *name
        u32 mask
    const l0_control_bit *l0_control_bits
    enum:
        L0_NR_CONTROL_BITS

cdef extern from "kvm_vmx/l0/entry/check_groups.h":
    ctypedef struct l0_group_name "struct l0_group_name":
        const char *name
        u32 bit
    const l0_group_name *l0_group_names
    enum:
        L0_NR_GROUP_NAMES
    u32 l0_groups_of_check(u32 check) nogil

# How an entry that a check refuses ends, by enum l0_end.
_ENDS = ("fault", "VMfailInvalid", "VMfailValid", "VMfailValid 7", "VMfailValid 8",
         "exit 33", "exit 33, qualification 4", "exit 33, qualification 2", "exit 34",
         "#UD", "#GP", "VMfail", "status")
# An instruction as its refusal names it, by the word in its rows; others in capitals.
_HEADS = {"vmx": "VMX instruction", "rdmsr": "RDMSR of MSR {a:#x}",
          "wrmsr": "WRMSR of {value:#x} to MSR {a:#x}", "mov_to_cr": "MOV of {value:#x} to CR{a}",
          "vmcall": "hypercall {a:#x}, status {error}"}
# And what it looked at.
_FIELDS = {"rdmsr": "MSR {a:#x}", "wrmsr": "MSR {a:#x}", "mov_to_cr": "CR{a}"}
# The control words by what the names of their bits begin with.
_WORDS = {"PIN_BASED_": "PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_": "CPU_BASED_VM_EXEC_CONTROL",
          "SECONDARY_EXEC_": "SECONDARY_VM_EXEC_CONTROL", "VM_EXIT_": "VM_EXIT_CONTROLS",
          "VM_ENTRY_": "VM_ENTRY_CONTROLS"}


def checks() -> list[dict]:
    """One dict a check of VM entry, in the order of the rows: id, ends (how an entry that it
    refuses ends), field and other (VMCS fields, "" where there is none), groups (the clean groups
    of an eVMCS that it depends on, by these fields and by what else it looks at), section (of the
    SDM, volume 3C, or a rule), sentence."""
    return [row for row in _ROWS if not row["instruction"]]


def instruction_checks() -> list[dict]:
    """One dict a check of another instruction of L1: id, instruction ("vmx": any VMX instruction),
    ends ("#UD", "#GP", "VMfailInvalid", or "VMfail" and "status" with their number), section,
    sentence; of the rest as checks()."""
    return [row for row in _ROWS if row["instruction"]]


def _all_rows() -> list[dict]:
    return [{
        "id": l0_check_rows[i].id.decode(),
        "instruction": l0_check_rows[i].insn.decode(),
        "ends": _ENDS[l0_check_rows[i].end] + (
            f" {l0_check_rows[i].error}" if l0_check_rows[i].error else ""),
        "error": l0_check_rows[i].error,
        "field": _field(l0_check_rows[i].field_name),
        "other": _field(l0_check_rows[i].other_name),
        "groups": _groups(l0_groups_of_check(i)),
        "section": l0_check_rows[i].section.decode(),
        "sentence": l0_check_rows[i].sentence.decode(),
    } for i in range(1, <int>L0_NR_CHECKS)]


def control_bits() -> dict[str, dict[int, str]]:
    """The names of a control word's bits, by the word's field and the bit's number."""
    found = {field: {} for field in _WORDS.values()}
    for i in range(<int>L0_NR_CONTROL_BITS):
        name = l0_control_bits[i].name.decode()
        field = next(field for prefix, field in _WORDS.items() if name.startswith(prefix))
        found[field][int(l0_control_bits[i].mask).bit_length() - 1] = name
    return found


cdef tuple _groups(u32 bits):
    return tuple(l0_group_names[i].name.decode() for i in range(<int>L0_NR_GROUP_NAMES)
                 if l0_group_names[i].bit & bits)


cdef str _field(const char *name):
    text = name.decode()
    return "" if text == "0" else text


_ROWS = _all_rows()
_BITS = control_bits()


cdef refusal_of(const l0_refusal *found):
    """What L0 has written down, in words; None where that is nothing."""
    if found.check == CHECK_none:
        return None
    row = _ROWS[<int>found.check - 1]
    names = _BITS.get(row["field"], {})
    if row["instruction"]:
        noted = {"value": found.value, "a": found.a, "b": found.b, "error": row["error"]}
        word = row["instruction"]
        head = _HEADS.get(word, word.upper()).format_map(noted)
        row = {**row, "field": _FIELDS.get(word, "").format_map(noted),
               "head": f"L2's {head}" if found.from_l2 else head}
    return Refusal.made(
        row, names, found.value, found.other, found.a, found.b,
        found.must, found.may, found.msr)


cdef check_of(const l0_vp *vp, int check):
    """(row, sentence) of a check that has refused an entry: in full of the last one."""
    row = _ROWS[check - 1]
    if vp.refusal.check == <u32>check:
        return row, refusal_of(&vp.refusal).sentence
    return row, f"check {row['id']}"


cdef last_denial(const l0_vp *vp):
    """Why the last instruction that was refused was: a VM entry, or another since."""
    return refusal_of(&vp.refusal if vp.refusal.entry > vp.denied.entry else &vp.denied)


cdef last_refusal(const l0_vp *vp):
    """Why the processor's last entry was refused, None where it was not."""
    if vp.refusal.entry != vp.counters.vmlaunch + vp.counters.vmresume:
        return None
    return refusal_of(&vp.refusal)


cdef list all_refusals(l0_vp *vp):
    """Every check that refuses the VMCS of the processor, in the order of an entry."""
    cdef l0_refusal found[L0_NR_CHECKS]
    cdef u32 i, n = refusals(vp, found, L0_NR_CHECKS)

    return [refusal_of(&found[i]) for i in range(n)]
