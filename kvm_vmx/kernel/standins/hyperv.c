// SPDX-License-Identifier: GPL-2.0-only
/* The guest side of Hyper-V that vmlinux sets up before a module is loaded. */
#include "standin.h"
#include <asm/mshyperv.h>
#include <asm/hypervisor.h>
#include <linux/cpuhotplug.h>

struct ms_hyperv_info ms_hyperv;
struct hv_vp_assist_page **hv_vp_assist_page;
enum x86_hypervisor_type x86_hyper_type;

/* A CPU that goes loses its page behind KVM where the tree has an order of the two. */
#ifdef HAVE_HYPERV_ONLINE
#define HYPERV_STATE CPUHP_AP_HYPERV_ONLINE
#else
#define HYPERV_STATE CPUHP_AP_ONLINE_DYN
#endif

#define FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE 0xaf
#define FLUSH_GUEST_PHYSICAL_ADDRESS_LIST 0xb0

/* The MSRs of the hypercall page and of the index of a processor: without them nothing is set up. */
#define NEEDED 0x60

static enum cpuhp_state hyperv_state;

#define LEAF(n) 0x40000000u + (n)

/* Where the tree's header has the control that no code of v4.19's uses. */
#ifdef HAVE_NESTED_CONTROL
unsigned long standin_nested_control = offsetof(struct hv_vp_assist_page, nested_control);
#else
unsigned long standin_nested_control =
	offsetof(struct hv_vp_assist_page, nested_enlightenments_control);
#endif

static void leaf(unsigned int number, unsigned int *regs)
{
	regs[0] = number;
	regs[1] = regs[2] = regs[3] = 0;
	host->cpuid(regs);
}

static bool is_hyperv(void)
{
	unsigned int regs[4];

	leaf(1, regs);
	if (!(regs[2] >> 31))
		return false;
	leaf(LEAF(0), regs);
	return regs[0] >= LEAF(5) && regs[0] <= LEAF(0xffff) && !memcmp(&regs[1], "Microsoft Hv", 12);
}

static int cpu_comes(unsigned int cpu)
{
	unsigned long long index;

	rdmsrl(HV_X64_MSR_VP_INDEX, index);
	if (!hv_vp_assist_page[cpu] && !(host->without_assist >> cpu & 1))
		hv_vp_assist_page[cpu] = (void *)get_zeroed_page(GFP_KERNEL);
	if (hv_vp_assist_page[cpu])
		wrmsrl(HV_X64_MSR_VP_ASSIST_PAGE, __pa(hv_vp_assist_page[cpu]) | 1);
	return 0;
}

static int cpu_goes(unsigned int cpu)
{
	if (hv_vp_assist_page[cpu])
		wrmsrl(HV_X64_MSR_VP_ASSIST_PAGE, 0);
	return 0;
}

int standin_hyperv(void)
{
	unsigned int regs[4];
	int state;

	if (!is_hyperv())
		return 0;
	x86_hyper_type = X86_HYPER_MS_HYPERV;
	host->log(6, "Hypervisor detected: Microsoft Hyper-V");
	mark_tsc_unstable("running on Hyper-V");
	leaf(LEAF(3), regs);
	ms_hyperv.features = regs[0];
	ms_hyperv.misc_features = regs[3];
	leaf(LEAF(4), regs);
	ms_hyperv.hints = regs[0];
	leaf(LEAF(5), regs);
	ms_hyperv.max_vp_index = regs[0];
	ms_hyperv.max_lp_index = regs[1];
	if (ms_hyperv.hints & HV_X64_ENLIGHTENED_VMCS_RECOMMENDED) {
		leaf(LEAF(10), regs);
		ms_hyperv.nested_features = regs[0];
	}
	if ((ms_hyperv.features & NEEDED) != NEEDED)
		return 0;
	host->write_msr(HV_X64_MSR_GUEST_OS_ID, 0x8100041300000000ull);
	hv_vp_assist_page = standin_alloc(nr_cpu_ids * sizeof(void *), __GFP_ZERO);
	if (!hv_vp_assist_page)
		return -ENOMEM;
	hyperv_state = HYPERV_STATE;
	state = __cpuhp_setup_state(HYPERV_STATE, "hyperv", true, cpu_comes, cpu_goes, false);
	if (state > 0)
		hyperv_state = state;
	return 0;
}

