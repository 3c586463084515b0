# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport likely, s8, u8, u16, u32, u64, unlikely
from kvm_vmx.abi.vmx cimport EXIT_REASON_CPUID
from kvm_vmx.l0.operands cimport gpr
from kvm_vmx.l0.pending cimport SLICE, events_of, events_wait
from kvm_vmx.l0.state cimport L2_TLB_ENTRIES, l0_vp, l2_tlb_entry
from kvm_vmx.l0.translate cimport fetch_right, note_exit

cdef enum:
    OPCODE_CPUID = 0xa20f
    OPCODE_JMP_SHORT = 0xeb
    OPCODE_MOV_IMMEDIATE = 0xb8
    # where the last eight bytes of a page begin
    LAST_WORD = 4096 - 8

cdef extern from *:
    """
    /* the first bytes of an instruction, whatever their alignment */
    static inline u64 eight_bytes(const u8 *code)
    {
        u64 value;

        __builtin_memcpy(&value, code, 8);
        return value;
    }
    """
    u64 eight_bytes(const u8 *code) noexcept nogil

# Run L2 from an entry until it leaves; from an instruction in the middle; and from the
# boundary on at which it was stopped.
cdef void guest_begin(l0_vp *vp) noexcept nogil
cdef void guest_continue(l0_vp *vp) noexcept nogil
cdef void guest_go_on(l0_vp *vp) noexcept nogil
cdef void guest_flush_tlb(l0_vp *vp) noexcept nogil

# The instructions of a tight loop of 64-bit code, which no event depends on, until another
# one or an event comes; True where the last one has left L2.
cdef inline bint run_simple(l0_vp *vp) noexcept nogil:
    cdef u64 rip = vp.vmcs.f.guest_rip
    cdef u64 at = rip & 0xfff, target, word
    cdef u64 done = 0, most = vp.deadline - vp.counters.l2_instructions
    cdef const l2_tlb_entry *entry = &vp.tlb[(rip >> 12) & (L2_TLB_ENTRIES - 1)]
    cdef const u8 *code = entry.host
    cdef u32 number
    cdef bint left = False

    if unlikely((entry.tag ^ rip) >> 12 or not entry.tag & fetch_right(vp)):
        return False
    # to the end of the page, where the eight bytes would run over it
    while at <= LAST_WORD:
        word = eight_bytes(code + at)
        number = <u8>word - <u32>OPCODE_MOV_IMMEDIATE
        if <u16>word == OPCODE_CPUID:
            done += 1
            note_exit(vp, EXIT_REASON_CPUID, 2, 0)
            left = True
            break
        if <u8>word == OPCODE_JMP_SHORT:
            target = at + 2 + <u64><s8>(word >> 8)
            # without a jump the page soon ends: here is time enough to look for events
            if unlikely(target > LAST_WORD or events_wait(vp)):
                break
            at = target
        elif number < 8:
            gpr(vp, number)[0] = <u32>(word >> 8)
            at += 5
        else:
            break
        done += 1
        if unlikely(done >= most):
            break
    vp.vmcs.f.guest_rip = rip & ~<u64>0xfff | at
    vp.counters.l2_instructions += done
    return left

# Run L2 until it leaves: the VMCS says why.
cdef inline void guest_run(l0_vp *vp) noexcept nogil:
    if unlikely(not vp.familiar or
                vp.nr_alarms | events_of(&vp.cpu) | vp.tlb_context[0] ^ vp.vmcs.f.ept_pointer):
        guest_begin(vp)
        return
    vp.entered_at = vp.counters.l2_instructions
    vp.deadline = vp.entered_at + SLICE
    if unlikely(not run_simple(vp)):
        guest_continue(vp)
