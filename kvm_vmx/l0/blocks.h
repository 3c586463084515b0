// SPDX-License-Identifier: GPL-2.0-only
/*
 * The block copies between an enlightened VMCS and L0's copy of it.
 *
 * The layout keeps the members of a clean group together, so a group is one or two runs from
 * a first to a last member, and a reload or a write-back moves runs, not fields.
 */
#ifndef KVM_VMX_L0_BLOCKS_H
#define KVM_VMX_L0_BLOCKS_H

#include <asm/evmcs_members.h>
#include <kvm_vmx/l0/vmcs/fields.h>
#include <kvm_vmx/l0/state.h>
#include <linux/compiler.h>

#define L0_AT(member) offsetof(struct hv_enlightened_vmcs, member)
#define L0_LENGTH(first, last) \
	(L0_AT(last) + sizeof(((struct hv_enlightened_vmcs *)0)->last) - L0_AT(first))

#define L0_GROUP_RUNS(RUN)						\
	RUN(IO_BITMAP, io_bitmap_a, io_bitmap_b)			\
	RUN(MSR_BITMAP, msr_bitmap, msr_bitmap)				\
	RUN(CONTROL_GRP2, tsc_offset, virtual_apic_page_addr)		\
	RUN(CONTROL_GRP2, xss_exit_bitmap, xss_exit_bitmap)		\
	RUN(CONTROL_GRP1, pin_based_vm_exec_control, secondary_vm_exec_control) \
	RUN(CONTROL_PROC, cpu_based_vm_exec_control, cpu_based_vm_exec_control) \
	RUN(CONTROL_EVENT, vm_entry_intr_info_field, vm_entry_instruction_len) \
	RUN(CONTROL_ENTRY, vm_entry_controls, vm_entry_controls)	\
	RUN(CONTROL_EXCPN, exception_bitmap, exception_bitmap)		\
	RUN(CRDR, cr0_guest_host_mask, guest_dr7)			\
	RUN(CONTROL_XLAT, ept_pointer, virtual_processor_id)		\
	RUN(GUEST_BASIC, guest_rsp, guest_interruptibility_info)	\
	RUN(GUEST_GRP1, vmcs_link_pointer, guest_sysenter_cs)		\
	RUN(GUEST_GRP1, guest_bndcfgs, guest_bndcfgs)			\
	RUN(GUEST_GRP2, guest_es_selector, guest_idtr_base)		\
	RUN(HOST_POINTER, host_fs_base, host_rsp)			\
	RUN(HOST_GRP1, host_es_selector, host_ia32_sysenter_cs)		\
	RUN(ENLIGHTENMENTSCONTROL, hv_vp_id, partition_assist_page)

/* What vm_exit_with() writes, in its pieces: a load across two stores that are still
 * under way waits until both have reached the cache. */
#define L0_EXIT_RUNS(RUN)						\
	RUN(guest_physical_address, guest_physical_address)		\
	RUN(vm_instruction_error, vm_instruction_error)			\
	RUN(vm_exit_reason, vm_exit_reason)				\
	RUN(vm_exit_intr_info, vm_exit_intr_error_code)			\
	RUN(idt_vectoring_info_field, idt_vectoring_error_code)		\
	RUN(vm_exit_instruction_len, vmx_instruction_info)		\
	RUN(exit_qualification, exit_qualification)			\
	RUN(guest_linear_address, guest_linear_address)

/* The 72 members that an exit stores. */
#define L0_WRITE_BACK_RUNS(RUN)						\
	RUN(guest_es_selector, guest_idtr_base)				\
	RUN(guest_ia32_pat, guest_sysenter_cs)				\
	RUN(guest_cr0, guest_dr7)					\
	L0_EXIT_RUNS(RUN)						\
	RUN(guest_rsp, cpu_based_vm_exec_control)			\
	RUN(vm_entry_controls, vm_entry_instruction_len)		\
	RUN(guest_rip, guest_rip)					\
	RUN(guest_bndcfgs, guest_bndcfgs)

/* The same but for RIP, of an exit whose information stands since the one before: in pieces as long
 * as they can be without one that reaches into a second cache line, where a load right behind the
 * store waits. */
#define L0_REPEATED_RUNS(RUN)						\
	RUN(guest_es_selector, guest_idtr_base)				\
	RUN(guest_ia32_pat, guest_sysenter_cs)				\
	RUN(guest_cr0, guest_dr7)					\
	RUN(guest_physical_address, guest_physical_address)		\
	RUN(vm_instruction_error, vmx_instruction_info)			\
	RUN(exit_qualification, exit_qualification)			\
	RUN(guest_linear_address, guest_linear_address)			\
	RUN(guest_rsp, cpu_based_vm_exec_control)			\
	RUN(vm_entry_controls, vm_entry_instruction_len)		\
	RUN(guest_bndcfgs, guest_bndcfgs)

/* offset and length are constants: the loop becomes a row of 16-byte moves. */
static __always_inline void l0_copy_run(u8 *to, const u8 *from, size_t offset, size_t length)
{
	size_t done = 0;

#pragma GCC unroll 16
	for (; done + 16 <= length; done += 16)
		__builtin_memcpy(to + offset + done, from + offset + done, 16);
	__builtin_memcpy(to + offset + done, from + offset + done, length % 16);
}

static inline u64 l0_page_u64(const u8 *page, size_t offset)
{
	return *(const u64 *)(page + offset);
}

