# SPDX-License-Identifier: GPL-2.0-only
"""An exit of the port beside one of v4.19's own objects, step by step; the kernel before the
patch."""

import contextlib
import difflib
import io
import json
import pathlib
import re

import needed
import pytest
import schemed
from images import image_of

from kvm_vmx import build_info, cli, host
from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import before, build
from kvm_vmx.measure import objects, stepped
from kvm_vmx.measure.report import Report
from kvm_vmx.measure.stepped import SteppedInsn, Sum

pytestmark = pytest.mark.long
ROOT = pathlib.Path(__file__).parents[2]
KEY = re.compile(r"enable_evmcs|evmcs_|current_evmcs|CONFIG_HYPERV")


@pytest.fixture(scope="module")
def image(request):
    needed.capability("capstone", "single-step")
    return image_of("tree-4.19", request)


@pytest.fixture(scope="module", params=objects.MODES)
def exits(request, image):
    """(mode, the port's exit, the kernel's)."""
    on = objects.MODES[request.param]
    return request.param, objects.of_port(on), objects.of_kernel(image, on)


@pytest.fixture
def told():
    """told(row, column): what docs/kernel.md says there, of the compiler that it names."""
    page = (ROOT / "docs/kernel.md").read_text()
    (named,) = re.findall(r"(gcc \d+), v4.19 as it is configured here:$", page, re.M)
    if not build_info.compiler.startswith(f"{named}."):
        pytest.skip(f"the page counts what {named} made: this is {build_info.compiler}")

    def cell(row, column):
        (line,) = re.findall(rf"^\| {re.escape(row)}[^|]* \|(.*) \|$", page, re.M)
        return line.split("|")[column].strip()

    return cell


def often(steps, mnemonic):
    return sum(step.count for step in steps if step.mnemonic == mnemonic)


def test_both_execute_the_vmx_instructions_that_the_mail_is_about(exits):
    mode, *sides = exits
    wanted = {"VMCS": (7, 1, 1), "eVMCS": (0, 0, 1)}[mode]
    for steps in sides:
        assert tuple(often(steps, name) for name in ("vmread", "vmwrite", "vmresume")) == wanted


def test_every_step_is_counted_a_whole_number_of_times(exits):
    _, *sides = exits
    for steps in sides:
        assert all(float(step.count).is_integer() and step.count > 0 for step in steps)
        # what is called comes back
        assert often(steps, "ret") - often(steps, "call") in range(-12, 13)


def test_the_port_executes_no_more_than_the_kernel(exits):
    mode, port, kernel = exits
    report = Report()
    objects._mode(report, mode, port, kernel)
    assert [claim.verdict for claim in report.claims] == ["holds", "holds"]
    both = [row for row in report.beside if row.ratio is not None]
    assert {"vmx_vcpu_run", "vcpu_enter_guest", "kvm_emulate_cpuid", "handle_cpuid"} <= {
        row.function for row in both}
    assert sum(row.port.instructions for row in both) <= sum(
        row.kernel.instructions for row in both)
    assert sum(row.kernel.instructions for row in report.beside) == stepped.total(
        kernel).instructions


def test_the_pages_tell_what_is_counted(exits, told):
    mode, *sides = exits
    column = list(objects.MODES).index(mode)
    for name, steps in zip(("the port, opcodes alone", "v4.19's own objects"), sides, strict=True):
        found = stepped.total(steps)
        assert told(name, column) == f"{found.instructions:g} ({found.loads:g}, {found.stores:g})"
    both = [row for row in objects.compared(mode, *sides) if row.ratio is not None]
    port, kernel = (sum(getattr(row, side).instructions for row in both)
                    for side in ("port", "kernel"))
    assert told("of them in functions that both execute", column) == f"{kernel:g}"
    assert told("port to kernel", column) == f"{port / kernel:.2f} times"
    assert re.search(rf"\b{port / kernel:.2f}(?: times)? \({mode}\)",
                     (ROOT / "README.md").read_text())


KEY_ROWS = {"before": "before the patch", "no-hyperv": "without CONFIG_HYPERV",
            "hyperv": "with it, the key off"}


def test_the_pages_tell_what_the_key_adds_to_the_port_s_exit(image, told):
    found = {config: stepped.total(objects.of_port(False, config)).instructions
             for config in KEY_ROWS}
    for config, row in KEY_ROWS.items():
        added = f" ({found[config] - found['before']:+g})" if config != "before" else ""
        assert told(row, 1) == f"{found[config]:g}{added}"
    readme = " ".join((ROOT / "README.md").read_text().split())
    (kernel,) = re.findall(r"\(\+(\d+)\)", told(KEY_ROWS["hyperv"], 0))
    added = found["hyperv"] - found["before"]
    assert f"the key, off, adds {kernel} to v4.19's own exit and {added:g} to the port's" in readme


