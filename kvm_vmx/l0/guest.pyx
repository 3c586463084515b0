# SPDX-License-Identifier: GPL-2.0-only
# The L2 processor: a decoder of the instructions that matter here.
from kvm_vmx.abi.types cimport likely, s8, s32, s64, u8, u16, u32, u64, unlikely
from kvm_vmx.abi.virt_cpu cimport GPR_RSP
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.direct_flush cimport CALL_DONE, CALL_EXITS, direct_call
from kvm_vmx.l0.state cimport *
from kvm_vmx.l0.translate cimport fetch_page, flush_translations, translations_current
from libc.string cimport memset

cdef enum:
    FLAG_CF = 0x1
    FLAG_PF = 0x4
    FLAG_AF = 0x10
    FLAG_ZF = 0x40
    FLAG_SF = 0x80
    FLAG_OF = 0x800
    FLAG_RF = 0x10000
    FLAG_IF = 0x200

    UD_VECTOR = 6
    GP_VECTOR = 13

    # Without an exit for so long, the timer of the L1 kernel would have fired.
    TIMER_VECTOR = 0xec
    INSTRUCTIONS_A_TICK = 1 << 24
    LONGEST_INSTRUCTION = 15

cdef extern from *:
    """
    typedef volatile u32 volatile_u32;
    """
    ctypedef u32 volatile_u32


cdef void guest_flush_tlb(l0_vp *vp) noexcept nogil:
    flush_translations(vp)


cdef inline void leave(l0_vp *vp, u32 reason, u32 length, u64 qualification) noexcept nogil:
    memset(&vp.exit, 0, sizeof(vp.exit))
    vp.exit.reason = reason
    vp.exit.instruction_len = length
    vp.exit.qualification = qualification


cdef void leave_for_interrupt(l0_vp *vp, u32 vector) noexcept nogil:
    leave(vp, EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0)
    if vp.vmcs.f.vm_exit_controls & VM_EXIT_ACK_INTR_ON_EXIT:
        vp.exit.intr_info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_EXT_INTR | vector
        vp.cpu.intr = 0


cdef void leave_for_nmi(l0_vp *vp) noexcept nogil:
    leave(vp, EXIT_REASON_EXCEPTION_NMI, 0, 0)
    vp.exit.intr_info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_NMI_INTR | 2
    vp.cpu.nmi = 0


cdef bint asynchronous_exit(l0_vp *vp) noexcept nogil:
    # Events of the host first, then the windows that L1 waits for.
    cdef u32 intr = (<volatile_u32 *>&vp.cpu.intr)[0]
    cdef u32 controls = vp.vmcs.f.cpu_based_vm_exec_control
    cdef u32 blocking = vp.vmcs.f.guest_interruptibility_info

    if (<volatile_u32 *>&vp.cpu.nmi)[0] and \
            vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_NMI_EXITING:
        leave_for_nmi(vp)
        return True
    if intr and vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_EXT_INTR_MASK:
        leave_for_interrupt(vp, intr & 0xff)
        return True
    if controls & CPU_BASED_VIRTUAL_NMI_PENDING and not blocking & (
            GUEST_INTR_STATE_NMI | GUEST_INTR_STATE_MOV_SS):
        leave(vp, EXIT_REASON_NMI_WINDOW, 0, 0)
        return True
    if controls & CPU_BASED_VIRTUAL_INTR_PENDING and vp.vmcs.f.guest_rflags & FLAG_IF and \
            not blocking & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS):
        leave(vp, EXIT_REASON_PENDING_INTERRUPT, 0, 0)
        return True
    return False


cdef void deliver(l0_vp *vp, u32 info, u32 error_code) noexcept nogil:
    # No gate of an IDT is read: an event that nobody intercepts ends in a triple fault.
    leave(vp, EXIT_REASON_TRIPLE_FAULT, 0, 0)