/* Read the dirty groups from the page; how many bytes that were. */
static inline u64 l0_reload_groups(struct l0_vmcs *copy, const u8 *page, u32 dirty)
{
	u64 bytes = 0;

#define L0_RELOAD(group, first, last)					\
	if (dirty & HV_VMX_ENLIGHTENED_CLEAN_FIELD_##group) {		\
		l0_copy_run((u8 *)copy, page, L0_AT(first), L0_LENGTH(first, last)); \
		bytes += L0_LENGTH(first, last);			\
	}
	L0_GROUP_RUNS(L0_RELOAD)
#undef L0_RELOAD
#define L0_RELOAD_LATER(field, member, at, group)			\
	if (dirty & HV_VMX_ENLIGHTENED_CLEAN_FIELD_##group)		\
		copy->member = l0_page_u64(page, at);
	EVMCS_LATER_MEMBERS(L0_RELOAD_LATER)
#undef L0_RELOAD_LATER
	return bytes;
}

/* Where in the page a field of struct l0_vmcs stands; 0: nowhere. */
static inline u32 l0_place_in_page(const struct l0_field *field)
{
	switch (field->offset) {
#define L0_LATER_CASE(vmcs_field, member, at, group)			\
	case offsetof(struct l0_vmcs, member):				\
		return at;
	EVMCS_LATER_MEMBERS(L0_LATER_CASE)
#undef L0_LATER_CASE
	}
	return field->offset < sizeof(struct hv_enlightened_vmcs) ? field->offset : 0;
}

static inline u64 l0_page_get(const u8 *page, const struct l0_field *field)
{
	u64 value = 0;

	__builtin_memcpy(&value, page + l0_place_in_page(field), field->size);
	return value;
}

/* The two fields without a clean bit, and those that the specification gives no group. */
#define L0_LIVE_BYTES (sizeof(u64) + sizeof(u32))
#define L0_UNGROUPED_BYTES \
	(L0_LENGTH(vm_exit_msr_store_addr, vm_entry_msr_load_count) + sizeof(u32))

static __always_inline void l0_reload_live(struct l0_vmcs *copy, const u8 *page)
{
	const struct hv_enlightened_vmcs *from = (const void *)page;

	copy->f.guest_rip = from->guest_rip;
	copy->f.tpr_threshold = from->tpr_threshold;
	copy->f.hv_enlightenments_control = from->hv_enlightenments_control;
	l0_copy_run((u8 *)copy, page, L0_AT(vm_exit_msr_store_addr),
		    L0_LENGTH(vm_exit_msr_store_addr, vm_entry_msr_load_count));
}

/* What of it may differ where flags, threshold and counts have been found the same. */
static __always_inline void l0_reload_repeated(struct l0_vmcs *copy, const u8 *page)
{
	l0_copy_run((u8 *)copy, page, L0_AT(vm_exit_msr_store_addr),
		    L0_LENGTH(vm_exit_msr_store_addr, page_fault_error_code_match));
}

/* hv_enlightenments_control as a word: bit 0 direct flush, bit 1 the MSR bitmap. */
#define L0_FLAG_DIRECT_FLUSH	1u
#define L0_FLAG_MSR_BITMAP	2u

static inline u32 l0_flags(const void *vmcs)
{
	u32 flags;

	__builtin_memcpy(&flags, (const u8 *)vmcs + L0_AT(hv_enlightenments_control), sizeof(flags));
	return flags;
}

/* The four counts (CR3 targets, three MSR lists), or'ed: 0 where none needs a check. */
static inline u64 l0_counts(const void *vmcs)
{
	return l0_page_u64(vmcs, L0_AT(cr3_target_count)) |
		l0_page_u64(vmcs, L0_AT(vm_exit_msr_load_count));
}

#define L0_LENGTH_PLUS(first, last) + L0_LENGTH(first, last)
#define L0_WRITE_BACK_BYTES (0 L0_WRITE_BACK_RUNS(L0_LENGTH_PLUS))

static __always_inline void l0_write_back(u8 *page, const struct l0_vmcs *copy)
{
#define L0_STORE(first, last) \
	l0_copy_run(page, (const u8 *)copy, L0_AT(first), L0_LENGTH(first, last));
	L0_WRITE_BACK_RUNS(L0_STORE)
#undef L0_STORE
}

static __always_inline void l0_write_back_repeated(u8 *page, const struct l0_vmcs *copy)
{
#define L0_STORE(first, last) \
	l0_copy_run(page, (const u8 *)copy, L0_AT(first), L0_LENGTH(first, last));
	L0_REPEATED_RUNS(L0_STORE)
#undef L0_STORE
}

/* The counters, the bytes of repeated entries among them: one count stands for all of those. */
static inline struct l0_counters l0_counters_now(const struct l0_vp *vp)
{
	struct l0_counters now = vp->counters;

	now.bytes_reread += vp->repeats * L0_LIVE_BYTES;
	now.bytes_ungrouped += vp->repeats * L0_UNGROUPED_BYTES;
	now.bytes_written_back += vp->repeats * L0_WRITE_BACK_BYTES;
	return now;
}

_Static_assert(L0_WRITE_BACK_BYTES == 392, "what an exit stores");
_Static_assert((0 L0_REPEATED_RUNS(L0_LENGTH_PLUS)) + sizeof(u64) == L0_WRITE_BACK_BYTES,
	       "both ways store the same");

#endif
