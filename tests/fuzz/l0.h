// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inputs of a fuzzer put before L0, without Python: a machine of two processors, and what L1 and
 * L2 may do with it, read from bytes. An outcome that no processor has ends the process.
 */
#include <kvm_vmx/l0/state.h>
#include <kvm_vmx/l0/watch/saved.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "scene.h"

/* What hyperv.pxd exports, in the order of the names in l0.py. */
struct l0_contract {
	struct l0_partition *(*create)(const struct phys_mem *, const struct l0_profile *, u32, u32,
				       u64, int, int);
	void (*destroy)(struct l0_partition *);
	insn_t (*go_on)(struct l0_vp *);
	void (*save)(struct l0_vp *, struct l0_saved *);
	const char *(*restore)(struct l0_vp *, const struct l0_saved *);
	void (*migrate)(struct l0_partition *, u64);
	int (*signal_sint)(struct l0_vp *, u32);
	int (*trace_start)(struct l0_vp *, u64);
	void (*root_start)(struct l0_vp *);
	void (*root_save)(struct l0_vp *, struct l0_whole *);
	const char *(*root_restore)(struct l0_vp *, const struct l0_whole *);
	u32 (*root_run)(struct l0_vp *, u64);
	void (*bus_answer)(struct l0_vp *, u64);
};

#define MEMORY (1u << 20)
#define LONGEST_STAY 4096	/* instructions of L2 in one entry */
#define MOST_STEPS 64

static struct l0_contract l0;
static u8 *memory;
static u64 unbacked[MEMORY >> 18];

struct scene {
	const u8 *at, *end;
	struct phys_mem mem;
	struct l0_partition *partition;
	struct l0_vp *vp;	/* the processor whose turn it is */
	u32 cpu;
};

#define ops(scene) ((scene)->vp->cpu.ops)
#define cpu_of(scene) (&(scene)->vp->cpu)

/* Little-endian; behind the end all is 0. */
static u64 take(struct scene *s, int bytes)
{
	u64 value = 0;

	for (int i = 0; i < bytes; i++, s->at += s->at < s->end)
		value |= (u64)(s->at < s->end ? *s->at : 0) << 8 * i;
	return value;
}

/* A number that is somebody's boundary, or any. */
static u64 word(struct scene *s)
{
	static const u64 boundary[] = {
		0, 1, 2, 0xfff, 0x1000, MEMORY - 8, MEMORY, MEMORY - 4096, 1ull << 45, 1ull << 46,
		1ull << 47, 1ull << 63, ~0ull, ~1ull, ~0ull << 47, 0xffffffff, 1ull << 32,
		VMXON_PAGE, VMCS_PAGE, VMCS_PAGE + 0x1000, EVMCS_PAGE, EVMCS_PAGE + 0x1000, ASSIST_PAGE,
		CODE_PAGE, EPT_PAGE | 0x1e, EPT_PAGE | 0x5e, PARAMETER_PAGE, PARAMETER_PAGE + 0xff8,
	};
	u8 kind = take(s, 1);

	if (kind < 0x80)
		return boundary[kind % (sizeof(boundary) / sizeof(*boundary))];
	if (kind < 0xa0)
		return take(s, 1);
	if (kind < 0xc0)
		return 1ull << (kind & 63) | take(s, 1);
	return take(s, kind < 0xd0 ? 2 : kind < 0xe0 ? 4 : 8);
}

static void wrong(const char *what, u64 value)
{
	fprintf(stderr, "no processor does that: %s %#llx\n", what, (unsigned long long)value);
	abort();
}

static void check(struct scene *s, insn_t status)
{
	const struct l0_vp *vp = s->vp;
	u32 vector = INSN_FAULT_VECTOR(status);
	u32 error = vp->active_evmcs != L0_NO_VMCS ? vp->evmcs_cache.f.vm_instruction_error :
						     vp->current_vmcs.f.vm_instruction_error;

	if (status & INSN_FAULT) {
		if (vector != 6 && vector != 13)
			wrong("a fault of vector", vector);
	} else if (status == INSN_VMFAIL_VALID) {
		if (error < 1 || error > 28)
			wrong("a VM-instruction error", error);
	} else if (status != INSN_OK && status != INSN_VMFAIL_INVALID) {
		wrong("a status", status);
	}
	if (vp->guest_state == L2_RUNNING || vp->guest_state == L2_LOST)
		wrong("L2 is left in state", vp->guest_state);
	if (vp->nr_alarms > L0_MAX_ALARMS + 1 || vp->nr_lint_records > L0_MAX_LINT_RECORDS)
		wrong("more than fits: alarms", vp->nr_alarms);
	if (vp->cpu.intr != (irq_first(&vp->cpu) != 0))
		wrong("an interrupt is pending", vp->cpu.intr);
}

