# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/emulate.c, and for the parts of the MMU that need an emulator: the
# instructions of 64-bit code by which a driver reaches a device, MOV and OUTS. All others fail.
from kvm_vmx.abi.types cimport gpa_t, gva_t, u8, u32, u64, ulong
from kvm_vmx.l1.emulate_decode cimport decode, decoded, read_guest_byte
from kvm_vmx.l1.kvm_cache_regs cimport (
    kvm_register_read, kvm_register_write, kvm_rip_read, kvm_rip_write)
from kvm_vmx.l1.kvm_host cimport (
    EMULATE_USER_EXIT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_MMIO,
    KVM_INTERNAL_ERROR_EMULATION, UD_VECTOR, VCPU_REGS_RCX, VCPU_REGS_RDX, VCPU_REGS_RSI,
    X86_EFLAGS_DF, X86_EFLAGS_RF, kvm_vcpu_t)
from kvm_vmx.l1.mmu cimport guest_page_moves
from kvm_vmx.l1.x86 cimport kvm_get_rflags, kvm_queue_exception, kvm_set_rflags, kvm_x86_ops


cdef u64 mask_of(u32 size) noexcept nogil:
    return ~<u64>0 if size == 8 else (<u64>1 << 8 * size) - 1


cdef bint high_byte(const decoded *insn, u32 size) noexcept nogil:
    # AH, CH, DH and BH
    return size == 1 and not insn.rex and 4 <= insn.reg < 8


cdef u64 register_value(kvm_vcpu_t *vcpu, const decoded *insn, u32 size) noexcept nogil:
    if high_byte(insn, size):
        return kvm_register_read(vcpu, insn.reg & 3) >> 8 & 0xff
    return kvm_register_read(vcpu, insn.reg) & mask_of(size)


cdef void set_register(kvm_vcpu_t *vcpu, const decoded *insn, u32 size, u64 value) noexcept nogil:
    cdef u32 number = insn.reg & 3 if high_byte(insn, size) else insn.reg
    cdef u32 shift = 8 if high_byte(insn, size) else 0
    cdef u64 mask = mask_of(size) << shift

    if size < 4:
        value = kvm_register_read(vcpu, number) & ~mask | value << shift & mask
    kvm_register_write(vcpu, number, value & (mask_of(size) if size >= 4 else ~<u64>0))


cdef void retire(kvm_vcpu_t *vcpu, const decoded *insn) noexcept nogil:
    kvm_rip_write(vcpu, kvm_rip_read(vcpu) + insn.at)
    kvm_x86_ops.set_interrupt_shadow(vcpu, 0)
    kvm_set_rflags(vcpu, kvm_get_rflags(vcpu) & ~<ulong>X86_EFLAGS_RF)


cdef int emulation_failed(kvm_vcpu_t *vcpu) noexcept nogil:
    # What KVM tells user space of an instruction that its emulator does not know.
    vcpu.run.exit_reason = KVM_EXIT_INTERNAL_ERROR
    vcpu.run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION
    vcpu.run.internal.ndata = 0
    return EMULATE_USER_EXIT


cdef int emulate_outs(kvm_vcpu_t *vcpu, const decoded *insn) noexcept nogil:
    # One element, as KVM hands them to user space. With a count RIP stays, also behind the last:
    # the guest finds the count at zero and goes on by itself.
    cdef ulong step = insn.memory_size, count
    cdef u64 data = 0, mask = mask_of(4 if insn.address_32 else 8)
    cdef u8 byte
    cdef u32 i

    for i in range(insn.memory_size):
        if not read_guest_byte(vcpu, insn.address + i, &byte):
            return emulation_failed(vcpu)
        data |= <u64>byte << 8 * i
    vcpu.run.exit_reason = KVM_EXIT_IO
    vcpu.run.io.direction = KVM_EXIT_IO_OUT
    vcpu.run.io.size = insn.memory_size
    vcpu.run.io.port = kvm_register_read(vcpu, VCPU_REGS_RDX) & 0xffff
    vcpu.run.io.count = 1
    vcpu.run.io.data = data
    if kvm_get_rflags(vcpu) & X86_EFLAGS_DF:
        step = -step
    kvm_register_write(vcpu, VCPU_REGS_RSI,
                       (kvm_register_read(vcpu, VCPU_REGS_RSI) + step) & mask)
    if insn.rep:
        count = (kvm_register_read(vcpu, VCPU_REGS_RCX) - 1) & mask
        kvm_register_write(vcpu, VCPU_REGS_RCX, count)
    else:
        retire(vcpu, insn)
    return EMULATE_USER_EXIT


