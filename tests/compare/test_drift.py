# SPDX-License-Identifier: GPL-2.0-only
"""Drift between trees: invented ones, and v4.19 against what Debian ships."""

import pytest

from kvm_vmx.compare.drift import Drift, against_ours, ported_statements
from kvm_vmx.compare.layout import field_table, layout
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.trees import Tree

PORT = """\
# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/vmx.c
cdef int pour(cup_t *cup) noexcept nogil:
    if static_branch_unlikely(&enable_evmcs):
        return -EBUSY
    cup.level += 1
    return 0


cdef void evmcs_touch_msr_bitmap() noexcept nogil:
    wipe(1)


cdef int stir(cup_t *cup, int turns) noexcept nogil:
    cdef int i

    for i in range(turns):
        cup.spoon += i
        swirl(cup.spoon, 7)
    return cup.spoon
"""
BODY = "{\n\tint i;\n\n\tfor (i = 0; i < turns; i++) {\n\t\tcup->spoon += i;\n" \
       "\t\tswirl(cup->spoon, 7);\n\t}\n\treturn cup->spoon;\n}\n"
TABLE = "#define EVMCS1_FIELD(number, name, clean_field) x\n" \
        "table[] = {\n\tEVMCS1_FIELD(GUEST_RIP, guest_rip,\n" \
        "\t\tHV_VMX_ENLIGHTENED_CLEAN_FIELD_NONE),\n%s};\n"
ROW = "\tEVMCS1_FIELD(%s, %s, HV_VMX_ENLIGHTENED_CLEAN_FIELD_%s),\n"
STRUCT = """\
struct bits {
	u32 one:1;
	u32 two:2;
	u32 rest:29;
};
struct hv_enlightened_vmcs {
	u32 revision_id;
	u16 selector;
	struct bits control;
	u64 guest_rip;
	u64 pages[2];
	u32 a, b;
	%s
};
"""
OLD = {
    "arch/x86/kvm/vmx.c":
        "static int pour(struct cup *cup)\n{\n\tif (static_branch_unlikely(&enable_evmcs))\n"
        "\t\treturn -EBUSY;\n\tcup->level++;\n\treturn 0;\n}\n\n"
        "static void evmcs_touch_msr_bitmap(void)\n{\n\twipe(1);\n}\n\n"
        "static int stir(struct cup *cup, int turns)\n" + BODY,
    "arch/x86/kvm/evmcs.h": TABLE % (ROW % ("HOST_CR0", "host_cr0", "HOST_GRP1")),
    "arch/x86/include/asm/hyperv-tlfs.h": STRUCT % "u64 tail;",
}
NEW = {
    "arch/x86/kvm/vmx/ops.h":
        "static int pour(struct cup *cup)\n{\n\tif (kvm_is_using_evmcs())\n"
        "\t\treturn -EBUSY;\n\tcup->level++;\n\treturn 0;\n}\n\n"
        "static void vmx_msr_bitmap_l01_changed(struct vcpu_vmx *vmx)\n{\n\twipe(1);\n}\n\n"
        "static int vmx_stir(struct cup *cup, int turns)\n" + BODY,
    "arch/x86/kvm/vmx/evmcs.c": TABLE % (ROW % ("TSC_MULTIPLIER", "tsc_multiplier", "ALL")),
    "arch/x86/include/asm/hyperv-tlfs.h": STRUCT % "u16 wedge;\n\tu64 tail;\n\tu64 more;",
}


@pytest.fixture
def drift(tmp_path):
    """The drift between the two invented trees."""
    root = tmp_path / "kvm_vmx" / "l1"
    root.mkdir(parents=True)
    (root / "cup.pyx").write_text(PORT)
    port, old, new = Port(root), Tree("old", OLD), Tree("new", NEW)
    report = Report(port, old)
    assert report.totals["unexplained"] == 0
    return Drift(port, old, new, ported_statements(report))


def test_functions(drift):
    pour, touch, stir = drift.changes
    assert pour.how == "name" and pour.moved
    assert [unit.text for unit in pour.gone] == ["if (static_branch_unlikely(&enable_evmcs))"]
    assert [unit.text for unit in pour.came] == ["if (kvm_is_using_evmcs())"]
    assert (pour.same, pour.follow) == (4, 1)
    assert touch.new.name == "vmx_msr_bitmap_l01_changed" and touch.how.startswith("renamed")
    assert stir.new.name == "vmx_stir" and "by its body" in stir.how
    assert drift.files == {("arch/x86/kvm/vmx.c", "arch/x86/kvm/vmx/ops.h"): 3}


def test_names(drift):
    assert [(alias.old, alias.new) for alias in drift.names] == [
        ("enable_evmcs", "kvm_is_using_evmcs"),
        ("evmcs_touch_msr_bitmap", "vmx_msr_bitmap_l01_changed"),
    ]


def test_table_and_layout(drift):
    assert drift.table == {"gained": ["TSC_MULTIPLIER"], "lost": ["HOST_CR0"], "changed": []}
    assert drift.fields == {"gained": ["wedge", "more"], "lost": [], "moved": ["tail"]}
    members, size = drift.layouts[0]
    assert size == 56 and members == {
        "revision_id": (0, 4), "selector": (4, 2), "control": (8, 4), "guest_rip": (16, 8),
        "pages": (24, 16), "a": (40, 4), "b": (44, 4), "tail": (48, 8),
    }
    assert drift.layouts[1][0]["tail"] == (56, 8)


