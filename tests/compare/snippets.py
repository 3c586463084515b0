# SPDX-License-Identifier: GPL-2.0-only
"""Pairs of invented functions, in C and in Cython, that are alike by every rule of the engine.

Their marks have their pins in the text, `[statements of the kernel/of the port digest]`."""

import re

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.pysource import PortFile

HEAD = "# SPDX-License-Identifier: GPL-2.0-only\n# C: snippet.c\n"


MARK = re.compile(r"(# C([-~+]))(?: \[(\d+)(?:/(\d+))? ([0-9a-f]{6})\])?")


def c_function(source, **config):
    """The one function of a C snippet."""
    file = CFile("snippet.c", source, {"CONFIG_HYPERV": 1, **config})
    return file.function(file.names()[0])


def port_function(source):
    """The one function of a Cython snippet."""
    file = port_file(source)
    return next(iter(file.functions.values()))[0]


def port_file(source):
    """A Cython snippet as a file, and its marks' pins beside it."""
    return PortFile("snippet.pyx", HEAD + MARK.sub(r"\1", source), pins_in(source))


def pins_in(source):
    """The pins in the text of one function, as a file of the port is given them."""
    pins = []
    for _, kind, first, second, digest in MARK.findall(source):
        sides = f"0/{first}" if kind == "+" else f"{first}/{second or 0}"
        pins.append(f"{kind}{sides} {digest}" if digest else "")
    return {re.search(r"(\w+)\(", source)[1]: pins}


def pins_of(function):
    """The pins of a function's marks, likewise."""
    return {function.name: [str(mark.pin or "") for mark in function.marks]}