/* The hypercall, with its page of input: which address space, and no flags. */
int hyperv_flush_guest_mapping(u64 address_space)
{
	unsigned long long regs[16] = { 0, FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE };
	u64 *input = (void *)get_zeroed_page(GFP_KERNEL);
	int failed;

	if (!input)
		return -ENOMEM;
	input[0] = address_space;
	regs[2] = __pa(input);
	failed = host->vmcall(regs) || (regs[0] & 0xffff);
	free_page((unsigned long)input);
	return failed ? -EFAULT : 0;
}

#ifdef HAVE_FLUSH_RANGE
/* Whoever asks fills the list, or says that it is too long. */
int hyperv_fill_flush_guest_mapping_list(struct hv_guest_mapping_flush_list *list, u64 gfn,
					 u64 pages)
{
	int n;

	for (n = 0; pages; n++) {
		u64 count = min_t(u64, pages, HV_MAX_FLUSH_PAGES);

		if (n == HV_MAX_FLUSH_REP_COUNT)
			return -ENOSPC;
		list->gpa_list[n].address_space = 0;
		list->gpa_list[n].page.additional_pages = count - 1;
		list->gpa_list[n].page.basepfn = gfn;
		gfn += count;
		pages -= count;
	}
	return n;
}

int hyperv_flush_guest_mapping_range(u64 address_space, hyperv_fill_flush_list_func fill, void *data)
{
	struct hv_guest_mapping_flush_list *list = (void *)get_zeroed_page(GFP_KERNEL);
	unsigned long long regs[16] = { 0 };
	int n, failed;

	if (!list)
		return -ENOMEM;
	list->address_space = address_space;
	n = fill(list, data);
	regs[1] = FLUSH_GUEST_PHYSICAL_ADDRESS_LIST | (u64)n << 32;
	regs[2] = __pa(list);
	failed = n < 0 || host->vmcall(regs) || (regs[0] & 0xffff);
	free_page((unsigned long)list);
	return failed ? -EFAULT : 0;
}
#endif

/* What a kernel takes back of Hyper-V before another begins without a reset. */
void standin_hyperv_cleanup(bool by_kexec)
{
	if (!hypervisor_is_type(X86_HYPER_MS_HYPERV))
		return;
#ifdef HAVE_KEXEC_LEAVES_ASSIST
	if (by_kexec)
		__cpuhp_remove_state(hyperv_state, true);
#endif
	host->write_msr(HV_X64_MSR_GUEST_OS_ID, 0);
	host->write_msr(HV_X64_MSR_HYPERCALL, 0);
	host->write_msr(HV_X64_MSR_REFERENCE_TSC, 0);
}

/* The boot processor, which goes through no hotplug, around a suspend. */
void standin_hyperv_sleeps(void)
{
#ifdef HAVE_HYPERV_RESUME
	if (hv_vp_assist_page)
		cpu_goes(0);
#endif
}

void standin_hyperv_wakes(void)
{
#ifdef HAVE_HYPERV_RESUME
	if (hv_vp_assist_page)
		cpu_comes(0);
#endif
}

void set_hv_tscchange_cb(void (*callback)(void)) { }
void clear_hv_tscchange_cb(void) { }
void hyperv_stop_tsc_emulation(void) { }

/* L1 is no guest of a KVM, whose page faults would have another reason, and its memory is not
 * encrypted: shadow paging asks. */
u32 standin_pf_reason(void) { return 0; }
int standin_same_memory(unsigned long address, int pages) { return 0; }
asm(".globl kvm_read_and_reset_pf_reason\n.set kvm_read_and_reset_pf_reason, standin_pf_reason\n"
    ".globl kvm_read_and_reset_apf_flags\n.set kvm_read_and_reset_apf_flags, standin_pf_reason\n"
    ".globl set_memory_decrypted\n.set set_memory_decrypted, standin_same_memory\n"
    ".globl set_memory_encrypted\n.set set_memory_encrypted, standin_same_memory\n");
