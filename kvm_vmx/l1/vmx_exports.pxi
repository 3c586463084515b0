# SPDX-License-Identifier: GPL-2.0-only
# What vmx.c has not: functions by which the module is loaded, called and measured from outside.

# One word of vmcs_config, from size (0) to vmentry_ctrl (8).
cdef u32 config_word(unsigned int n) noexcept nogil:
    return (<u32 *>&vmcs_config)[n] if n < sizeof(vmcs_config) // sizeof(u32) else 0


# Accessors out of line, for callers that know a field only when they run.
cdef u16 call_vmcs_read16(ulong field) noexcept nogil:
    return vmcs_read16(field)


cdef u32 call_vmcs_read32(ulong field) noexcept nogil:
    return vmcs_read32(field)


cdef u64 call_vmcs_read64(ulong field) noexcept nogil:
    return vmcs_read64(field)


cdef ulong call_vmcs_readl(ulong field) noexcept nogil:
    return vmcs_readl(field)


cdef void call_vmcs_write16(ulong field, u16 value) noexcept nogil:
    vmcs_write16(field, value)


cdef void call_vmcs_write32(ulong field, u32 value) noexcept nogil:
    vmcs_write32(field, value)


cdef void call_vmcs_write64(ulong field, u64 value) noexcept nogil:
    vmcs_write64(field, value)


cdef void call_vmcs_writel(ulong field, ulong value) noexcept nogil:
    vmcs_writel(field, value)


cdef void call_vmcs_clear_bits(ulong field, u32 mask) noexcept nogil:
    vmcs_clear_bits(field, mask)


cdef void call_vmcs_set_bits(ulong field, u32 mask) noexcept nogil:
    vmcs_set_bits(field, mask)


cdef ulong call_kvm_read_cr4_bits(kvm_vcpu_t *vcpu, ulong mask) noexcept nogil:
    return kvm_read_cr4_bits(vcpu, mask)


# One access of each shape with a constant field: what an accessor compiles to.
cdef void probe_write_guest_rsp(ulong value) noexcept nogil:
    vmcs_writel(GUEST_RSP, value)


cdef void probe_write_guest_rip(ulong value) noexcept nogil:
    vmcs_writel(GUEST_RIP, value)


cdef ulong probe_read_guest_rip() noexcept nogil:
    return vmcs_readl(GUEST_RIP)


cdef u32 probe_read_exit_reason() noexcept nogil:
    return vmcs_read32(VM_EXIT_REASON)


cdef void probe_vmcs_load(void *vmcs) noexcept nogil:
    vmcs_load(<vmcs_t *>vmcs)


cdef bint enable_evmcs_is_on() noexcept nogil:
    return static_key_count(&enable_evmcs.key) > 0


# module_init(), module_exit() and the bounds of the sections, which the linker knows.
cdef void declare_module() noexcept nogil:
    vmx_module.name = "kvm_intel"
    vmx_module.init = vmx_init
    vmx_module.exit = vmx_exit
    vmx_module.data = vmx_module_data
    module_sections(&vmx_module)
