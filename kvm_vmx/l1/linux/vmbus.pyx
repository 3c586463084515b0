# SPDX-License-Identifier: GPL-2.0-only
# Stands in for hv_vmbus: of the driver only what it does when a kernel ends.
from kvm_vmx.l1.crash cimport pt_regs
from kvm_vmx.l1.hv_init cimport hyperv_cleanup
from kvm_vmx.l1.mshyperv cimport (
    hv_setup_crash_handler, hv_setup_kexec_handler, x86_hyper_type_ms_hyperv)


cdef void vmbus_init() noexcept nogil:
    if x86_hyper_type_ms_hyperv:
        hv_setup_kexec_handler(hv_kexec_handler)
        hv_setup_crash_handler(hv_crash_handler)


cdef void hv_kexec_handler() noexcept nogil:
    # No channel to close, no message page to give back.
    hyperv_cleanup()


cdef void hv_crash_handler(pt_regs *regs) noexcept nogil:
    hyperv_cleanup()
