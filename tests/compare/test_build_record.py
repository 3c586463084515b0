# SPDX-License-Identifier: GPL-2.0-only
"""The third and fourth column: the C and the instructions of each line of the port."""

import json
import os

from kvm_vmx.compare.build_record import RECORD, generated, instructions, older, record

WRITTEN = """\
static int depth;
#line 7 "room/pump.pyx"

  /* "room/pump.pyx":7
 * depth = 3
 */
  __pyx_v_4room_4pump_depth = 3;
  {
#line 9 "room/pump.pxd"
  if (valve(__pyx_v_n)) {
"""
LISTED = """\
0000000000001139 <pump_run>:
pump_run():
./kvm_vmx/room/pump.pyx:7
    1139:\tmov    $0x3,%eax
./include/valve.h:11
inlined by ./kvm_vmx/room/pump.pxd:9 (pump_run)
    113e:\tnopl   0x0(%rax,%rax,1)
"""


def test_a_line_has_its_c_once(tmp_path):
    folder = tmp_path / "build" / "cython" / "room"
    folder.mkdir(parents=True)
    (folder / "pump.c").write_text(WRITTEN)
    (folder / "valve.c").write_text(WRITTEN.replace("= 3;", "= 4;"))
    found, missing = generated(["room/pump.pxd", "room/pump.pyx", "room/valve.pyx"], tmp_path)
    assert missing == ""
    assert found == {("room/pump.pyx", 7): ["depth = 3;"],
                     ("room/pump.pxd", 9): ["if (valve(n)) {"]}


def test_what_is_not_built_is_said(tmp_path):
    assert generated(["room/pump.pyx"], tmp_path)[1].startswith("no generated C")


def test_an_inlined_instruction_is_its_caller_s():
    assert list(instructions(LISTED)) == [
        (("kvm_vmx/room/pump.pyx", 7), "pump_run", "1139  mov $0x3,%eax"),
        (("kvm_vmx/room/pump.pxd", 9), "pump_run", "113e  nopl 0x0(%rax,%rax,1)"),
    ]


def built(tmp_path):
    """A build of one source in a folder, with what it recorded."""
    folder = tmp_path / "build" / "cython" / "room"
    folder.mkdir(parents=True)
    (tmp_path / "room").mkdir()
    (tmp_path / "room/pump.pyx").write_text("depth = 3\n")
    (tmp_path / "room/pump.pxd").write_text("pass\n")
    (folder / "pump.c").write_text(WRITTEN)
    target = tmp_path / RECORD
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(record(["room/pump.pxd", "room/pump.pyx"], tmp_path)))
    return folder / "pump.c"


def test_what_an_installed_package_has_is_what_its_build_recorded(tmp_path):
    made = built(tmp_path)
    whole = generated(["room/pump.pxd", "room/pump.pyx"], tmp_path)
    made.unlink()
    assert generated(["room/pump.pxd", "room/pump.pyx"], tmp_path) == whole
    assert whole[0]["room/pump.pyx", 7] == ["depth = 3;"]


def test_the_hash_decides_and_not_the_time(tmp_path):
    made = built(tmp_path)
    now = json.loads((tmp_path / RECORD).read_text())
    os.utime(made, (1, 1))
    assert not older(made, tmp_path, "room/pump.pyx", now)
    assert older(made, tmp_path, "room/pump.pyx", {})
    (tmp_path / "room/pump.pyx").write_text("depth = 4\n")
    os.utime(made, None)
    assert older(made, tmp_path, "room/pump.pyx", now)
    made.unlink()
    assert ("room/pump.pyx", 7) not in generated(["room/pump.pyx"], tmp_path)[0]
