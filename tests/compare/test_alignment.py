# SPDX-License-Identifier: GPL-2.0-only
"""Invented functions against each other: classes of rows, blocks, marks and their pins."""

import pytest
from mutate import unexplained
from snippets import BREAKS, PAIRS, c_function, port_function

from kvm_vmx.compare import idioms, rows
from kvm_vmx.compare.pysource import port_units


def compared(name, change_c=("", ""), change_port=("", "")):
    """The rows of a pair after a change of its text."""
    c, port = PAIRS[name]
    assert change_c[0] in c and change_port[0] in port
    kernel, port = c_function(c.replace(*change_c)), port_function(port.replace(*change_port))
    return rows.compare(kernel, port, port.units[0].key[1][1:] == ("void", 0))


def kinds(found):
    """How many rows of each class."""
    return {name: count for name in rows.CLASSES
            if (count := sum(row.kind == name for row in found))}


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_is_explained(name):
    c, port = PAIRS[name]
    assert unexplained(c_function(c), port_function(port)) == 0


def test_classes():
    assert kinds(compared("plain")) == {"same": 14}
    assert kinds(compared("void return")) == {"same": 4, "idiom": 1}
    assert kinds(compared("loops")) == {"same": 13, "moved": 1}
    assert kinds(compared("configuration")) == {"same": 4, "idiom": 4, "inactive": 1}
    assert kinds(compared("marks")) == {"same": 4, "adapted": 1, "omitted": 4, "added": 1}


def test_reasons():
    why = [row.why for row in compared("marks") if row.kind == "omitted"]
    assert why == [
        "flags: nobody else is here", "the lock: nobody else is here",
        "spin_unlock_irqrestore(&door->lock, flags): nobody else is here",
        "trace_door(door, ret): no tracing",
    ]


@pytest.mark.parametrize("c, port", [
    (("litres;", "litres; /* no */"), ("", "")),           # comments are no tokens
    (("	tank->level +=", "	tank\n->level  +="), ("", "")),
    (("", ""), ("tank.open or litres", "tank.open or \\\n            litres")),
    (("-EINVAL", "(-EINVAL)"), ("", "")),
])
def test_layout_does_not_count(c, port):
    assert not any(row.kind == "unexplained" for row in compared("plain", c, port))


@pytest.mark.parametrize("old, new", [
    ("while sum > LIMIT", "while sum > <u64>LIMIT"),
    ("best[0] = max(best[0], sum)", "best[0] = <u64>max(best[0], sum)"),
    ("sum = 0", "sum = <u64>0"),
    ("sum += box[0] << SHIFT", "sum += <u64>(box[0] << SHIFT)"),
])
def test_a_cast_that_says_what_c_does_is_an_idiom(old, new):
    assert kinds(compared("loops", ("", ""), (old, new))) == {"same": 12, "idiom": 1, "moved": 1}