cdef void raise_exception(l0_vp *vp, u32 vector, u32 error_code, bint has_error) noexcept nogil:
    cdef u32 info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_HARD_EXCEPTION | vector

    if has_error:
        info |= INTR_INFO_DELIVER_CODE_MASK
    if vp.vmcs.f.exception_bitmap >> vector & 1:
        leave(vp, EXIT_REASON_EXCEPTION_NMI, 0, 0)
        vp.exit.intr_info = info
        vp.exit.intr_error_code = error_code
    else:
        deliver(vp, info, error_code)


cdef inline u64 *gpr(l0_vp *vp, u32 number) noexcept nogil:
    return &vp.vmcs.f.guest_rsp if number == GPR_RSP else &vp.regs[number]


cdef inline void set_flags_incdec(l0_vp *vp, u64 result, u64 sign, bint overflow, bint aux) noexcept nogil:
    # INC and DEC leave FLAG_CF alone.
    cdef u64 flags = vp.vmcs.f.guest_rflags & ~<u64>(FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

    if not result:
        flags |= FLAG_ZF
    if result & sign:
        flags |= FLAG_SF
    if overflow:
        flags |= FLAG_OF
    if aux:
        flags |= FLAG_AF
    if not (parity(<u8>result)):
        flags |= FLAG_PF
    vp.vmcs.f.guest_rflags = flags


cdef extern from *:
    """
    #define parity(byte) __builtin_parity(byte)
    """
    int parity(u8 byte) noexcept nogil


cdef bint condition(u64 flags, u32 code) noexcept nogil:
    cdef bint taken

    if code >> 1 == 0:
        taken = (flags & FLAG_OF) != 0
    elif code >> 1 == 1:
        taken = (flags & FLAG_CF) != 0
    elif code >> 1 == 2:
        taken = (flags & FLAG_ZF) != 0
    elif code >> 1 == 3:
        taken = (flags & (FLAG_CF | FLAG_ZF)) != 0
    elif code >> 1 == 4:
        taken = (flags & FLAG_SF) != 0
    elif code >> 1 == 5:
        taken = (flags & FLAG_PF) != 0
    elif code >> 1 == 6:
        taken = ((flags & FLAG_SF) != 0) != ((flags & FLAG_OF) != 0)
    else:
        taken = (flags & FLAG_ZF) != 0 or ((flags & FLAG_SF) != 0) != ((flags & FLAG_OF) != 0)
    return taken != (code & 1)


cdef bint inc_dec(l0_vp *vp, u32 number, bint dec, u32 size, bint high) noexcept nogil:
    # A register of 1, 2, 4 or 8 bytes; high: AH, CH, DH or BH.
    cdef u64 *reg = gpr(vp, number & 3 if high else number)
    cdef u32 shift = 8 if high else 0
    cdef u64 mask = ~<u64>0 if size == 8 else (<u64>1 << 8 * size) - 1
    cdef u64 sign = <u64>1 << (8 * size - 1)
    cdef u64 old = reg[0] >> shift & mask
    cdef u64 result = (old - 1 if dec else old + 1) & mask

    set_flags_incdec(vp, result, sign, result == (sign - 1 if dec else sign),
                     (old & 15) == (0 if dec else 15))
    store(reg, result, size, shift)
    return True


cdef inline void store(u64 *reg, u64 value, u32 size, u32 shift) noexcept nogil:
    # 4 bytes clear the upper half, as in 64-bit mode; 1 and 2 leave the rest alone.
    cdef u64 mask

    if size == 8:
        reg[0] = value
    elif size == 4:
        reg[0] = value & <u64>0xffffffff
    else:
        mask = ((<u64>1 << 8 * size) - 1) << shift
        reg[0] = reg[0] & ~mask | (value << shift) & mask


cdef inline u64 immediate(const u8 *code, u32 size) noexcept nogil:
    cdef u64 value = 0
    cdef u32 i

    for i in range(size):
        value |= <u64>code[i] << 8 * i
    return value


cdef u32 copy_code(l0_vp *vp, u64 rip, u8 *code) noexcept nogil:
    # The instruction's bytes, across a page boundary where it must be; how many there are.
    cdef u32 have = 0
    cdef const u8 *page

    while have < LONGEST_INSTRUCTION:
        page = fetch_page(vp, rip + have)
        if page == NULL:
            break
        code[have] = page[(rip + have) & 4095]
        have += 1
    return have


cdef bint execute(l0_vp *vp, const u8 *code, u32 have) noexcept nogil:
    # One instruction; False where it leaves the guest.
    cdef u32 at = 0, rex = 0, size = 4, op, number, code2
    cdef bint operand16 = False
    cdef u64 rip = vp.vmcs.f.guest_rip
    cdef s64 distance

    while at < have and (code[at] == 0x66 or code[at] == 0xf2 or code[at] == 0xf3 or
                         code[at] == 0x2e or code[at] == 0x36 or code[at] == 0x3e or
                         code[at] == 0x26 or code[at] == 0x64 or code[at] == 0x65):
        operand16 |= code[at] == 0x66
        at += 1
    if at < have and code[at] & 0xf0 == 0x40:
        rex = code[at]
        at += 1
    if have < at + 1:
        return truncated(vp, have)
    if rex & 8:
        size = 8
    elif operand16:
        size = 2
    op = code[at]
    at += 1

    if op == 0x90 and not rex & 1:
        pass
    elif 0xb8 <= op <= 0xbf:
        if have < at + size:
            return truncated(vp, have)
        store(gpr(vp, op & 7 | (rex & 1) << 3), immediate(code + at, size), size, 0)
        at += size
    elif 0xb0 <= op <= 0xb7:
        if have < at + 1:
            return truncated(vp, have)
        number = op & 7 | (rex & 1) << 3
        if not rex and number >= 4:
            store(gpr(vp, number & 3), code[at], 1, 8)
        else:
            store(gpr(vp, number), code[at], 1, 0)
        at += 1
    elif op == 0xc7 or op == 0xc6 or op == 0xff or op == 0xfe:
        if have < at + 1:
            return truncated(vp, have)
        if code[at] < 0xc0:
            return undefined(vp)
        number = code[at] & 7 | (rex & 1) << 3
        code2 = code[at] >> 3 & 7
        at += 1
        if op == 0xc7 and code2 == 0:
            code2 = 2 if size == 2 else 4
            if have < at + code2:
                return truncated(vp, have)
            store(gpr(vp, number), <u64><s64><s32>immediate(code + at, code2)
                  if size == 8 else immediate(code + at, code2), size, 0)
            at += code2
        elif op == 0xff and code2 < 2:
            inc_dec(vp, number, code2 == 1, size, False)
        elif op == 0xfe and code2 < 2:
            inc_dec(vp, number, code2 == 1, 1, not rex and number >= 4)
        else:
            return undefined(vp)
    elif op == 0xeb or 0x70 <= op <= 0x7f:
        if have < at + 1:
            return truncated(vp, have)
        distance = <s8>code[at]
        at += 1
        if op == 0xeb or condition(vp.vmcs.f.guest_rflags, op & 15):
            rip += <u64>distance
    elif op == 0xe9:
        if have < at + 4:
            return truncated(vp, have)
        rip += <u64><s64><s32>immediate(code + at, 4)
        at += 4
    elif op == 0xf4:
        if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_HLT_EXITING:
            leave(vp, EXIT_REASON_HLT, at, 0)
        else:
            # Halted until an interrupt: the next one is the host's timer.
            vp.vmcs.f.guest_rip = rip + at
            leave_for_interrupt(vp, TIMER_VECTOR)
        return False
    elif op == 0x0f:
        if have < at + 1:
            return truncated(vp, have)
        op = code[at]
        at += 1
        if op == 0xa2:
            leave(vp, EXIT_REASON_CPUID, at, 0)
            return False
        elif op == 0x01:
            if have < at + 1:
                return truncated(vp, have)
            if code[at] == 0xc1:
                number = direct_call(vp, at + 1)
                if number != CALL_EXITS:
                    return number == CALL_DONE
                leave(vp, EXIT_REASON_VMCALL, at + 1, 0)
                return False
            return undefined(vp)
        elif op == 0x1f:
            number = nop_length(code + at, have - at)
            if number == 0:
                return truncated(vp, have)
            at += number
        elif 0x80 <= op <= 0x8f:
            if have < at + 4:
                return truncated(vp, have)
            if condition(vp.vmcs.f.guest_rflags, op & 15):
                rip += <u64><s64><s32>immediate(code + at, 4)
            at += 4
        else:
            return undefined(vp)
    else:
        return undefined(vp)
    vp.vmcs.f.guest_rip = rip + at
    return True


cdef u32 nop_length(const u8 *code, u32 have) noexcept nogil:
    # The ModRM byte of a long NOP, its SIB byte and displacement; 0 where bytes are missing.
    cdef u32 length = 1

    if have < 1:
        return 0
    if code[0] < 0xc0:
        if code[0] & 7 == 4:
            if have < 2:
                return 0
            length += 1
            if code[0] >> 6 == 0 and code[1] & 7 == 5:
                length += 4
        elif code[0] >> 6 == 0 and code[0] & 7 == 5:
            length += 4
        if code[0] >> 6 == 1:
            length += 1
        elif code[0] >> 6 == 2:
            length += 4
    return length if length <= have else 0


cdef bint undefined(l0_vp *vp) noexcept nogil:
    raise_exception(vp, UD_VECTOR, 0, False)
    return False


cdef bint truncated(l0_vp *vp, u32 have) noexcept nogil:
    # Fifteen bytes without an end are #GP; fewer mean that the next page did not translate,
    # and the walk has said so.
    if have >= LONGEST_INSTRUCTION:
        raise_exception(vp, GP_VECTOR, 0, True)
    return False


cdef void guest_run(l0_vp *vp) noexcept nogil:
    cdef u64 budget = INSTRUCTIONS_A_TICK
    cdef u64 rip
    cdef const u8 *page
    cdef u8 code[16]
    cdef u32 have

    translations_current(vp)
    if unlikely(vp.vmcs.f.vm_entry_intr_info_field & <u32>INTR_INFO_VALID_MASK):
        deliver(vp, vp.vmcs.f.vm_entry_intr_info_field, vp.vmcs.f.vm_entry_exception_error_code)
        return
    if unlikely(not vp.vmcs.f.vm_entry_controls & VM_ENTRY_IA32E_MODE or
                not vp.vmcs.f.guest_cs_ar_bytes & VMX_AR_L_MASK):
        # the decoder knows 64-bit code alone
        undefined(vp)
        return
    while True:
        if unlikely((<volatile_u32 *>&vp.cpu.intr)[0] or (<volatile_u32 *>&vp.cpu.nmi)[0] or
                    vp.vmcs.f.cpu_based_vm_exec_control & (
                        CPU_BASED_VIRTUAL_NMI_PENDING | CPU_BASED_VIRTUAL_INTR_PENDING)):
            if asynchronous_exit(vp):
                return
        if unlikely(budget == 0):
            leave_for_interrupt(vp, TIMER_VECTOR)
            return
        budget -= 1
        rip = vp.vmcs.f.guest_rip
        page = fetch_page(vp, rip)
        if unlikely(page == NULL):
            return
        vp.counters.l2_instructions += 1
        if likely(rip & 4095 <= 4096 - LONGEST_INSTRUCTION):
            if not execute(vp, page + (rip & 4095), LONGEST_INSTRUCTION):
                return
        else:
            have = copy_code(vp, rip, code)
            if not execute(vp, code, have):
                return