static void put(u64 gpa, const void *data, u64 size)
{
	if (gpa < MEMORY)
		memcpy(memory + gpa, data, size < MEMORY - gpa ? size : MEMORY - gpa);
}

/* L2 comes back after a bounded stay. */
static void stay(struct scene *s, u64 most)
{
	struct l0_vp *vp = s->vp;

	/* a timers' alarm, of which there is one, stays */
	while (vp->nr_alarms >= L0_MAX_ALARMS)
		if (vp->alarm[--vp->nr_alarms].what == L0_ALARM_TIMERS)
			vp->alarm[0] = vp->alarm[vp->nr_alarms];
	vp->alarm[vp->nr_alarms++] =
		(struct l0_alarm){ vp->counters.l2_instructions + most, L0_ALARM_STOP };
	vp->may_stop = 1;
}

static void stay_ends(struct scene *s)
{
	struct l0_vp *vp = s->vp;

	vp->may_stop = 0;
	for (u32 i = 0; i < vp->nr_alarms; i++)
		if (vp->alarm[i].what == L0_ALARM_STOP) {
			vp->alarm[i] = vp->alarm[--vp->nr_alarms];
			break;
		}
}

#include "l0_steps.h"
#ifdef FETCHED
#include "fetched.h"
#endif

/* What an input of a surface may do; the last one for everything that has no place before it. */
typedef void (*step_fn)(struct scene *);
static const struct { const char *name; step_fn step[8]; } surfaces[] = {
	{ "entry", { enter, field, field, store, page, field, pointers, other } },
	{ "hypercall", { hypercall, hypercall, store, page, hypercall, msr, enter, other } },
	{ "msr", { msr, msr, msr, enter, store, msr, pointers, other } },
	{ "guest", { enter, code, registers, field, page, enter, store, other } },
	{ "tables", { enter, table, table, code, registers, table, field, other } },
	{ "saved", { blob, blob, enter, code, field, other, msr, whole } },
};
#define NR_SURFACES (sizeof(surfaces) / sizeof(*surfaces))

/* The input's first bytes choose the machine. */
static void begin(struct scene *s, u32 surface)
{
	u8 what = take(s, 1), how = take(s, 1) & WATCHES;

	memcpy(memory, scene_memory, MEMORY);
	memset(unbacked, 0, sizeof(unbacked));
	s->mem = (struct phys_mem){ memory, MEMORY, NULL };
	s->partition = l0.create(&s->mem, &scene_profiles[what % NR_SCENE_PROFILES], 2,
				 how & 3, how, 0, how >> 2 & 1);
	if (!s->partition)
		abort();
	s->partition->tick = how & 8 ? 0x1ec : 0;
	s->partition->clock.tsc_hz = 2000000000;	/* measured otherwise, which takes time */
	for (s->cpu = 2; s->cpu--; ) {
		next_moment();
		s->vp = &s->partition->vp[s->cpu];
		ops(s)->wrmsr(cpu_of(s), 0x3a, 5);
		ops(s)->mov_to_cr(cpu_of(s), 4, s->vp->cpu.cr4 | 0x2000);
		ops(s)->vmxon(cpu_of(s), VMXON_PAGE);
		ops(s)->wrmsr(cpu_of(s), HV_X64_MSR_GUEST_OS_ID, 1ull << 48);
		if (what & 0x80) {
			ops(s)->vmptrld(cpu_of(s), VMCS_PAGE + (s->cpu << 12));
			for (u32 i = 0; i < NR_SCENE_FIELDS; i++)
				ops(s)->vmwrite(cpu_of(s), scene_fields[i].encoding,
						scene_fields[i].value);
		} else {
			ops(s)->wrmsr(cpu_of(s), HV_X64_MSR_VP_ASSIST_PAGE,
				      (ASSIST_PAGE + (s->cpu << 12)) | 1);
		}
		if (how & 16)
			l0.trace_start(s->vp, 16);
		if (strcmp(surfaces[surface].name, "tables") == 0) {
			u64 eptp = EPT_PAGE | (how & 32 ? 0x5e : 0x1e);

			put(EVMCS_PAGE + (s->cpu << 12) + EPTP_OFFSET, &eptp, 8);
			put(EVMCS_PAGE + (s->cpu << 12) + PROC_OFFSET, (u32[]){ PROC | 1u << 31 }, 4);
			put(EVMCS_PAGE + (s->cpu << 12) + SECONDARY_OFFSET, (u32[]){ 2 }, 4);
		}
	}
	s->cpu = 0;
	s->vp = s->partition->vp;
}

