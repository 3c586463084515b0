# SPDX-License-Identifier: GPL-2.0-only
# The L2 processor: fetch, decode, execute, until something leaves.
from kvm_vmx.abi.types cimport likely, u8, u32, u64, unlikely
from kvm_vmx.abi.virt_cpu cimport GPR_RSP
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.decode cimport (
    DECODED, LONGEST_INSTRUCTION, TOO_LONG, TRUNCATED, UNKNOWN, decode)
from kvm_vmx.l0.delivery cimport raise_fault
from kvm_vmx.l0.execute cimport execute
from kvm_vmx.l0.fetch cimport bytes_in_segment, fetch, linear_rip
from kvm_vmx.l0.operands cimport *
from kvm_vmx.l0.pending cimport begin, events_wait, restless, set_deadline, settle
from kvm_vmx.l0.state cimport *
from kvm_vmx.l0.translate cimport (
    fetch_right, flush_guest_physical, flush_translations, translate, translations_current)

cdef enum:
    OPCODE_IRET = 0xcf
    SHADOW = GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS
    SINGLE_STEP = 1 << 14


cdef void guest_flush_tlb(l0_vp *vp) noexcept nogil:
    flush_translations(vp)
    flush_guest_physical(vp)


# Fewer bytes than the instruction has: the segment ends, or the next page does not translate.
cdef int fetch_failed(l0_vp *vp, u64 rip, u32 have) noexcept nogil:
    if have >= LONGEST_INSTRUCTION or have >= bytes_in_segment(vp, rip):
        return fault(vp, VECTOR_GP, 0)
    if translate(vp, linear_rip(vp, rip + have), fetch_right(vp)) != NULL:
        return fault(vp, VECTOR_UD, 0)
    return L2_FAULTS if vp.fault.vector <= 31 else L2_LEAVES


cdef int fetch_and_decode(l0_vp *vp, l2_insn *insn) noexcept nogil:
    cdef u64 rip = vp.vmcs.f.guest_rip
    cdef u8 code[L0_LONGEST_CODE]
    cdef u32 have = fetch(vp, rip, code)
    cdef int how

    how = decode(vp, code, have, insn)
    if likely(how == DECODED):
        return L2_DONE
    if how == UNKNOWN:
        return fault(vp, VECTOR_UD, 0)
    return fetch_failed(vp, rip, have)


cdef inline bint is_software_interrupt(const l2_insn *insn) noexcept nogil:
    # INT3, INT n, INTO and INT1, which leave no single-step trap behind
    return insn.map == 0 and (0xcc <= insn.opcode <= 0xce or insn.opcode == 0xf1)


cdef void complete(l0_vp *vp, const l2_insn *insn, u32 shadow, u64 flags) noexcept nogil:
    vp.vmcs.f.guest_rip = vp.next_rip
    if insn.opcode != OPCODE_IRET or insn.map:
        vp.vmcs.f.guest_rflags &= ~<u64>FLAG_RF
    vp.vmcs.f.guest_interruptibility_info &= ~shadow
    if flags & FLAG_TF and not is_software_interrupt(insn):
        vp.vmcs.f.guest_pending_dbg_exceptions |= SINGLE_STEP
        vp.attention = 1
    mode_changed(vp)


# One instruction; False where it leaves L2.
cdef bint step(l0_vp *vp) noexcept nogil:
    cdef l2_insn insn
    cdef u32 shadow = vp.vmcs.f.guest_interruptibility_info & SHADOW
    cdef u64 flags = vp.vmcs.f.guest_rflags
    cdef bint traps = vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_TRAP_FLAG != 0
    cdef int status

    vp.unblocked_nmi = 0
    status = fetch_and_decode(vp, &insn)
    if status == L2_DONE:
        vp.next_rip = vp.vmcs.f.guest_rip + insn.length
        if vp.code_bits != 64:
            vp.next_rip &= <u64>0xffffffff
        status = execute(vp, &insn)
        if status == L2_DONE:
            complete(vp, &insn, shadow, flags)
    if status == L2_LEAVES or (status == L2_FAULTS and not raise_fault(vp)):
        return False
    if traps:
        vp.trap_pending = 1
        vp.attention = 1
    return True


cdef inline bint looks(const l0_vp *vp) noexcept nogil:
    # is there anything at this boundary?
    return vp.attention or events_wait(vp) or vp.counters.l2_instructions >= vp.deadline


# Whatever an entry may find changed, and the event that it injects; False where that leaves.
cdef bint look_around(l0_vp *vp) noexcept nogil:
    vp.familiar = 0
    translations_current(vp)
    mode_changed(vp)
    vp.attention = 0
    set_deadline(vp)
    return not restless(vp) or begin(vp)


# An exit of a tight loop leaves nothing to look at but what L1 then changes.
cdef inline void stay_familiar(l0_vp *vp) noexcept nogil:
    vp.familiar = vp.vmcs.f.secondary_vm_exec_control & SECONDARY_EXEC_ENABLE_VPID != 0 and \
        not vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER


# The loop: at each boundary what waits there, then an instruction or a row of simple ones.
cdef void guest_continue(l0_vp *vp) noexcept nogil:
    vp.familiar = 0
    while True:
        if unlikely(looks(vp)):
            if not settle(vp):
                return
        elif likely(vp.code_bits == 64):
            if run_simple(vp):
                stay_familiar(vp)
                return
            if unlikely(looks(vp)):
                continue
        vp.counters.l2_instructions += 1
        if not step(vp):
            return


cdef void guest_go_on(l0_vp *vp) noexcept nogil:
    translations_current(vp)
    mode_changed(vp)
    vp.attention = 1
    # the boundary's alarms, and the deadline of the next ones
    vp.deadline = vp.resumed_at = vp.counters.l2_instructions
    guest_continue(vp)


cdef void guest_begin(l0_vp *vp) noexcept nogil:
    if look_around(vp):
        guest_continue(vp)
