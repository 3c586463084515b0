# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/cpuid.c
from kvm_vmx.abi.asm cimport X86_FEATURE_PKU, X86_FEATURE_XSAVE, boot_cpu_has
from kvm_vmx.abi.types cimport E2BIG, EINVAL, ENOMEM, u32, u64
from kvm_vmx.l1.kvm_cache_regs cimport kvm_read_cr4_bits, kvm_register_read, kvm_register_write
from kvm_vmx.l1.kvm_host cimport (
    KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_CPUID_FLAG_STATEFUL_FUNC, KVM_CPUID_FLAG_STATE_READ_NEXT,
    KVM_MAX_CPUID_ENTRIES, MSR_IA32_APICBASE_ENABLE, VCPU_REGS_RAX, VCPU_REGS_RBX, VCPU_REGS_RCX,
    VCPU_REGS_RDX, X86_CR4_OSXSAVE, X86_CR4_PKE, kvm_cpuid_entry2, kvm_vcpu_t)
from kvm_vmx.l1.linux.mm cimport kfree, kmalloc
from kvm_vmx.l1.x86 cimport kvm_require_cpl, kvm_skip_emulated_instruction, kvm_x86_ops
from libc.string cimport memcpy
from kvm_vmx.l1.trace cimport trace_kvm_cpuid

# Bits of CPUID that the kernel writes F(NAME).
cdef enum:
    F_OSXSAVE = 1 << 27
    F_APIC = 1 << 9
    F_OSPKE = 1 << 4