@pytest.mark.parametrize("name, old, new", [
    ("plain", "        tank.ok = True\n", "        tank.ok = True\n        tank.ok = True\n"),
    ("plain", "    return ret\n", "        return ret\n"),          # another block
    ("plain", "not tank.open or", "not (tank.open or"),
    ("loops", "int i", "long i"),
    ("loops", "u64 *box", "u32 *box"),
    ("loops", "range(shelf.nr)", "range(1, shelf.nr)"),
    ("switch", "!= 0", "!= 1"),
    ("switch", "elif colour == GREEN", "if colour == GREEN"),
    ("switch", "<u32>1", "<u16>1"),                               # a cast that cuts off
    ("loops", "sum += box[0] << SHIFT", "sum += (box[0] << SHIFT) != 0"),  # a number, not a truth
    ("loops", "sum - 1 if sum else", "(sum - 1) != 0 if sum else"),
    ("loops", "max(best[0], sum)", "max(best[0], sum != 0)"),
    ("loops", "sum += box[0]", "sum += <u32>box[0]"),             # casts that change a value
    ("loops", "best[0] = max", "(<u32 *>best)[0] = max"),
    ("loops", "while sum > LIMIT", "while <u32>sum > LIMIT"),
    ("loops", "while sum > LIMIT", "while sum > <long>LIMIT"),
    ("loops", "sum >> 1", "<s64>sum >> 1"),
    ("plain", "litres > TANK_MAX", "litres > <u32>-TANK_MAX"),
    ("loops", "return sum - 1 if", "return sum - 1 != 0 if"),
    ("switch", "elif colour == GREEN", "elif colour == GREEN != 0"),  # Cython chains it
    ("house", "        house.meter += 1\n",
     "    house.meter += 1\n"),   # an added one, out of its block
    ("each", "        bell(", "            bell("),                   # behind the idiom's continue
    ("each", "        times -= 1", "    times -= 1"),
    ("house", "        return\n", "    return\n"),                       # part of an idiom
    ("jump", "        runs += 1\n", "    runs += 1\n"),                # out of an adapted block
    ("jump", "    mill.runs = runs\n", "        mill.runs = runs\n"),
    ("lists", "        shed_note(v.age)\n", "        shed_note(v.age)\n        shed_count(cpu)\n"),
    ("lists", "        shed_note(v.age)\n", "        pass\n    shed_note(v.age)\n"),
    ("lists", "        shed_count(cpu)", "    shed_count(cpu)"),
    ("lists", "    v = NULL\n", ""),                                 # begins where it stopped
    ("lists", "    v = n = NULL\n", "    v = NULL\n"),
    ("lists", "next_safe(&v, &n,", "next_safe(&n, &v,"),
    ("lists", "next(&v, per_cpu_list(shed, cpu))", "next(&v, per_cpu_list(shed, 0))"),
    ("instructions", "asm_vmptrld(&rope)", "asm_vmclear(&rope)"),
    ("instructions", "asm_vmptrld(&rope)", "asm_vmptrld(&load)"),
    ("instructions", "load = asm_vmread(hook)", "load = asm_vmread(load)"),
    ("instructions", "    load = asm_vmread(hook)", "    slack = asm_vmread(hook)"),
    ("instructions", "    slack = asm_vmptrld(&rope)", "    asm_vmptrld(&rope)"),
    ("callbacks", "int (*rest)()", "void (*rest)()"),
    ("callbacks", "(*ring)(bell_t *bell)", "(*ring)(bell_t bell)"),
    ("callbacks", "(*ring)(bell_t *bell)", "(*ring)()"),
    ("callbacks", "<u64 *>&status", "<u32 *>&status"),
    ("callbacks", "&bell.flags", "&bell.ring"),
    ("configuration", "CONFIG_HYPERV", "CONFIG_STEAM"),
    ("void return", "        return\n", "        pass\n"),
    ("marks", "bolt_push_number(2", "bolt_push_number(3"),        # inside an adapted row
    ("marks", "locked += 1", "locked += 2"),                      # inside an added row
])
def test_a_change_of_the_port_shows(name, old, new):
    if "(tank" in new:
        old, new = "not tank.open or litres > TANK_MAX:", "not (tank.open or litres > TANK_MAX):"
    assert any(row.kind == "unexplained" for row in compared(name, ("", ""), (old, new)))


@pytest.mark.parametrize("name, old, new", [
    ("plain", "> TANK_MAX)", "> TANK_MAX))" ),
    ("switch", "	case GREEN:\n		lamp->seen = 0;\n		break;",
     "	case GREEN:\n		lamp->seen = 0;"),
    ("switch", "	case AMBER:\n", ""),
    ("loops", "i++", "i += 2"),
    ("loops", "			continue;", "			break;"),
    ("marks", "door->second", "door->third"),
    ("marks", "spin_lock_irqsave", "spin_lock_bh"),
    ("marks", "trace_door(door, ret)", "trace_door(door, 0)"),
    ("marks", "door->second);\n	spin", "door->second);\n	else\n		spin"),
    ("house", "		unlock(&house->lock);\n	}", "	}\n	unlock(&house->lock);\n	if (!on) {}"),
    ("jump", "	runs++;\nout:\n", "out:\n	runs++;\n"),
    ("jump", "		goto out;\n	mill_grind(mill);", "{		goto out;\n	mill_grind(mill);}"),
    ("loops", "	u64 sum = 0;", "	static u64 sum = 0;"),
    ("configuration", "#ifdef CONFIG_STEAM", "#ifndef CONFIG_STEAM"),
    ("lists", "entry_safe(v, n,", "entry_safe(n, v,"),
    ("lists", "list_for_each_entry(v", "list_for_each_entry_rcu(v"),
    ("lists", "&per_cpu(shed, cpu), loaded_vmcss_on_cpu_link)\n\t\tshed_note",
     "&per_cpu(shed, cpu), other_link)\n\t\tshed_note"),
    ("lists", "entry_safe(v, n, &per_cpu(shed, cpu)", "entry_safe(v, n, &per_cpu(barn, cpu)"),
    ("instructions", "__ex(ASM_VMX_VMPTRLD_RAX)", "ASM_VMX_VMPTRLD_RAX"),   # its fault kills
    ("instructions", "VMPTRLD_RAX", "VMCLEAR_RAX"),
    ("instructions", '"a"(&rope), "m"(rope)', '"a"(&load), "m"(rope)'),
    ("instructions", '"a"(&rope), "m"(rope)', '"a"(&rope), "m"(load)'),
    ("instructions", '"a"(&rope), "m"(rope)', '"a"(&rope)'),
    ("instructions", '"m"(rope)\n\t\t      : "memory"', '"m"(rope)\n\t\t      : "cc"'),
    ("instructions", '"m"(rope)\n\t\t      : "memory"', '"m"(rope)'),
    ("instructions", " CC_SET(na)", ""),
    ("instructions", "CC_OUT(na) (slack)", "CC_OUT(na) (load)"),
    ("instructions", "CC_OUT(na) (slack)", '"=r" (slack)'),
    ("instructions", '"d"(hook)', '"c"(hook)'),
    ("instructions", '"=a"(load)', '"=d"(load)'),
    ("instructions", '_RAX, "%0")', '_RAX, "%1")'),
    ("instructions", "asm volatile (__ex_clear", "asm (__ex_clear"),
    ("callbacks", "int (*rest)(void)", "long (*rest)(void)"),
    ("callbacks", "void (*ring)(struct bell *bell)", "void (*ring)(struct bell **bell)"),
    ("callbacks", "int (*rest)(void)", "int (**rest)(void)"),
    ("callbacks", "*(u64 *)&status", "*(u32 *)&status"),
    ("callbacks", "(void *)&bell->flags", "(void *)bell->flags"),
])
def test_a_change_of_the_kernel_shows(name, old, new):
    if new.endswith("))"):
        old, new = "!tank->open || litres > TANK_MAX", "!(tank->open || litres > TANK_MAX)"
    assert any(row.kind == "unexplained" for row in compared(name, (old, new)))


