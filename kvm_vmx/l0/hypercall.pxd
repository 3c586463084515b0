# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu
from kvm_vmx.l0.state cimport l0_vp

# A hypercall by its parameters, wherever they came from.
cdef struct call_t:
    u32 code
    bint fast
    bint from_l2
    u32 variable            # quadwords of variable header
    u32 count, start        # repetitions, and the first of them
    u64 done                # repetitions done, for the result
    u64 word[512]           # header, variable header and list as the caller has them

cdef insn_t l0_vmcall(virt_cpu *cpu, u64 *regs) noexcept nogil
# Do the hypercall that the registers ask for: INSN_OK with the result, or the fault.
cdef insn_t hypercall(l0_vp *vp, u64 *regs, bint from_l2, u64 *result) noexcept nogil
