// SPDX-License-Identifier: GPL-2.0-only
/* The kernel comes up, and a module with it: what the boot processor is, the task, parameters. */
#include "standin.h"
#include <linux/module.h>
#include <asm/cpufeature.h>
#ifdef HAVE_FPU_INTERNAL
#include <asm/fpu/internal.h>
#else
#include <asm/fpu/api.h>
#endif
#include <asm/nospec-branch.h>
#include <asm/vmx.h>
#undef __this_module

struct host *host;
struct module __this_module;
struct cpuinfo_x86 boot_cpu_data;

enum l1tf_mitigations l1tf_mitigation;
enum vmx_l1d_flush_state l1tf_vmx_mitigation;
enum cpuhp_smt_control cpu_smt_control;
#ifdef HAVE_CRASH_VMCLEAR
void (*crash_vmclear_loaded_vmcss)(void);
#endif
unsigned int mxcsr_feature_mask = 0xffff;
int prof_on, alternatives_patched = 1;
static unsigned long long host_spec_ctrl;

void standin_cpus(void);
void standin_control_registers(void);
pgd_t *standin_pgd(void);

/* The words of the features that CPUID fills, by leaf, subleaf and register. */
static const struct { unsigned int word, leaf, reg; } words[] = {
	{ CPUID_1_EDX, 1, 3 }, { CPUID_1_ECX, 1, 2 },
	{ CPUID_8000_0001_EDX, 0x80000001, 3 }, { CPUID_8000_0001_ECX, 0x80000001, 2 },
	{ CPUID_7_0_EBX, 7, 1 }, { CPUID_7_ECX, 7, 2 }, { CPUID_7_EDX, 7, 3 },
};

/* What this process cannot do for L1: an extended state of the FPU's would be the process's own,
 * and pages are not switched here. */
static const unsigned int without[] = {
	X86_FEATURE_XSAVE, X86_FEATURE_OSXSAVE, X86_FEATURE_XSAVES, X86_FEATURE_XSAVEOPT,
	X86_FEATURE_XSAVEC, X86_FEATURE_AVX, X86_FEATURE_AVX2, X86_FEATURE_AVX512F,
	X86_FEATURE_MPX, X86_FEATURE_PKU, X86_FEATURE_OSPKE, X86_FEATURE_PCID, X86_FEATURE_LA57,
};

static void leaf(unsigned int number, unsigned int *regs)
{
	regs[0] = number;
	regs[1] = regs[2] = regs[3] = 0;
	host->cpuid(regs);
}

void standin_features(void)
{
	unsigned int i, regs[4];

	memset(&boot_cpu_data, 0, sizeof(boot_cpu_data));
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		leaf(words[i].leaf, regs);
		boot_cpu_data.x86_capability[words[i].word] = regs[words[i].reg];
	}
	for (i = 0; i < ARRAY_SIZE(without); i++)
		clear_bit(without[i], (unsigned long *)boot_cpu_data.x86_capability);
	set_cpu_cap(&boot_cpu_data, X86_FEATURE_CONSTANT_TSC);
	leaf(0x80000008, regs);
	boot_cpu_data.x86_phys_bits = regs[0] & 0xff;
	boot_cpu_data.x86 = 6;
	boot_cpu_data.x86_clflush_size = 64;
	boot_cpu_data.x86_vendor = X86_VENDOR_INTEL;
#ifdef X86_FEATURE_MSR_IA32_FEAT_CTL
	set_cpu_cap(&boot_cpu_data, X86_FEATURE_MSR_IA32_FEAT_CTL);
#endif
}

/* What the boot of a processor says of VMX, where KVM leaves that to it. */
void standin_start_cpu(void *unused)
{
#ifdef X86_FEATURE_MSR_IA32_FEAT_CTL
	unsigned long long control;

	if (!host->read_msr(MSR_IA32_FEAT_CTL, &control) && !(control & FEAT_CTL_LOCKED))
		host->write_msr(MSR_IA32_FEAT_CTL,
				FEAT_CTL_LOCKED | FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX);
	this_cpu_write(cpu_info.x86_vendor, boot_cpu_data.x86_vendor);
	memcpy(this_cpu_ptr(&cpu_info), &boot_cpu_data, sizeof(boot_cpu_data));
#endif
	standin_control_registers();
}

long standin_boot(void)
{
	int cpu;

	standin_cpus();
	standin_memory();
	standin_per_cpu();
	standin_features();
	standin_tasks();
	for_each_possible_cpu(cpu)
		standin_on(cpu, standin_start_cpu, NULL);
	standin_mm(standin_pgd());
	if (boot_cpu_has(X86_FEATURE_SPEC_CTRL))
		host->read_msr(MSR_IA32_SPEC_CTRL, &host_spec_ctrl);
	return standin_hyperv();
}