def test_a_break_out_of_a_switch_is_none_out_of_a_loop():
    kernel, port = c_function(BREAKS[0]), port_function(BREAKS[1])
    assert [row.kernel[0].text for row in rows.compare(kernel, port, False)
            if row.kind == "unexplained"] == ["break;"]


def test_a_reason_is_that_of_its_idiom():
    why = {row.why for row in compared("switch") if row.kind == "idiom"}
    assert idioms.BINT in why and not any("test_bit" in text for text in why)


def test_an_unexplained_row_says_how_its_mark_would_begin():
    found = compared("plain", ("", ""), ("        ret = TANK_FULL\n", ""))
    row = next(row for row in found if row.kind == "unexplained")
    assert row.why.startswith("no mark: # C- of 1 of the kernel; `dev/regenerate.py --tree")


@pytest.mark.parametrize("mark, fault", [
    ("# C- [1 30bfae] flags", "a mark needs a reason"),
    ("# C- [1 000000] flags: nobody else is here", "the mark fits no statement here"),
    ("# C- [2 30bfae] flags: nobody else is here", "the mark fits no statement here"),
    ("# C- [1 30bfae] 2 statements: flags: nobody else is here", "the mark is of 1 statements"),
    ("# C~ flags: nobody else is here", "a mark of this kind needs its pin"),
    ("# C+ [1 30bfae] nobody else is here", "the mark fits no statement here"),
    ("# C- nothing(): nobody else is here", "the mark fits no statement here"),
])
def test_a_mark_that_says_nothing_true_is_unexplained_itself(mark, fault):
    found = compared("marks", ("", ""), ("# C- [1 30bfae] flags: nobody else is here", mark))
    loose = [row.why for row in found if row.kind == "unexplained"]
    assert any(fault in why for why in loose)
    assert any(why.startswith("no mark: # C- of 1 of the kernel") for why in loose)


def test_the_configuration_can_be_set():
    c, port = PAIRS["configuration"]
    assert unexplained(c_function(c, CONFIG_HYPERV=0), port_function(port)) > 0
    assert unexplained(c_function(c, CONFIG_STEAM=1), port_function(port)) > 0


def test_brackets_around_what_is_no_expression_say_nothing():
    """A comparison of three parts is none of C's: its words stand for themselves."""
    def key(text):
        return port_units(f"return {text}\n")[0].key

    assert key("n == 1 and 4 <= r < 8") == key("(n == 1 and 4 <= r < 8)") \
        == key("((n == 1 and 4 <= r < 8))")
    assert key("4 <= r < 8") != key("4 <= r < 9")
    assert key("(a < b < c) and (d < e < f)") != key("a < b < c and d < e < f")