def test_an_accessor_is_what_the_kernel_s_is(exits):
    """Under eVMCS each read is the current page and one load from it, on both sides."""
    mode, port, kernel = exits
    if mode == "VMCS":
        pytest.skip("by VMREAD there is nothing of it")
    for name in ("evmcs_read32", "evmcs_read64"):
        ours, theirs = (stepped.by_function(side, objects.ported())[name]
                        for side in (port, kernel))
        assert ours == theirs == Sum(ours.loads, ours.loads, 0)


def test_every_reason_is_about_a_function_of_the_port():
    assert set(objects.reasons()) <= objects.ported() | {"kvm_mmu_reload"}


def test_the_innermost_known_function_has_an_instruction():
    steps = [SteppedInsn(2, 1, 0, "mov", ("test_bit", "inner", "outer")),
             SteppedInsn(1, 0, 1, "push", ("outer",)), SteppedInsn(1, 0, 0, "nop", ("stub", "asm"))]
    assert stepped.by_function(steps, {"inner", "outer"}) == {
        "inner": Sum(2, 2, 0), "outer": Sum(1, 0, 1), "asm": Sum(1, 0, 0)}
    assert stepped.total(steps) == Sum(4, 2, 1)


@pytest.fixture(scope="module")
def text(request):
    needed.capability("tree-4.19")
    tree = host.find("tree-4.19")
    with open(f"{tree}/{before.FILE}", errors="surrogateescape") as file:
        return file.read()


def test_before_the_patch_lines_go_and_none_comes(text):
    """But for what stood in an else, and for two lines that lose an operand."""
    old, new = text.split("\n"), before.before(text).split("\n")
    came = [line[1:].strip() for line in difflib.unified_diff(old, new, n=0)
            if line.startswith("+") and not line.startswith("+++")]
    assert len(came) == 3 and not any(KEY.search(line) for line in came)
    assert all(any(line.rstrip(";,") in was for was in old) for line in came)
    gone = len(old) - len(new)
    assert 250 < gone < 400
    assert not any(KEY.search(line) for line in new)
    # what it does without the key is all there
    for name in ("__vmcs_readl", "__vmcs_writel", "VMWRITE_RSP_RDX", "vmcs_load(struct vmcs "):
        assert before.before(text).count(name) == text.count(name), name


def test_without_its_option_no_line_is_lost(text):
    found = before.without_config(text)
    assert found.count("\n") == text.count("\n") and "CONFIG_HYPERV)" not in found.replace(
        "/* !IS_ENABLED(CONFIG_HYPERV) */", "").replace("/* IS_ENABLED(CONFIG_HYPERV) */", "")


@pytest.mark.parametrize("change", [before.before, before.without_config])
def test_another_tree_is_told_in_one_line(change):
    with pytest.raises(BuildError, match="CONFIG_HYPERV: give one of v4.19"):
        change("int main(void)\n{\n}\n")
    with pytest.raises(BuildError, match="has a shape that v4.19's has not: int enable_evmcs"):
        before.before("#if IS_ENABLED(CONFIG_HYPERV)\n#endif\nint enable_evmcs;\n")


def test_it_is_for_an_exit(capsys):
    assert cli.main(["measure", "key", "--kernel", "linux-4.19"]) == 2
    assert "--kernel is about an exit: give loop, or all" in capsys.readouterr().err


@pytest.mark.parametrize("mode", objects.MODES)
def test_it_is_told_as_json(mode):
    report = Report(beside=[
        objects.FunctionCost(mode, "vmx_vcpu_run", Sum(2, 1, 1), Sum(3, 1, 0), ""),
        objects.FunctionCost(mode, "alone", Sum(), Sum(3, 1, 0), "")])
    from kvm_vmx.measure.store import as_json

    found = json.loads(json.dumps(as_json(report)))
    schemed.strict(found)
    assert [row["ratio"] for row in found["beside"]] == [0.67, None]


@pytest.fixture(scope="module")
def key_rows(image, request):
    """What the whole command counts by VMCS, of the kernel and of the port."""
    if not request.config.getoption("--soak"):
        pytest.skip("builds two kernels: --soak")
    tree, out = host.find("tree-4.19"), io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["measure", "loop", "--kernel", str(tree), "--json"]) == 0
    assert build.is_compiled(str(tree))
    found = json.loads(out.getvalue())
    schemed.strict(found)
    return {row["name"]: row["value"] for row in found["rows"]
            if row["table"].endswith("the key off")}


@pytest.mark.soak
@pytest.mark.parametrize("side", ["kernel", "port"])
def test_the_whole_command_counts_the_key(key_rows, side):
    """The mail's three cycles: what the key adds to an exit, on the kernel's own code."""
    added = key_rows[f"the {side}, the key off"] - key_rows[f"the {side}, before the patch"]
    # a NOP an access, and the test that is no key
    assert 8 <= added <= 20


@pytest.mark.soak
@pytest.mark.parametrize("row", KEY_ROWS.values())
def test_the_pages_tell_what_the_whole_command_counts(key_rows, told, row):
    for column, side in enumerate(("kernel", "port")):
        counted = key_rows[f"the {side}, {row.replace('with it, ', '')}"]
        assert told(row, column).split()[0] == f"{counted:g}"