int fuzz_surface(const char *name)
{
	for (u32 i = 0; i < NR_SURFACES; i++)
		if (strcmp(surfaces[i].name, name) == 0)
			return i;
	return -1;
}

int fuzz_setup(const void *contract)
{
	memcpy(&l0, contract, sizeof(l0));
	return memory || posix_memalign((void **)&memory, 4096, MEMORY) == 0 ? 0 : -1;
}

/* One input; how many instructions of L1 the machine has seen. */
u64 fuzz_one(int surface, const u8 *data, size_t size)
{
	struct scene scene = { .at = data, .end = data + size };
	u64 counted = 0;

	begin(&scene, surface);
	for (int i = 0; i < MOST_STEPS && scene.at < scene.end; i++) {
		next_moment();
		surfaces[surface].step[take(&scene, 1) % 8](&scene);
	}
	for (u32 n = 0; n < 2; n++) {
		counted += scene.partition->vp[n].counters.wrmsr;
		counted += scene.partition->vp[n].counters.vmlaunch;
		counted += scene.partition->vp[n].counters.vmresume;
	}
	l0.destroy(scene.partition);
	return counted;
}

static volatile int storming;

/* Stores into the pages that L0 reads, until storming is 0. */
static void *storm(void *unused)
{
	static const u32 pages[] = { EVMCS_PAGE, EVMCS_PAGE + 0x1000, ASSIST_PAGE, VMCS_PAGE,
				     PARAMETER_PAGE, LISTS_PAGE, EPT_PAGE + 0x3000, PD_PAGE, GDT_PAGE,
				     IDT_PAGE, CODE_PAGE, BITMAP_PAGE };
	u64 dice = 0x9e3779b97f4a7c15ull;

	while (storming) {
		volatile u64 *word = (u64 *)(memory + pages[dice % 12]) + (dice >> 8) % 512;
		u64 was = *word;

		*word = dice >> 20 & 1 ? was ^ 1ull << (dice >> 32 & 63) : dice;
		dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
		*word = was;
	}
	return NULL;
}

/* Begin the storm, or end it; 0 or an errno. */
int fuzz_storm(int on)
{
	static pthread_t thread;

	storming = on;
	return on ? pthread_create(&thread, NULL, storm, NULL) : pthread_join(thread, NULL);
}

#ifdef FUZZER
#include <Python.h>
#include <signal.h>
#include <sys/time.h>

/* Of the processor's own time: on a loaded machine an input may take as long as it likes. */
#ifndef PATIENCE
#define PATIENCE 20000	/* milliseconds */
#endif

PyMODINIT_FUNC PyInit_hyperv(void);
static int the_surface;

static void *exported(PyObject *table, const char *name)
{
	PyObject *capsule = PyDict_GetItemString(table, name);

	return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
}

static void impatient(int number)
{
	wrong("an input takes so many milliseconds", PATIENCE);
}

static void patience(u32 milliseconds)
{
	const struct itimerval timer = { .it_value = {
		.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000 } };

	setitimer(ITIMER_PROF, &timer, NULL);
}

/* The module's own constants are set when Python loads it; after that nothing needs Python. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { CONTRACT };
	void *contract[sizeof(names) / sizeof(*names)];
	PyObject *table;

	PyImport_AppendInittab("hyperv", PyInit_hyperv);
	Py_Initialize();
	table = PyObject_GetAttrString(PyImport_ImportModule("hyperv"), "__pyx_capi__");
	for (u32 i = 0; i < sizeof(names) / sizeof(*names); i++)
		contract[i] = exported(table, names[i]);
	signal(SIGPROF, impatient);
	the_surface = fuzz_surface(getenv("SURFACE"));
	if (the_surface < 0 || fuzz_setup(contract))
		return 1;
	return getenv("STORM") ? fuzz_storm(1) : 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	patience(PATIENCE);
	fuzz_one(the_surface, data, size);
	patience(0);
	return 0;
}
#endif