cdef int kvm_update_cpuid(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef kvm_cpuid_entry2 *best
    cdef int vaddr_bits

    # C- the APIC: no APIC in the kernel
    best = kvm_find_cpuid_entry(vcpu, 1, 0)
    if not best:
        return 0

    # what CR4 says
    if boot_cpu_has(X86_FEATURE_XSAVE) and best.function == 0x1:
        best.ecx &= ~F_OSXSAVE
        if kvm_read_cr4_bits(vcpu, X86_CR4_OSXSAVE):
            best.ecx |= F_OSXSAVE

    best.edx &= ~<u32>F_APIC
    if vcpu.arch.apic_base & MSR_IA32_APICBASE_ENABLE:
        # C~ F(), the APIC's timer: a name in its place; no APIC in the kernel
        best.edx |= F_APIC

    best = kvm_find_cpuid_entry(vcpu, 7, 0)
    if best:
        if boot_cpu_has(X86_FEATURE_PKU) and best.function == 0x7:
            best.ecx &= ~<u32>F_OSPKE
            if kvm_read_cr4_bits(vcpu, X86_CR4_PKE):
                # C~ F(), leaf 0xD: a name in its place; the processor has no XSAVE
                best.ecx |= F_OSPKE

    # An address that is canonical has 48 bits or 57, and nothing else is prepared for.
    best = kvm_find_cpuid_entry(vcpu, <u32>0x80000008, 0)
    if best:
        vaddr_bits = (best.eax & 0xff00) >> 8

        if vaddr_bits != 48 and vaddr_bits != 57 and vaddr_bits != 0:
            return -EINVAL

    # C- KVM's own leaf: out of scope, the guest is shown no KVM
    vcpu.arch.maxphyaddr = cpuid_query_maxphyaddr(vcpu)
    # C- kvm_mmu_reset_context(), the PMU: the EPT is fixed; out of scope, performance counters
    return 0


cdef int cpuid_query_maxphyaddr(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef kvm_cpuid_entry2 *best

    best = kvm_find_cpuid_entry(vcpu, <u32>0x80000000, 0)
    if not best or best.eax < <u32>0x80000008:
        # C~ goto not_found: the label returns
        return 36
    best = kvm_find_cpuid_entry(vcpu, <u32>0x80000008, 0)
    if best:
        return best.eax & 0xff
    # C- the label: nothing jumps to it
    return 36


# C~ a fixed array of KVM_MAX_CPUID_ENTRIES in vcpu->arch: only what is used is allocated, and the
# caller is this process, so nothing is copied from user space
cdef int kvm_vcpu_ioctl_set_cpuid2(kvm_vcpu_t *vcpu, const kvm_cpuid_entry2 *entries,
                                   int nent) noexcept nogil:
    cdef kvm_cpuid_entry2 *copy

    if nent > KVM_MAX_CPUID_ENTRIES:
        return -E2BIG
    copy = <kvm_cpuid_entry2 *>kmalloc((nent + 1) * sizeof(kvm_cpuid_entry2), 0)
    if not copy:
        return -ENOMEM
    memcpy(copy, entries, nent * sizeof(kvm_cpuid_entry2))
    kfree(vcpu.arch.cpuid_entries)
    vcpu.arch.cpuid_entries = copy
    vcpu.arch.cpuid_nent = nent
    kvm_x86_ops.cpuid_update(vcpu)
    return kvm_update_cpuid(vcpu)


cdef int move_to_next_stateful_cpuid_entry(kvm_vcpu_t *vcpu, int i) noexcept nogil:
    cdef kvm_cpuid_entry2 *e = &vcpu.arch.cpuid_entries[i]
    cdef kvm_cpuid_entry2 *ej
    cdef int j = i
    cdef int nent = vcpu.arch.cpuid_nent

    e.flags &= ~<u32>KVM_CPUID_FLAG_STATE_READ_NEXT
    # with no other entry of the function, this one comes round again
    # C~ do: Cython has none, so the test stands at the end of an endless loop
    while True:
        j = (j + 1) % nent
        ej = &vcpu.arch.cpuid_entries[j]
        # C~ the test of the loop: turned around, it leaves it
        if ej.function == e.function:
            break

    ej.flags |= KVM_CPUID_FLAG_STATE_READ_NEXT

    return j


cdef inline int is_matching_cpuid_entry(kvm_cpuid_entry2 *e, u32 function, u32 index) noexcept nogil:
    if e.function != function:
        return 0
    if (e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) and e.index != index:
        return 0
    if (e.flags & KVM_CPUID_FLAG_STATEFUL_FUNC) and \
            not (e.flags & KVM_CPUID_FLAG_STATE_READ_NEXT):
        return 0
    return 1


cdef kvm_cpuid_entry2 *kvm_find_cpuid_entry(kvm_vcpu_t *vcpu, u32 function, u32 index) noexcept nogil:
    cdef int i
    cdef kvm_cpuid_entry2 *e
    cdef kvm_cpuid_entry2 *best = NULL

    for i in range(vcpu.arch.cpuid_nent):
        e = &vcpu.arch.cpuid_entries[i]
        if is_matching_cpuid_entry(e, function, index):
            if e.flags & KVM_CPUID_FLAG_STATEFUL_FUNC:
                move_to_next_stateful_cpuid_entry(vcpu, i)
            best = e
            break
    return best


cdef kvm_cpuid_entry2 *check_cpuid_limit(kvm_vcpu_t *vcpu, u32 function, u32 index) noexcept nogil:
    cdef kvm_cpuid_entry2 *maxlevel

    maxlevel = kvm_find_cpuid_entry(vcpu, function & <u32>0x80000000, 0)
    if not maxlevel or maxlevel.eax >= function:
        return NULL
    if function & <u32>0x80000000:
        maxlevel = kvm_find_cpuid_entry(vcpu, 0, 0)
        if not maxlevel:
            return NULL
    return kvm_find_cpuid_entry(vcpu, maxlevel.eax, index)


cdef bint kvm_cpuid(kvm_vcpu_t *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx,
                    bint check_limit) noexcept nogil:
    cdef u32 function = eax[0], index = ecx[0]
    cdef kvm_cpuid_entry2 *best
    cdef bint entry_found = True

    best = kvm_find_cpuid_entry(vcpu, function, index)

    if not best:
        entry_found = False
        # C~ goto out: what it jumps over is the block
        if check_limit:
            best = check_cpuid_limit(vcpu, function, index)

    # C- the label: nothing jumps to it
    if best:
        eax[0] = best.eax
        ebx[0] = best.ebx
        ecx[0] = best.ecx
        edx[0] = best.edx
    else:
        eax[0] = ebx[0] = ecx[0] = edx[0] = 0
    trace_kvm_cpuid(function, eax[0], ebx[0], ecx[0], edx[0], entry_found)
    return entry_found


cdef int kvm_emulate_cpuid(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u32 eax, ebx, ecx, edx

    if cpuid_fault_enabled(vcpu) and not kvm_require_cpl(vcpu, 0):
        return 1

    eax = <u32>kvm_register_read(vcpu, VCPU_REGS_RAX)
    ecx = <u32>kvm_register_read(vcpu, VCPU_REGS_RCX)
    kvm_cpuid(vcpu, &eax, &ebx, &ecx, &edx, True)
    kvm_register_write(vcpu, VCPU_REGS_RAX, eax)
    kvm_register_write(vcpu, VCPU_REGS_RBX, ebx)
    kvm_register_write(vcpu, VCPU_REGS_RCX, ecx)
    kvm_register_write(vcpu, VCPU_REGS_RDX, edx)
    return kvm_skip_emulated_instruction(vcpu)


# C: arch/x86/kvm/cpuid.h
# C~ int *, unsigned: a register is a u32, and a feature's number carries its leaf
cdef u32 *guest_cpuid_get_register(kvm_vcpu_t *vcpu, u64 x86_feature) noexcept nogil:
    # C~ x86_feature_cpuid(): the leaf stands in the feature's number
    cdef kvm_cpuid_entry2 *entry = kvm_find_cpuid_entry(vcpu, <u32>(x86_feature >> 8), 0)

    if not entry:
        return NULL
    # C~ the switch over the register: it stands in the feature's number
    return &entry.eax + ((x86_feature >> 5) & 3)


# C~ XSAVE of the host: the processor has no XSAVE; a register is a u32
cdef bint guest_cpuid_has(kvm_vcpu_t *vcpu, u64 x86_feature) noexcept nogil:
    cdef u32 *reg = guest_cpuid_get_register(vcpu, x86_feature)

    if not reg:
        return False

    return (reg[0] & (<u32>1 << (x86_feature & 31))) != 0


# C~ int *, unsigned: a register is a u32, and a feature's number carries its leaf
cdef void guest_cpuid_clear(kvm_vcpu_t *vcpu, u64 x86_feature) noexcept nogil:
    cdef u32 *reg = guest_cpuid_get_register(vcpu, x86_feature)

    if reg:
        reg[0] &= ~(<u32>1 << (x86_feature & 31))
