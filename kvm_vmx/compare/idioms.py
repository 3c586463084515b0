# SPDX-License-Identifier: GPL-2.0-only
"""The idioms: what C and Cython say in different words, as data.

An idiom is a pattern of each side and the reason they mean the same. `$x` stands for one
expression, `$$x` for the remaining arguments of a call; what they stand for must agree in turn.
"""

from typing import NamedTuple


class Idiom(NamedTuple):
    """One rule: its name, C's words, Cython's words, why they agree."""

    name: str
    c: str
    cython: str
    why: str


BINT = "bint keeps a number as it is: it is made 0 or 1 by hand"
PASTE = "Cython pastes no literals"
MACRO = "a macro of the kernel writes to its argument: here it gets the address"
BIT = "the bit of a u32 itself: what the kernel's word-wide helper touches"
WORDS = "the words are unsigned long already"
ONES = "all ones, without a sign"
POINTER = "an address that is an error number is no address here: the number goes beside it"
LIST = "Cython has no macros that loop: a step along the list, from NULL to the first"
LOCK = "a raw spinlock differs on PREEMPT_RT only"
MASK = "a byte for each CPU instead of a bit"
ATOMIC = "a counter that the lock around it protects"
TABLE = "the name that the table has in Cython"
ADDRESS = "the member is the first one, so the address is the same"
NOTIFIER = "a notifier is known by what it is in"
PAGES = "an object of the heap, with the page of its MSR lists"
PROTECTION = "all memory has the same protection"
TOKEN = "Cython pastes no names"

