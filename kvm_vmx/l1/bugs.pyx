# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kernel/cpu/bugs.c
from kvm_vmx.abi.asm cimport (
    X86_FEATURE_SPEC_CTRL, X86_FEATURE_STIBP, boot_cpu_has, rdmsrl, wrmsrl)
from kvm_vmx.abi.types cimport u64
from kvm_vmx.l1.kvm_host cimport MSR_IA32_SPEC_CTRL

# What the host runs with, and which bits a guest may have otherwise. SSBD is not among them
# (erratum: ssbd_stays).
cdef u64 x86_spec_ctrl_base
cdef u64 x86_spec_ctrl_mask
cdef bint has_spec_ctrl


cdef void check_bugs() noexcept nogil:
    # C~ static_cpu_has(): what the boot found, kept in a variable; a boot begins with the initial
    # values
    global x86_spec_ctrl_base, x86_spec_ctrl_mask, has_spec_ctrl
    x86_spec_ctrl_base = 0
    x86_spec_ctrl_mask = SPEC_CTRL_IBRS
    has_spec_ctrl = boot_cpu_has(X86_FEATURE_SPEC_CTRL)
    if boot_cpu_has(X86_FEATURE_SPEC_CTRL):
        rdmsrl(MSR_IA32_SPEC_CTRL, &x86_spec_ctrl_base)

    if boot_cpu_has(X86_FEATURE_STIBP):
        x86_spec_ctrl_mask |= SPEC_CTRL_STIBP
        # C- 8 statements: what selects mitigations: mitigations are off, as with nospectre_v2; out
        # of scope, the kernel's own mapping


cdef void x86_virt_spec_ctrl(u64 guest_spec_ctrl, u64 guest_virt_spec_ctrl, bint setguest) noexcept nogil:
    cdef u64 msrval, guestval, hostval = x86_spec_ctrl_base

    # C~ static_cpu_has(): what the boot found, kept in a variable; no thread asks for SSBD
    if has_spec_ctrl:
        # the guest's choice where it has one, the host's everywhere else
        guestval = hostval & ~x86_spec_ctrl_mask
        guestval |= guest_spec_ctrl & x86_spec_ctrl_mask

        # C- TIF_SSBD: no thread of this kernel asks for SSBD
        if hostval != guestval:
            msrval = guestval if setguest else hostval
            wrmsrl(MSR_IA32_SPEC_CTRL, msrval)
            # C- 11 statements: VIRT_SPEC_CTRL and LS_CFG: the processor has no AMD_SSBD