/* Parameters: of every module of the image, by name. */
extern const struct kernel_param __start___param[], __stop___param[];

static int set_bool(const char *value, const struct kernel_param *param)
{
	*(bool *)param->arg = value[0] != '0';
	return 0;
}

static int get_bool(char *to, const struct kernel_param *param)
{
	return *(bool *)param->arg;
}

static int set_int(const char *value, const struct kernel_param *param)
{
	int number = 0;

	for (; *value >= '0' && *value <= '9'; value++)
		number = number * 10 + *value - '0';
	*(int *)param->arg = number;
	return 0;
}

static int get_int(char *to, const struct kernel_param *param) { return *(int *)param->arg; }

const struct kernel_param_ops param_ops_bool = { .set = set_bool, .get = get_bool };
const struct kernel_param_ops param_ops_int = { .set = set_int, .get = get_int };
#ifdef HAVE_KVM_STATIC_CALLS
int param_get_bool(char *to, const struct kernel_param *param) { return get_bool(to, param); }
int param_get_uint(char *to, const struct kernel_param *param) { return get_int(to, param); }
int param_set_uint(const char *value, const struct kernel_param *p) { return set_int(value, p); }
const struct kernel_param_ops param_ops_bint = { .set = set_int, .get = get_int };
#endif
const struct kernel_param_ops param_ops_uint = { .set = set_int, .get = get_int };

static const struct kernel_param *param_of(const char *name)
{
	const struct kernel_param *param;

	for (param = __start___param; param < __stop___param; param++)
		if (!strcmp(param->name, name))
			return param;
	return NULL;
}

long standin_set_param(const char *name, const char *value)
{
	const struct kernel_param *param = param_of(name);

	return param ? param->ops->set(value, param) : -ENOENT;
}

long standin_get_param(const char *name)
{
	const struct kernel_param *param = param_of(name);
	char line[64];

	return param ? param->ops->get(line, param) : -ENOENT;
}

/* kvm.ko first, where it does something of its own; a module without these has no such step. */
int kvm_init_module(void) __attribute__((weak));
void kvm_cleanup_module(void) __attribute__((weak));
int intel_init_module(void);
void intel_cleanup_module(void);

long standin_loaded;

long standin_insmod(void)
{
	int ret = kvm_init_module ? kvm_init_module() : 0;

	if (ret)
		return ret;
	ret = intel_init_module();
	if (ret && kvm_cleanup_module)
		kvm_cleanup_module();
	standin_loaded = !ret;
	standin_quiesce();
	return ret;
}

long standin_rmmod(void)
{
	if (!standin_loaded)
		return 0;
	standin_loaded = 0;
	intel_cleanup_module();
	if (kvm_cleanup_module)
		kvm_cleanup_module();
	standin_quiesce();
	return 0;
}

#ifdef HAVE_FPU_INTERNAL
void fpstate_init(union fpregs_state *state)
{
	memset(state, 0, sizeof(struct fxregs_state));
	state->fxsave.cwd = 0x37f;
	state->fxsave.mxcsr = 0x1f80;
}

void *get_xsave_addr(struct xregs_state *state, int feature) { return NULL; }
#endif

/* The host's own value is what the boot found: no mitigation is chosen here. */
void x86_virt_spec_ctrl(u64 guest, u64 virt, bool to_guest)
{
	u64 mask = SPEC_CTRL_IBRS, wanted;

	if (!boot_cpu_has(X86_FEATURE_SPEC_CTRL))
		return;
	if (boot_cpu_has(X86_FEATURE_INTEL_STIBP))
		mask |= SPEC_CTRL_STIBP;
	wanted = (host_spec_ctrl & ~mask) | (guest & mask);
	if (wanted != host_spec_ctrl)
		host->write_msr(MSR_IA32_SPEC_CTRL, to_guest ? wanted : host_spec_ctrl);
}

void intel_pt_handle_vmx(int on) { }
void kvm_set_posted_intr_wakeup_handler(void (*handler)(void)) { }
bool pat_enabled(void) { return true; }
bool pat_pfn_immune_to_uc_mtrr(unsigned long pfn) { return false; }
struct pid *get_task_pid(struct task_struct *of, enum pid_type type) { return NULL; }
void put_pid(struct pid *pid) { }
pid_t pid_vnr(struct pid *pid) { return 1; }
void __put_task_struct(struct task_struct *of) { }
void __mmdrop(struct mm_struct *of) { }
int sigprocmask(int how, sigset_t *set, sigset_t *old) { return 0; }

/* Jump anywhere: for whoever wants to see how that ends. */
long standin_call(void (*function)(void))
{
	function();
	return 0;
}