EXPRESSIONS = (
    Idiom("truth", "!!$x", "$x != 0", BINT),
    Idiom("truth", "!!test_bit($n, $a)", "test_bit($n, $a)", "test_bit() is a bint here"),
    Idiom("bool", "true", "1", "a bint is set by number"),
    Idiom("bool", "false", "0", "a bint is set by number"),
    Idiom("all ones", "-1ull", "~<u64>0", ONES),
    Idiom("all ones", "-1", "~<u64>0", ONES),
    Idiom("all ones", "-1u", "<u32>0xffffffff", ONES),
    Idiom("log level", "printk(KERN_ERR $f, $$a)", "pr_err($f, $$a)", PASTE),
    Idiom("log level", "printk(KERN_INFO $f, $$a)", "pr_info($f, $$a)", PASTE),
    Idiom("log level", "printk(KERN_WARNING $f, $$a)", "pr_warn($f, $$a)", PASTE),
    Idiom("log level", "printk_once(KERN_WARNING $f, $$a)", "pr_warn_once($f, $$a)", PASTE),
    Idiom("message", "BUILD_BUG_ON_MSG($a && $b, $m)", "BUILD_BUG_ON($a & $b)",
          "a constant expression for the compiler, its message dropped"),
    Idiom("out argument", "rdmsrl($m, $v)", "rdmsrl($m, &$v)", MACRO),
    Idiom("out argument", "rdmsrl($m, *(u64 *)&$v)", "rdmsrl($m, <u64 *>&$v)", MACRO),
    Idiom("out argument", "rdmsrl($m, $v)", "rdmsrl($m, <u64 *>&$v)", MACRO),
    Idiom("out argument", "rdmsr($m, $a, $b)", "rdmsr($m, &$a, &$b)", MACRO),
    Idiom("bit", "set_bit($n, (void *)&$x)", "set_bit($n, &$x)", WORDS),
    Idiom("bit", "clear_bit($n, (void *)&$x)", "clear_bit($n, &$x)", WORDS),
    Idiom("bit", "test_bit($n, (void *)&$x)", "test_bit($n, &$x)", WORDS),
    Idiom("bit", "__set_bit($n, (unsigned long *)&$x)", "$x |= <u32>1 << $n", BIT),
    Idiom("bit", "test_bit($n, (unsigned long *)&$x)", "$x & (<u32>1 << $n)", BIT),
    Idiom("bit", "__set_bit($n, (ulong *)&$x)", "$x |= <u32>1 << $n", BIT),
    Idiom("bit", "test_bit($n, (ulong *)&$x)", "$x & (<u32>1 << $n)", BIT),
    Idiom("per CPU", "per_cpu($v, $c)", "per_cpu_ptr($v, $c)[0]", "the same variable, by address"),
    Idiom("per CPU", "&per_cpu($v, $c)", "per_cpu_list($v, $c)", "per_cpu_ptr() of a list head"),
    Idiom("per CPU", "&per_cpu($v, $c)", "per_cpu_lock($v, $c)", "per_cpu_ptr() of a lock"),
    Idiom("clean fields", "current_evmcs->hv_clean_fields &= $m", "evmcs_clean_fields_and($m)",
          "the same statement as a macro, so that the per-CPU pointer is read once"),
    Idiom("clean fields", "current_evmcs->hv_clean_fields |= $m", "evmcs_clean_fields_or($m)",
          "the same statement as a macro, so that the per-CPU pointer is read once"),
    Idiom("table", "BITS_PER_LONG", "64", "the number that it is"),
    Idiom("table", "ARRAY_SIZE(vmx_msr_index)", "NR_VMX_MSRS", TABLE),
    Idiom("table", "ARRAY_SIZE(vmcs_field_to_evmcs_1)", "NR_EVMCS_1_FIELDS", TABLE),
    Idiom("table", "vmx_vmread_bitmap", "vmx_bitmap[VMX_VMREAD_BITMAP]", TABLE),
    Idiom("table", "vmx_vmwrite_bitmap", "vmx_bitmap[VMX_VMWRITE_BITMAP]", TABLE),
    Idiom("lock", "raw_spin_lock($l)", "spin_lock($l)", LOCK),
    Idiom("lock", "raw_spin_unlock($l)", "spin_unlock($l)", LOCK),
    Idiom("CPU mask", "cpumask_test_cpu($c, $m)", "$m[$c]", MASK),
    Idiom("CPU mask", "cpumask_set_cpu($c, $m)", "$m[$c] = 1", MASK),
    Idiom("CPU mask", "cpumask_clear_cpu($c, $m)", "$m[$c] = 0", MASK),
    Idiom("CPU mask", "cpumask_any_but(cpu_online_mask, $c)", "cpu_online_any_but($c)", MASK),
    Idiom("atomic", "atomic_set(&$x, $v)", "$x = $v", ATOMIC),
    Idiom("atomic", "atomic_read(&$x)", "$x", ATOMIC),
    Idiom("atomic", "atomic_inc(&$x)", "$x += 1", ATOMIC),
    Idiom("no value", "(void)$x", "$x", "Cython drops a value without being told"),
    Idiom("out argument", "hv_get_vp_index($v)", "rdmsrl(HV_X64_MSR_VP_INDEX, &$v)",
          "the macro of mshyperv.h, spelled out"),
    Idiom("out argument", "$x = native_read_msr($m)", "rdmsrl($m, &$x)", MACRO),
    Idiom("container", "container_of(kvm, struct kvm_vmx, kvm)", "<kvm_vmx_t *>kvm", ADDRESS),
    Idiom("container", "container_of(vcpu, struct vcpu_vmx, vcpu)", "<vcpu_vmx *>vcpu", ADDRESS),
    Idiom("notifier", "preempt_notifier_register(&$v->preempt_notifier)",
          "preempt_notifier_register($v)", NOTIFIER),
    Idiom("notifier", "preempt_notifier_unregister(&$v->preempt_notifier)",
          "preempt_notifier_unregister($v)", NOTIFIER),
    Idiom("notifier", "kvm_on_user_return(&$s->urn)", "kvm_on_user_return($s)", NOTIFIER),
    Idiom("per CPU", "per_cpu_ptr(shared_msrs, $c)", "&shared_msrs[$c]", "an array by CPU"),
    Idiom("atomic", "atomic_inc($x)", "__sync_fetch_and_add($x, 1)", "the compiler's own"),
    Idiom("atomic", "atomic_xchg($x, $v)", "__sync_lock_test_and_set($x, $v)",
          "the compiler's own"),
    Idiom("pages", "kmem_cache_zalloc(kvm_vcpu_cache, GFP_KERNEL)", "vcpu_cache_zalloc()",
          PAGES),
    Idiom("pages", "kmem_cache_free(kvm_vcpu_cache, $x)", "vcpu_cache_free($x)", PAGES),
    Idiom("pages", "__free_page($p)", "free_page(<ulong>page_address($p))",
          "pages are freed by address"),
    Idiom("protection", "__vmalloc(PAGE_SIZE, GFP_KERNEL, PAGE_KERNEL)",
          "__vmalloc(4096, GFP_KERNEL)", PROTECTION),
    Idiom("protection", "__vmalloc(PAGE_SIZE, GFP_KERNEL, PAGE_KERNEL_RX)",
          "__vmalloc(4096, GFP_KERNEL)", PROTECTION),
    Idiom("time", "ktime_to_ns(ktime_sub($a, $b))", "$a - $b", "times are nanoseconds"),
    Idiom("bit", "bit($f)", "<u32>1 << ($f & 31)", "the inline function, spelled out"),
    Idiom("division", "div_u64($a, $b)", "$a // $b", "the operator"),
    Idiom("bit", "F(OSXSAVE)", "F_OSXSAVE", TOKEN),
    Idiom("bit", "F(APIC)", "F_APIC", TOKEN),
    Idiom("bit", "F(OSPKE)", "F_OSPKE", TOKEN),
    Idiom("once", "READ_ONCE(vcpu->requests)", "vcpu.requests",
          "the compiler reads it again after each call out of line"),
    Idiom("page fault", "kvm_mmu_page_fault($v, $g, $e, NULL, 0)", "kvm_mmu_page_fault($v, $g, $e)",
          "nothing here passes the instruction's bytes"),
    Idiom("address", "is_noncanonical_address($a, vcpu)", "is_noncanonical_address($a)",
          "48 bits for each vCPU"),
    Idiom("shadow", "__read_cr4()", "cr4_read_shadow()", "the shadow holds the same"),
    Idiom("hotplug", 'cpuhp_setup_state($s, "x86/hyperv_init:online", $a, $b)',
          "cpuhp_setup_state($s, $a, $b)", "nobody reads the state's name"),
    Idiom("configuration", "IS_ENABLED(CONFIG_X86_LOCAL_APIC) && $x", "$x",
          "compare's configuration has it"),
    Idiom("vCPU", "kvm_get_vcpu($k, $n)", "$k.vcpus[$n]", "what the inline function returns"),
)