PAIRS = {
    "plain": ("""
static int tank_fill(struct tank *tank, unsigned int litres)
{
	int ret = 0;

	if (!tank->open || litres > TANK_MAX)
		return -EINVAL;
	tank->level += litres;
	if (tank->level >= tank->size) {
		tank->level = tank->size;
		ret = TANK_FULL;
	} else if (tank->leaks)
		tank_warn(tank, "leaking\\n");
	else
		tank->ok = true;
	return ret;
}
""", """
cdef int tank_fill(tank_t *tank, unsigned int litres) noexcept nogil:
    cdef int ret = 0

    if not tank.open or litres > TANK_MAX:
        return -EINVAL
    tank.level += litres
    if tank.level >= tank.size:
        tank.level = tank.size
        ret = TANK_FULL
    elif tank.leaks:
        tank_warn(tank, "leaking\\n")
    else:
        tank.ok = True
    return ret
"""),
    "lists": ("""
static void shed_clear(int cpu)
{
	struct loaded_vmcs *v, *n;

	list_for_each_entry(v, &per_cpu(shed, cpu), loaded_vmcss_on_cpu_link)
		shed_note(v->age);
	list_for_each_entry_safe(v, n, &per_cpu(shed, cpu), loaded_vmcss_on_cpu_link) {
		if (v->old)
			shed_drop(v);
		shed_count(cpu);
	}
}
""", """
cdef void shed_clear(int cpu) noexcept nogil:
    cdef loaded_vmcs_t *v
    cdef loaded_vmcs_t *n

    v = NULL
    while loaded_vmcs_on_cpu_next(&v, per_cpu_list(shed, cpu)):
        shed_note(v.age)
    v = n = NULL
    while loaded_vmcs_on_cpu_next_safe(&v, &n, per_cpu_list(shed, cpu)):
        if v.old:
            shed_drop(v)
        shed_count(cpu)
"""),
    "instructions": ("""
static unsigned long crane_lift(struct crane *crane, unsigned long hook)
{
	u64 rope = crane->rope;
	unsigned long load;
	bool slack;

	asm volatile (__ex(ASM_VMX_VMPTRLD_RAX)
		      CC_SET(na)
		      : CC_OUT(na) (slack)
		      : "a"(&rope), "m"(rope)
		      : "memory");
	if (slack)
		return 0;
	asm volatile (__ex_clear(ASM_VMX_VMREAD_RDX_RAX, "%0") : "=a"(load)
		      : "d"(hook) : "cc");
	return load;
}
""", """
cdef ulong crane_lift(crane_t *crane, ulong hook) noexcept nogil:
    cdef u64 rope = crane.rope
    cdef ulong load
    cdef bint slack

    slack = asm_vmptrld(&rope)
    if slack:
        return 0
    load = asm_vmread(hook)
    return load
"""),
    "callbacks": ("""
static void bell_hang(struct bell *bell, void (*ring)(struct bell *bell), int (*rest)(void))
{
	struct bell_status status;

	rdmsrl(BELL_STATUS, *(u64 *)&status);
	bell->ring = ring;
	bell->rest = rest;
	if (status.cracked)
		set_bit(BELL_MEND, (void *)&bell->flags);
}
""", """
cdef void bell_hang(bell_t *bell, void (*ring)(bell_t *bell) noexcept nogil,
                    int (*rest)() noexcept nogil) noexcept nogil:
    cdef bell_status status

    rdmsrl(BELL_STATUS, <u64 *>&status)
    bell.ring = ring
    bell.rest = rest
    if status.cracked:
        set_bit(BELL_MEND, &bell.flags)
"""),
    "void return": ("""
void valve_set(struct valve *valve, u8 turn)
{
	if (valve->remote)
		return radio_send(valve->number, turn);
	valve->turn = turn;
	valve_log(valve);
}
""", """
cdef void valve_set(valve *valve, u8 turn) noexcept nogil:
    if valve.remote:
        radio_send(valve.number, turn)
        return
    valve.turn = turn
    valve_log(valve)
"""),
    "switch": ("""
static bool lamp_allowed(struct lamp *lamp, int colour)
{
	switch (colour) {
	case RED:
	case AMBER:
		lamp->seen++;
		return true;
	case GREEN:
		lamp->seen = 0;
		break;
	default:
		return lamp->any && colour != BLUE;
	}
	return lamp->mask & (1u << colour);
}
""", """
cdef bint lamp_allowed(lamp_t *lamp, int colour) noexcept nogil:
    if colour == RED or colour == AMBER:
        lamp.seen += 1
        return True
    elif colour == GREEN:
        lamp.seen = 0
    else:
        return lamp.any and colour != BLUE
    return (lamp.mask & (<u32>1 << colour)) != 0
"""),
    "loops": ("""
static u64 shelf_sum(struct shelf *shelf, u64 *best)
{
	u64 sum = 0;
	int i;

	for (i = 0; i < shelf->nr; i++) {
		u64 *box = &shelf->boxes[i];

		if (*box == 0)
			continue;
		sum += *box << SHIFT;
		*best = max(*best, sum);
	}
	while (sum > LIMIT)
		sum = sum >> 1;
	return sum ? sum - 1 : ~0ul;
}
""", """
cdef u64 shelf_sum(shelf_t *shelf, u64 *best) noexcept nogil:
    cdef u64 sum = 0
    cdef int i
    cdef u64 *box

    for i in range(shelf.nr):
        box = &shelf.boxes[i]

        if box[0] == 0:
            continue
        sum += box[0] << SHIFT
        best[0] = max(best[0], sum)
    while sum > LIMIT:
        sum = sum >> 1
    return sum - 1 if sum else ~<ulong>0
"""),
    "configuration": ("""
static int engine_start(struct engine *engine)
{
#ifdef CONFIG_STEAM
	boiler_heat(engine->boiler);
#endif
#if IS_ENABLED(CONFIG_HYPERV)
	if (engine->turbo)
		turbo_prime(engine, 3);
#endif
	return engine_turn(engine, engine->rpm + 100);
}
""", """
cdef int engine_start(engine_t *engine) noexcept nogil:
    if IS_ENABLED(CONFIG_HYPERV):
        if engine.turbo:
            turbo_prime(engine, 3)
    return engine_turn(engine, engine.rpm + 100)
"""),
    "marks": ("""
static int door_lock(struct door *door, bool twice)
{
	unsigned long flags;
	int ret;

	spin_lock_irqsave(&door->lock, flags);
	ret = bolt_push(door->bolt);
	if (twice)
		ret = bolt_push(door->second);
	spin_unlock_irqrestore(&door->lock, flags);
	trace_door(door, ret);
	return ret;
}
""", """
cdef int door_lock(door_t *door, bint twice) noexcept nogil:
    # C- [1 30bfae] flags: nobody else is here
    cdef int ret

    # C- [1 1fd43b] the lock: nobody else is here
    ret = bolt_push(door.bolt)
    # C~ [2/1 49c01e] the second bolt: by a number
    ret |= bolt_push_number(2, twice)
    # C- spin_unlock_irqrestore(&door->lock, flags): nobody else is here
    # C- trace_door(door, ret): no tracing
    # C+ [1 49a0bd] the house counts its doors
    door.house.locked += 1
    return ret
"""),
    "house": ("""
static void lamp_switch(struct house *house, bool on)
{
	if (on) {
		lock(&house->lock);
		house->lamps++;
		unlock(&house->lock);
	} else
		return house_dark(house);
	bell(house);
}
""", """
cdef void lamp_switch(house_t *house, bint on) noexcept nogil:
    if on:
        # C- [1 f3fe3d] the lock: one thread
        # C+ [1 474b2f] the meter
        house.meter += 1
        house.lamps += 1
        # C- [1 cde911] the lock: one thread
    else:
        house_dark(house)
        return
    bell(house)
"""),
    "each": ("""
static void bells_ring(int times)
{
	int cpu;

	for_each_online_cpu(cpu) {
		bell(cpu, times);
		times--;
	}
}
""", """
cdef void bells_ring(int times) noexcept nogil:
    cdef int cpu

    for cpu in range(nr_cpu_ids()):
        if not cpu_online(cpu):
            continue
        bell(cpu, times)
        times -= 1
"""),
    "jump": ("""
static int mill_run(struct mill *mill, int steps)
{
	int runs = mill->runs;

	if (!mill->grain)
		goto out;
	mill_grind(mill);
	runs++;
out:
	mill->runs = runs;
	return runs + steps;
}
""", """
cdef int mill_run(mill_t *mill, int steps) noexcept nogil:
    cdef int runs = mill.runs

    # C~ [2/1 ee0e70] goto out: what it jumps over is the block
    if mill.grain:
        mill_grind(mill)
        runs += 1
    # C- [1 9c4cbd] the label: nothing jumps to it
    mill.runs = runs
    return runs + steps
"""),
}

# A `break` that leaves a switch in C and a loop in Cython.
BREAKS = ("""
static int drawer_count(struct drawer *drawer, int want)
{
	int i, found = 0;

	for (i = 0; i < drawer->nr; i++) {
		switch (drawer->kind[i]) {
		case FORK:
			if (want == SPOON)
				break;
			found++;
		}
	}
	return found;
}
""", """
cdef int drawer_count(drawer_t *drawer, int want) noexcept nogil:
    cdef int i, found = 0

    for i in range(drawer.nr):
        if drawer.kind[i] == FORK:
            if want == SPOON:
                break
            found += 1
    return found
""")
