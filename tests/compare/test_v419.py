# SPDX-License-Identifier: GPL-2.0-only
"""The port against Linux v4.19: nothing unexplained, everything found, every mark true."""

import json
import pathlib
import re

from kvm_vmx.compare import views
from kvm_vmx.compare.marks import SHAPE
from kvm_vmx.compare.opening import open_tree
from kvm_vmx.compare.path import PARTS
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.rows import CLASSES
from kvm_vmx.compare.scope import FILES, scope

# The least share of each function's statements that stands in the port as it is, in percent: what
# switches a static key, what brings it there, and what loads and unloads KVM.
LEAST = {
    80: "jump_label_lock jump_label_unlock jump_label_cmp jump_label_sort_entries "
        "static_key_slow_inc_cpuslocked static_key_slow_inc static_key_enable_cpuslocked "
        "static_key_enable static_key_disable_cpuslocked static_key_disable "
        "__static_key_slow_dec_cpuslocked static_key_slow_dec static_key_entries jump_entry_key "
        "jump_entry_branch static_key_set_entries jump_label_type __jump_label_update "
        "jump_label_init jump_label_module_notify jump_label_init_module jump_label_update",
    75: "__static_key_slow_dec",
    40: "jump_label_add_module jump_label_del_module kvm_exit",
    20: "kvm_init",
}
ORDER = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/function_order_4.19.json").read_text())


def test_nothing_is_unexplained(report_v419):
    loose = [(pair.name, row.why) for pair in report_v419.pairs for row in pair.rows
             if row.kind == "unexplained"]
    assert loose == []


def test_every_function_is_found_where_it_is_said_to_be(report_v419):
    for pair in report_v419.pairs:
        assert pair.kernel is not None, pair.name
        assert pair.kernel.name == report_v419.port.subjects[pair.name].kernel_name
    covered = {pair.name for pair in report_v419.pairs} | set(report_v419.own)
    labels = set(report_v419.port.subjects) - covered
    assert all(any(name.startswith(f"{other}_") for other in covered) for name in labels)


def test_every_total_is_of_statements_and_there_is_one(report_v419, page_v419):
    """Terminal, page, JSON and --scope: the same functions, the same statements, and the classes
    add up to all statements of the kernel."""
    every = sum(unit.kind != "#" for pair in report_v419.pairs for unit in pair.kernel.units)
    totals = report_v419.totals
    theirs = [totals[name] for name in CLASSES if name not in ("added", "inactive")]
    assert report_v419.statements == sum(theirs) == every > 5000
    data = views.as_json(report_v419)
    assert data["statements"] == every and data["totals"] == totals
    assert sum(function["statements"] for function in data["functions"]) == every
    count = len(report_v419.pairs)
    assert sum(bool(place.port) for place in scope(report_v419)) == count
    told = views.summary(report_v419)
    assert told.startswith(f"{count} functions with {every} statements of the kernel: ")
    assert told in page_v419
    last = views.table(report_v419)[-1]
    assert sum(int(cell) for cell in last[3:-2]) == every


def test_the_accessors_are_the_kernels(report_v419):
    pairs = {pair.name: pair for pair in report_v419.pairs}
    for name in ("evmcs_write64", "evmcs_read64", "evmcs_load", "evmcs_touch_msr_bitmap",
                 "vmcs_write64", "vmcs_read64", "vmcs_writel", "vmcs_set_bits",
                 "evmcs_sanitize_exec_ctrls", "hv_get_vp_assist_page"):
        alike, every = pairs[name].fidelity
        assert alike == every > 0, name


def test_the_switch_of_a_static_key_is_the_kernels(report_v419):
    """And no function of kernel/jump_label.c that is ported is left out of the list."""
    shares = {pair.name: pair.fidelity for pair in report_v419.pairs}
    for least, names in LEAST.items():
        for name in names.split():
            alike, every = shares[name]
            assert 100 * alike >= least * every > 0, (name, alike, every)
    ported = {pair.name for pair in report_v419.pairs
              if pair.kernel.path == "kernel/jump_label.c"}
    assert ported | {"kvm_init", "kvm_exit"} == set(" ".join(LEAST.values()).split())


def test_a_quarter_of_the_path_at_most_is_otherwise(report_v419):
    alike, every = views.path_share(report_v419)
    assert every > 2500 and 4 * (every - alike) <= every


def test_each_statement_stands_in_one_row(report_v419):
    for pair in report_v419.pairs:
        shown = [unit for row in pair.rows for unit in row.kernel if row.kind != "inactive"]
        assert len(shown) == len({id(unit) for unit in shown}) == len(pair.kernel.units)
        ours = [unit for row in pair.rows for unit in row.port]
        assert len(ours) == len({id(unit) for unit in ours}) == len(pair.port.units)


def test_the_scope_names_a_reason_for_all_that_is_out(report_v419):
    places = scope(report_v419)
    assert len(places) > 1000
    assert all(bool(place.port) != bool(place.reason) for place in places)
    ported = {place.name for place in places if place.port}
    assert {"vmx_init", "vmx_exit", "evmcs_load", "hv_cpu_init", "kvm_init"} <= ported


def test_every_mark_has_a_reason():
    for subject in Port().subjects.values():
        for mark in subject.function.marks:
            whole = mark.kind == "+" and subject.ours and mark.reason
            assert whole or not mark.fault, (subject.function.path, mark.line, mark.fault)


def test_the_shape_of_a_mark():
    assert SHAPE.fullmatch("# C- 22 statements: what: why").group(2, 3) == ("22", "what: why")
    assert SHAPE.fullmatch("# C- call(x): why").group(2) is None
    assert SHAPE.fullmatch("# C: arch/x86/kvm/vmx.c") is None


def test_the_order_that_the_port_is_held_to_is_the_kernels(tree_v419):
    for file, names in ORDER.items():
        kernel = [name for name in tree_v419.file(file).names() if name in set(names)]
        assert kernel == names


def test_every_name_of_the_path_is_the_kernels(report_v419):
    sources = [report_v419.tree.file(file).source
               for file in {*FILES, "arch/x86/kvm/kvm_cache_regs.h",
                            "arch/x86/include/asm/mshyperv.h"}]
    known = {name for source in sources for name in re.findall(r"\b(\w+)\(", source)}
    names = {name for part in PARTS for group in (part.functions, *part.out.values())
             for name in group.split()}
    assert names <= known


def test_every_exit_handler_is_on_the_path(tree_v419):
    table = tree_v419.file("arch/x86/kvm/vmx.c").body("kvm_vmx_exit_handlers")
    handlers = set(re.findall(r"= (handle_\w+)", table))
    part = next(part for part in PARTS if part.name == "exit handlers")
    assert handlers == {name for group in (part.functions, *part.out.values())
                        for name in group.split()}


def test_line_ends_of_another_system_change_nothing(tree_v419, report_v419, tmp_path):
    for name, text in tree_v419.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.replace("\n", "\r\n").encode())
    report = Report(Port(), open_tree(str(tmp_path)))
    assert report.totals["unexplained"] == 0
    assert [pair.totals for pair in report.pairs] == \
        [pair.totals for pair in report_v419.pairs]