STATEMENTS = (
    Idiom("void return", "return $f($$a);", "$f($$a)\nreturn",
          "Cython returns no value from a void function, not even a void one"),
    Idiom("online CPUs", "for_each_online_cpu($c) {}",
          "for $c in range(nr_cpu_ids()):\n    if not cpu_online($c):\n        continue",
          "Cython has no macros that loop"),
    Idiom("possible CPUs", "for_each_possible_cpu($c) {}",
          "for $c in range(nr_cpu_ids()):\n    if not cpu_possible($c):\n        continue",
          "Cython has no macros that loop"),
    Idiom("vCPUs", "kvm_for_each_vcpu($i, $v, $k) {}",
          "for $i in range($k.online_vcpus):\n    $v = $k.vcpus[$i]",
          "Cython has no macros that loop"),
    Idiom("list", "list_for_each_entry($v, &per_cpu($l, $c), loaded_vmcss_on_cpu_link) {}",
          "$v = NULL\nwhile loaded_vmcs_on_cpu_next(&$v, per_cpu_list($l, $c)):", LIST),
    Idiom("list", "list_for_each_entry_safe($v, $n, &per_cpu($l, $c), loaded_vmcss_on_cpu_link) {}",
          "$v = $n = NULL\nwhile loaded_vmcs_on_cpu_next_safe(&$v, &$n, per_cpu_list($l, $c)):",
          LIST),
    Idiom("walk", "for ($i = $a; $i < $b; $i++) {}",
          "for $n in range($b - $a):\n    $i = $a + $n", "Cython's loops count in numbers"),
    Idiom("error pointer", "return ERR_PTR($e);", "error[0] = $e\nreturn NULL", POINTER),
    Idiom("error pointer", "return ERR_PTR($e);", "err[0] = $e\nreturn NULL", POINTER),
    Idiom("step", "$x = $y++;", "$x = $y\n$y += 1", "Cython has no ++"),
    Idiom("step", "$f($a, $b, $y++);", "$f($a, $b, $y)\n$y += 1", "Cython has no ++"),
)

# Idioms that are rules of the engine and no patterns.
NAMES = {
    "truth": BINT,
    "cast": "a conversion that C makes by itself",
    "switch": "a switch is a chain of if and elif on one number",
    "global": "Cython names the globals that a function assigns",
    "pass": "an empty block",
    "doc": "a docstring",
    "hoisted": "declarations stand at the head of the function",
    "type": "a type of the same width and sign",
    "#": "evaluated with the configuration above",
    "#if": "a condition of the configuration, tested where it folds away",
    "#else": "the empty stub that stands in the header for another configuration",
    "label": "a function of its own for the statements behind a label",
    "initialiser": "Cython has no designated initialisers: a function fills the table",
}