def test_the_same_tree_did_not_change(drift):
    again = Drift(drift_port(drift), drift.old, drift.old)
    assert not any(change.gone or change.came or change.moved for change in again.changes)
    assert not any(again.table.values()) and not any(again.fields.values())


SEEN = {
    "out of its block": ("\t\tswirl(cup->spoon, 7);\n\t}\n", "\t}\n\tswirl(cup->spoon, 7);\n"),
    "another condition around": ("\treturn cup->spoon;",
                                 "#if CONFIG_TEA\n#endif\n\treturn cup->spoon;"),
    "a statement": ("cup->level++", "cup->level += 2"),
    "a member wider": ("u16 selector", "u64 selector"),
    "the size": ("u64 tail;", "u64 tail;\n\tu64 more;"),
    "a row of the table": ("host_cr0, HV_VMX_ENLIGHTENED_CLEAN_FIELD_HOST_GRP1",
                           "host_cr0, HV_VMX_ENLIGHTENED_CLEAN_FIELD_HOST_GRP2"),
}
UNSEEN = {"a comment": ("\tcup->level++;", "\t/* more */\n\tcup->level++;"),
          "spaces": ("cup->level++;", "cup->level ++ ;")}


@pytest.mark.parametrize("before, after", [*SEEN.values(), *UNSEEN.values()], ids=[*SEEN, *UNSEEN])
def test_whatever_has_a_meaning_is_a_change(drift, before, after):
    files = {path: text.replace(before, after) for path, text in OLD.items()}
    assert files != OLD
    again = Drift(drift_port(drift), drift.old, Tree("new", files))
    assert again.changed == ((before, after) in SEEN.values())


def drift_port(drift):
    """A stand-in for the port: its subjects name the functions of the old tree."""
    class Subject:
        ours = ""

        def __init__(self, change):
            self.kernel_name, self.kernel_file = change.old.name, change.old.path

    class Stand:
        subjects = {change.name: Subject(change) for change in drift.changes}

    return Stand()


def test_v419_is_what_this_package_was_made_of(tree_v419):
    assert against_ours(tree_v419) == {
        "only here": [], "only there": [], "another clean group": [], "another place": []}
    members, size = layout(tree_v419)
    assert size == 1024 and len(field_table(tree_v419)) == 126
    assert members["guest_rip"] == (816, 8) and members["hv_clean_fields"] == (824, 4)
    assert members["host_rsp"] == (616, 8) and members["hv_vm_id"] == (848, 8)


@pytest.fixture(scope="module")
def to_v61(tree_v419, tree_v61):
    """From v4.19 to Debian's 6.1."""
    return Drift(Port(), tree_v419, tree_v61)


def test_v61(to_v61, tree_v61):
    assert to_v61.table == {
        "gained": ["ENCLS_EXITING_BITMAP", "GUEST_IA32_PERF_GLOBAL_CTRL",
                   "HOST_IA32_PERF_GLOBAL_CTRL", "TSC_MULTIPLIER"],
        "lost": [f"CR3_TARGET_VALUE{n}" for n in range(4)], "changed": []}
    assert to_v61.fields["moved"] == [] and to_v61.fields["lost"] == []
    assert against_ours(tree_v61)["another place"] == []
    names = {alias.old: alias.new for alias in to_v61.names}
    assert names["evmcs_touch_msr_bitmap"] == "vmx_msr_bitmap_l01_changed"
    found = {change.name: change for change in to_v61.changes}
    assert found["evmcs_write64"].new.path == "arch/x86/kvm/vmx/evmcs.h"
    assert found["evmcs_write64"].gone == []
    assert found["vmcs_write64"].new.path == "arch/x86/kvm/vmx/vmx_ops.h"
    assert found["vmx_exit"].follow == 0 and found["vmx_exit"].new is not None


def test_v61_splits_and_pastes(to_v61):
    found = {change.name: change for change in to_v61.changes}
    assert found["vm_entry_controls_setbit"].how == "by a macro that pastes its name"
    assert "split: vmx_vcpu_load_vmcs()" in found["vmx_vcpu_load"].how
    assert "split: __vmx_handle_exit()" in found["vmx_handle_exit"].how
    assert "vmx_inject_exception()" in found["vmx_queue_exception"].how


def test_v612(to_v612):
    drift = to_v612
    assert drift.table["changed"] == [] and drift.fields["moved"] == []
    names = {alias.old: alias.new for alias in drift.names}
    assert names["enable_evmcs"] == "kvm_is_using_evmcs"
    assert names["evmcs_touch_msr_bitmap"] == "vmx_msr_bitmap_l01_changed"
    found = {change.name: change for change in drift.changes}
    assert found["evmcs_write64"].new.path == "arch/x86/kvm/vmx/vmx_onhyperv.h"
    assert found["evmcs_sanitize_exec_ctrls"].new.path == "arch/x86/kvm/vmx/vmx_onhyperv.c"
