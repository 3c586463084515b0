# SPDX-License-Identifier: GPL-2.0-only
# VMCALL from L1: Hyper-V's hypercalls, control word in RCX, result in RAX.
from kvm_vmx.abi.hyperv_tlfs cimport *
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport (
    GPR_R8, GPR_RAX, GPR_RCX, GPR_RDX, INSN_OK, insn_t, virt_cpu,
)
from kvm_vmx.l0.cpuid cimport cpuid_leaf
from kvm_vmx.l0.guest cimport guest_flush_tlb
from kvm_vmx.l0.outcome cimport fault_ud
from kvm_vmx.l0.state cimport l0_cpuid_leaf, l0_partition, l0_vp, phys_ptr

cdef enum:
    FAST = 1 << 16


# Bits of the control word that must be 0: 63:60, 47:44, 30:27 (R94).
cdef u64 reserved_bits() noexcept nogil:
    return <u64>0xf000f00078000000


cdef bint offers_guest_mapping_flush(l0_partition *partition) noexcept nogil:
    cdef const l0_cpuid_leaf *leaf = cpuid_leaf(&partition.profile, HYPERV_CPUID_NESTED_FEATURES)

    return leaf != NULL and leaf.eax & HV_X64_NESTED_GUEST_MAPPING_FLUSH != 0


# R87: two words of input, an address space and flags that must be 0; every processor forgets.
cdef u64 flush_guest_physical(l0_vp *vp, u64 control, u64 *regs) noexcept nogil:
    cdef u64 flags = regs[GPR_R8]
    cdef u64 gpa = regs[GPR_RDX]
    cdef u8 *params
    cdef u32 i

    if not control & FAST:
        if gpa & 7 or gpa >> 12 != (gpa + 15) >> 12:
            return HV_STATUS_INVALID_ALIGNMENT
        params = phys_ptr(vp.cpu.mem, gpa, 16)
        if params == NULL:
            return HV_STATUS_INVALID_ALIGNMENT
        flags = (<u64 *>params)[1]
    if flags:
        return HV_STATUS_INVALID_PARAMETER
    # another processor may be in L2: it drops its TLB when it next finds the context changed
    for i in range(vp.partition.nr_vps):
        vp.partition.vp[i].tlb_context[0] = ~<u64>0
    guest_flush_tlb(vp)
    return HV_STATUS_SUCCESS


cdef u64 dispatch(l0_vp *vp, u64 control, u64 *regs) noexcept nogil:
    cdef u32 code = control & 0xffff
    cdef bint repeated = control >> 32 & 0xfff or control >> 48 & 0xfff

    if control & reserved_bits():
        return HV_STATUS_INVALID_HYPERCALL_INPUT
    if code == HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE \
            and offers_guest_mapping_flush(vp.partition):
        # a simple call: no repetitions, no variable header
        if repeated or control >> 17 & 0x3ff:
            return HV_STATUS_INVALID_HYPERCALL_INPUT
        return flush_guest_physical(vp, control, regs)
    return HV_STATUS_INVALID_HYPERCALL_CODE


cdef insn_t l0_vmcall(virt_cpu *cpu, u64 *regs) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu

    vp.counters.vmcall += 1
    # R92, and without an identity there is no hypercall interface yet
    if cpu.cpl or not cpu.cr0 & 1 or vp.partition.guest_os_id == 0:
        return fault_ud()
    regs[GPR_RAX] = dispatch(vp, regs[GPR_RCX], regs)
    return INSN_OK
