# SPDX-License-Identifier: GPL-2.0-only
"""What `compare` takes as a name, and the .config of a kernel: decided by v4.19's own lines."""


import nursery
import pytest
import schemed
from command import ENVIRONMENT

from kvm_vmx import host
from kvm_vmx.compare import kconfig, names
from kvm_vmx.compare.port import Port
from kvm_vmx.console import Trouble

VMX = "arch/x86/kvm/vmx.c"


@pytest.fixture(scope="module")
def port():
    return Port()


def line_of(tree, text, path=VMX):
    rows = tree.files[path].split("\n")
    return next(n for n, row in enumerate(rows, 1) if text in row)


@pytest.mark.parametrize("text, function", [
    ("vp_ap->enlighten_vmentry = 1;", "evmcs_load"), ("evmcs_sanitize_exec_ctrls(vmcs_conf);",
                                                      "setup_vmcs_config"),
    ("static int __init vmx_init(void)", "vmx_init")])
def test_a_line_of_either_side_is_its_function(port, tree_v419, text, function):
    line = line_of(tree_v419, text)
    for file in ("vmx.c", VMX, f"./{VMX}"):
        assert names.chosen([f"{file}:{line}"], port, tree_v419) == ([function], [])
    ours = port.subjects[function].function
    for line in (ours.line, ours.end):
        assert names.named(f"vmx.pyx:{line}", port, tree_v419) == [function]


def test_globs_and_the_kernels_names(port, tree_v419):
    found, things = names.chosen(["evmcs_*", "kvm_vmx_exit_handlers"], port, tree_v419)
    there = {name for name in tree_v419.file(VMX).names() if name.startswith("evmcs_")}
    assert there <= set(found) and "setup_exit_handlers" in found and not things


@pytest.mark.parametrize("name, file", [
    ("KVM_EVMCS_VERSION", VMX), ("enable_evmcs", VMX), ("enlightened_vmcs", VMX),
    ("vmcs_field_to_evmcs_1", "arch/x86/kvm/vmx_evmcs.h"), ("current_evmcs", VMX),
    ("hv_enlightened_vmcs", "arch/x86/include/asm/hyperv-tlfs.h"),
    ("hv_vp_assist_page", "arch/x86/include/asm/hyperv-tlfs.h")])
def test_macros_tables_structures_and_variables(port, tree_v419, name, file):
    _, (thing,) = names.chosen([name], port, tree_v419)
    assert thing.kernel.path == file and name in thing.kernel.text and name in thing.port.text
    rows = tree_v419.files[file].split("\n")
    assert rows[thing.kernel.line - 1] == thing.kernel.text.split("\n")[0]
    assert thing.kernel.text.count("{") == thing.kernel.text.count("}")


@pytest.mark.parametrize("name, says", [
    ("evmcs_lod", "evmcs_load"), ("vmx.c:999999", "FILE:LINE"), ("nowhere.c:1", "FILE:LINE"),
    ("x*y*z", "no function"), ("(", "no function"), ("\x1b[2J", r"\\x1b"),
    ("vmx.c:", "no function")])
def test_what_is_no_name_is_told(port, tree_v419, name, says):
    with pytest.raises(Trouble, match=says):
        names.chosen([name], port, tree_v419)


def test_a_line_of_what_is_not_ported_says_whose(port, tree_v419):
    line = line_of(tree_v419, "static void free_nested(")
    with pytest.raises(Trouble, match="free_nested.*not ported"):
        names.chosen([f"vmx.c:{line}"], port, tree_v419)


def test_a_config_file(tmp_path):
    path = tmp_path / ".config"
    rows = [f"CONFIG_THING_{n}=y" for n in range(30)]
    path.write_text("\n".join([*rows, "CONFIG_HYPERV=m", "# CONFIG_KEXEC_CORE is not set",
                               "CONFIG_NR_CPUS=8192", 'CONFIG_LOCALVERSION="-x"']))
    found = kconfig.read(str(path))
    assert (found["CONFIG_HYPERV"], found["CONFIG_KEXEC_CORE"], found["CONFIG_NR_CPUS"]) \
        == (1, 0, 8192)
    assert found["CONFIG_KVM_INTEL"] == 0 and "CONFIG_LOCALVERSION" not in found
    path.write_text("hello")
    with pytest.raises(Trouble, match="no .config"):
        kconfig.read(str(path))


def compare(*args):
    return nursery.run(["compare", *args], env=ENVIRONMENT)


def test_the_command_takes_them(tmp_path, tree_v419):
    tree = host.find("tree-4.19")
    done = compare("KVM_EVMCS_VERSION", "vmx_ex*", "--tree", tree, "--json")
    value = schemed.kept_text(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [thing["name"] for thing in value["things"]] == ["KVM_EVMCS_VERSION"]
    assert {function["name"] for function in value["functions"]} \
        == {"vmx_exec_control", "vmx_exit"}
    done = compare("--tree", tree, "--config", tmp_path)
    assert done.returncode == 2 and ".config" in done.stderr
