// SPDX-License-Identifier: GPL-2.0-only
/* The steps of l0.h: each is something that L1 does, or that happens to it, read from an input. */
#ifndef KVM_VMX_TESTS_FUZZ_L0_STEPS_H
#define KVM_VMX_TESTS_FUZZ_L0_STEPS_H

#ifndef FETCHED
#define WATCHES 0xff
#define next_moment() do { } while (0)
#else
static void next_moment(void);
#endif

static void enter(struct scene *s)
{
	u8 how = take(s, 1);
	insn_t status;

	stay(s, how & 2 ? how >> 2 : LONGEST_STAY);
	status = s->vp->guest_state == L2_STOPPED ? l0.go_on(s->vp) :
		 ops(s)->vmentry(cpu_of(s), s->vp->gpr, how & 1);
	stay_ends(s);
	check(s, status);
}

/* A field of the VMCS in use, in the page or by VMWRITE, and its group's clean bit. */
static void field(struct scene *s)
{
	u8 which = take(s, 1);
	const struct scene_field *f = &scene_fields[which % NR_SCENE_FIELDS];
	u64 value = word(s), page = EVMCS_PAGE + (s->cpu << 12);

	if (s->vp->assist_msr & 1) {
		put(page + f->offset, &value, f->size);
		put(page + CLEAN_FIELDS, (u32[]){ which & 1 ? 0 : ~f->clean }, 4);
	} else if (s->vp->guest_state != L2_STOPPED) {
		check(s, ops(s)->vmwrite(cpu_of(s), f->encoding, value));
	}
}

static void store(struct scene *s)
{
	u64 gpa = word(s) + take(s, 2);
	u64 value = word(s);

	put(gpa, &value, 1 + (take(s, 1) & 7));
}

static void blob_of_bytes(struct scene *s, u64 gpa, u64 most)
{
	u64 size = take(s, 1) % most, left = s->end - s->at;

	size = size < left ? size : left;
	put(gpa, s->at, size);
	s->at += size;
}

static void code(struct scene *s)
{
	blob_of_bytes(s, CODE_PAGE, 128);
}

static void page(struct scene *s)
{
	static const u32 pages[] = { EVMCS_PAGE, ASSIST_PAGE, VMCS_PAGE, VMXON_PAGE, PARAMETER_PAGE,
				     LISTS_PAGE, GDT_PAGE, IDT_PAGE, TSS_PAGE, BITMAP_PAGE };

	blob_of_bytes(s, pages[take(s, 1) % 10] + (take(s, 2) & 0xfff), 256);
}

/* An entry of the EPT's or of L2's own tables. */
static void table(struct scene *s)
{
	static const u32 tables[] = { EPT_PAGE, EPT_PAGE + 0x1000, EPT_PAGE + 0x2000,
				      EPT_PAGE + 0x3000, PML4_PAGE, PDPT_PAGE, PD_PAGE };
	u8 which = take(s, 1), index = take(s, 1);
	u64 entry = (which & 0x80 ? word(s) : (take(s, 1) << 12)) ^ take(s, 2);

	put(tables[which % 7] + 8 * (which & 0x40 ? index : index % 4), &entry, 8);
	if (which & 0x20)
		check(s, s->vp->guest_state == L2_STOPPED ? INSN_OK :
		      ops(s)->invept(cpu_of(s), 1 + (which & 1), EPT_PAGE | 0x1e, 0));
}

static void msr(struct scene *s)
{
	u8 which = take(s, 1);
	u32 index = which < 0xf0 ? scene_msrs[which % NR_SCENE_MSRS] : (u32)take(s, 4);
	u64 value = 0;

	if (s->vp->guest_state == L2_STOPPED)
		return;
	if (take(s, 1) & 1)
		check(s, ops(s)->wrmsr(cpu_of(s), index, word(s)));
	else
		check(s, ops(s)->rdmsr(cpu_of(s), index, &value));
}

static void registers(struct scene *s)
{
	u32 mask = take(s, 2);

	for (int i = 0; i < NR_GPRS; i++)
		if (mask >> i & 1)
			s->vp->gpr[i] = word(s);
}

static void hypercall(struct scene *s)
{
	static const u16 calls[] = { 2, 3, 8, 0x13, 0x14, 0xaf, 0xb0, 0x8001, 0x5c, 0xb };
	u8 which = take(s, 1);

	s->vp->gpr[GPR_RCX] = calls[which % 10] | (u64)take(s, 1) << 16 | take(s, 2) << 32 |
			      take(s, 2) << 48;
	s->vp->gpr[GPR_RDX] = word(s);
	s->vp->gpr[GPR_R8] = word(s);
	for (int i = 0; i < 12 && which & 0x80; i++)
		s->vp->extended.xmm[i] = word(s);
	if (s->vp->guest_state != L2_STOPPED)
		check(s, ops(s)->vmcall(cpu_of(s), s->vp->gpr));
}

