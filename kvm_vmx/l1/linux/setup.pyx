# SPDX-License-Identifier: GPL-2.0-only
# Boot and shutdown: the order in which an L1 kernel comes up and goes down.
from kvm_vmx.abi.asm cimport HYPERV_REENLIGHTENMENT_VECTOR
from kvm_vmx.abi.types cimport u8
from kvm_vmx.abi.virt_cpu cimport phys_mem, virt_cpu
from kvm_vmx.l1.bugs cimport check_bugs
from kvm_vmx.l1.crash cimport crash_boot_data
from kvm_vmx.l1.hv_init cimport (
    hyperv_init, hyperv_reenlightenment_intr, hyperv_shutdown)
from kvm_vmx.l1.kvm_main cimport kvm_boot_data
from kvm_vmx.l1.linux.cpu cimport alloc_intr_gate, cpus_exit, cpus_init
from kvm_vmx.l1.linux.jump_label cimport (
    jump_label_boot_data, jump_label_init, jump_label_init_module)
from kvm_vmx.l1.linux.mm cimport mm_exit, mm_init
from kvm_vmx.l1.linux.module cimport module_boot_data
from kvm_vmx.l1.linux.printk cimport log_clear
from kvm_vmx.l1.linux.reboot cimport reboot_boot_data
from kvm_vmx.l1.linux.text_patching cimport text_boot_data
from kvm_vmx.l1.linux.vmbus cimport vmbus_init
from kvm_vmx.l1.mshyperv cimport init_hypervisor_platform, x86_hyper_type_ms_hyperv


cdef int start_kernel(const phys_mem *mem, u8 *vmalloc_window, virt_cpu **cpus, int possible,
                      int online) noexcept nogil:
    # What needs no CPU of its own: log, memory, the CPUs themselves.
    cdef int ret

    log_clear()
    text_boot_data()
    module_boot_data()
    jump_label_boot_data()
    kvm_boot_data()
    crash_boot_data()
    reboot_boot_data()
    ret = mm_init(mem, vmalloc_window)
    if ret:
        return ret
    ret = cpus_init(cpus, possible, online, mem, vmalloc_window)
    if ret:
        mm_exit()
        return ret
    jump_label_init()
    return jump_label_init_module()


cdef void start_platform() noexcept nogil:
    # On the boot CPU: find the hypervisor, then use it.
    init_hypervisor_platform()
    check_bugs()
    hyperv_init()
    if x86_hyper_type_ms_hyperv:
        alloc_intr_gate(HYPERV_REENLIGHTENMENT_VECTOR, hyperv_reenlightenment_intr)
    vmbus_init()


cdef void shutdown_platform() noexcept nogil:
    hyperv_shutdown()


cdef void shutdown_kernel() noexcept nogil:
    cpus_exit()
    mm_exit()