cdef int kvm_emulate_instruction(kvm_vcpu_t *vcpu, int emulation_type) noexcept nogil:
    cdef decoded insn

    if decode(vcpu, &insn) and (insn.opcode == 0x6e or insn.opcode == 0x6f):
        return emulate_outs(vcpu, &insn)
    return emulation_failed(vcpu)


cdef int handle_ud(kvm_vcpu_t *vcpu) noexcept nogil:
    # The emulator would try first; what it does not know is #UD in the guest.
    kvm_queue_exception(vcpu, UD_VECTOR)
    return 1


cdef bint reads_memory(const decoded *insn) noexcept nogil:
    return insn.opcode >= 0xf00 or insn.opcode & ~1 == 0x8a or insn.opcode & ~1 == 0xa0


cdef bint mmio_instruction(kvm_vcpu_t *vcpu, decoded *insn, gpa_t gpa, bint write) noexcept nogil:
    # Is it a MOV that does this access, and all of it on one page?
    return decode(vcpu, insn) and insn.opcode & ~1 != 0x6e and reads_memory(insn) != write and \
        not (insn.address ^ gpa) & 0xfff and (gpa & 0xfff) + insn.memory_size <= 0x1000


cdef int complete_emulated_mmio(kvm_vcpu_t *vcpu) noexcept nogil:
    # User space has come back with what the read finds.
    cdef decoded insn
    cdef u64 data = vcpu.run.mmio.data

    vcpu.mmio_needed = False
    if not mmio_instruction(vcpu, &insn, vcpu.run.mmio.phys_addr, False):
        # user space has moved RIP
        return 1
    data &= mask_of(insn.memory_size)
    if insn.opcode == 0xfbe and data & 0x80:
        data |= ~<u64>0xff
    elif insn.opcode == 0xfbf and data & 0x8000:
        data |= ~<u64>0xffff
    set_register(vcpu, &insn, insn.size if insn.opcode >= 0xf00 else insn.memory_size, data)
    retire(vcpu, &insn)
    return 1


cdef bint emulate_mmio(kvm_vcpu_t *vcpu, gpa_t gpa, bint write) noexcept nogil:
    cdef decoded insn
    cdef u64 data

    if not mmio_instruction(vcpu, &insn, gpa, write):
        return False
    vcpu.run.exit_reason = KVM_EXIT_MMIO
    vcpu.run.mmio.phys_addr = gpa
    vcpu.run.mmio.len = insn.memory_size
    vcpu.run.mmio.is_write = write
    if not write:
        # the bus reads all ones, unless user space answers; RIP waits for that
        vcpu.run.mmio.data = mask_of(insn.memory_size)
        vcpu.mmio_needed = True
        vcpu.arch.complete_userspace_io = complete_emulated_mmio
        return True
    if insn.opcode & ~1 == 0xc6:
        data = insn.immediate
    else:
        data = register_value(vcpu, &insn, insn.memory_size)
    vcpu.run.mmio.data = data & mask_of(insn.memory_size)
    retire(vcpu, &insn)
    return True


cdef int kvm_mmu_page_fault(kvm_vcpu_t *vcpu, gpa_t gpa, u64 error_code) noexcept nogil:
    # The EPT is complete from the start: outside it is device memory, and that takes the emulator.
    # A page on its way to another frame is there again in a moment.
    if not error_code & PFERR_RSVD_MASK and guest_page_moves(vcpu.kvm, gpa):
        return 1
    if gpa >= vcpu.kvm.arch.memory_size and error_code & PFERR_GUEST_FINAL_MASK and \
            not error_code & (PFERR_FETCH_MASK | PFERR_RSVD_MASK) and \
            emulate_mmio(vcpu, gpa, error_code & PFERR_WRITE_MASK != 0):
        return 0
    emulation_failed(vcpu)
    vcpu.run.internal.ndata = 2
    vcpu.run.internal.data[0] = gpa
    vcpu.run.internal.data[1] = error_code
    return 0


cdef void kvm_mmu_invlpg(kvm_vcpu_t *vcpu, gva_t gva) noexcept nogil:
    kvm_x86_ops.tlb_flush_gva(vcpu, gva)