static void pointers(struct scene *s)
{
	const struct virt_cpu_ops *op = ops(s);
	struct virt_cpu *cpu = cpu_of(s);
	u64 value = 0;
	u32 r[4];

	if (s->vp->guest_state == L2_STOPPED)
		return;
	switch (take(s, 1) % 11) {
	case 0: check(s, op->vmxon(cpu, word(s))); break;
	case 1: check(s, op->vmxoff(cpu)); break;
	case 2: check(s, op->vmclear(cpu, word(s))); break;
	case 3: check(s, op->vmptrld(cpu, word(s))); break;
	case 4: check(s, op->vmptrst(cpu, &value)); break;
	case 5: check(s, op->vmread(cpu, word(s), &value)); break;
	case 6: value = word(s); check(s, op->vmwrite(cpu, value, word(s))); break;
	case 7: value = word(s); check(s, op->invept(cpu, value, word(s), word(s))); break;
	case 8: value = word(s); check(s, op->invvpid(cpu, value, word(s), word(s))); break;
	case 9: value = take(s, 1) % 9; check(s, op->mov_to_cr(cpu, value, word(s))); break;
	case 10:
		r[0] = word(s), r[1] = r[3] = 0, r[2] = word(s);
		op->cpuid(cpu, &r[0], &r[1], &r[2], &r[3]);
	}
}

static void blob(struct scene *s)
{
	static struct l0_saved saved;
	int changes = take(s, 1) % 5;

	l0.save(s->vp, &saved);
	while (changes--) {
		u64 at = take(s, 2) % (sizeof(saved) - 8), value = word(s);

		memcpy((u8 *)&saved + at, &value, 1 << (at & 3));
	}
	if (take(s, 1))
		saved.checksum = l0_saved_checksum(&saved);
	l0.restore(s->vp, &saved);
}

static void check_bus(const struct l0_bus *bus)
{
	if (bus->used > bus->nr_answers || bus->nr_answers > L0_ACCESSES)
		wrong("an answer of so many", bus->nr_answers);
	if (bus->first > bus->nr_writes || bus->nr_writes > L0_ACCESSES)
		wrong("a write of so many", bus->nr_writes);
}

/* Where the processor runs L1, at CODE in real mode, for a while; then it is as before. */
static void whole(struct scene *s)
{
	static struct l0_saved before;
	static struct l0_whole saved;
	struct l0_vp *vp = s->vp;
	struct l0_vmcs *r = &vp->root_vmcs;
	const size_t own = offsetof(struct l0_whole, root);
	const size_t counts = offsetof(struct l0_root, bus.now);
	u64 instructions = vp->counters.l2_instructions, at, value;
	int changes = take(s, 1) % 5;

	l0.save(vp, &before);
	l0.root_start(vp);
	r->f.guest_cs_base = CODE_PAGE;
	r->f.guest_cs_ar_bytes = 0x9b;
	for (u32 *rights = &r->f.guest_ds_ar_bytes; rights <= &r->f.guest_gs_ar_bytes; rights++)
		*rights = 0x93;
	r->f.guest_es_ar_bytes = r->f.guest_ss_ar_bytes = 0x93;
	for (u32 *limit = &r->f.guest_es_limit; limit <= &r->f.guest_gs_limit; limit++)
		*limit = 0xffff;
	l0.root_save(vp, &saved);
	while (changes--) {
		/* of all, of devices, APIC and board, or of the flags and counts before these */
		at = take(s, 2), value = word(s);
		at = at & 0x8000 ? at % (sizeof(saved) - 8) :
		     own + at % (at & 0x4000 ? sizeof(saved) - 16 - own : counts);
		memcpy((u8 *)&saved + at, &value, 1 << (value & 3));
	}
	saved.saved.checksum = l0_saved_checksum(&saved.saved);
	saved.checksum = l0_whole_checksum(&saved);
	if (!l0.root_restore(vp, &saved))
		for (int i = 0; i < 4; i++) {
			next_moment();
			if (l0.root_run(vp, 32) == ROOT_PORT)
				l0.bus_answer(vp, ~0ull);
			check_bus(&vp->root.bus);
		}
	next_moment();
	vp->may_stop = 0;
	memset(&vp->root, 0, sizeof(vp->root));
	memset(&s->partition->board, 0, sizeof(s->partition->board));
	vp->counters.l2_instructions = instructions;
	if (l0.restore(vp, &before))
		wrong("what was saved is not restored", 0);
	check(s, INSN_OK);
}

/* Events, time, what is there of memory, and whose turn it is. */
static void other(struct scene *s)
{
	struct l0_vp *vp = s->vp;
	u8 what = take(s, 1);

	switch (what % 8) {
	case 0: irq_raise(cpu_of(s), take(s, 1)); break;
	case 1: vp->cpu.nmi = 1; break;
	case 2: l0.signal_sint(vp, take(s, 1) & 15); break;
	case 3: l0.migrate(s->partition, (u64)(what >> 3) << 30 | 1u << 23); break;
	case 4:
		unbacked[what >> 6] ^= 1ull << take(s, 1) % 64;
		s->mem.unbacked = unbacked;
		break;
	case 5:
		s->cpu ^= 1;
		s->vp = &s->partition->vp[s->cpu];
		break;
	case 6:
		vp->cpu.cpl = what >> 3 & 3;
		if (what & 0x80)
			vp->cpu.cr0 = word(s), vp->cpu.cr4 = word(s), vp->host_loaded = 0;
		break;
	case 7:
		if (vp->nr_alarms < L0_MAX_ALARMS)
			vp->alarm[vp->nr_alarms++] = (struct l0_alarm){
				vp->counters.l2_instructions + take(s, 1),
				what & 8 ? L0_ALARM_NMI : 0x100u | what };
	}
}

#endif
