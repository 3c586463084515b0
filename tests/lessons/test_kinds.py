# SPDX-License-Identifier: GPL-2.0-only
"""The pictures say what the run's table says: read back from their shapes, step by step."""

import functools
import re

import pytest

from kvm_vmx import fields
from kvm_vmx.lessons import NAMES, load
from kvm_vmx.lessons.drawing import figures
from kvm_vmx.lessons.kinds import KINDS

ROWS = {row["vmcs_field"]: row for row in fields()}


@functools.cache
def run(name, seed=1, case=None):
    """Each run once."""
    return load(name).run(seed, case)


@pytest.fixture
def drawn(soak):
    """drawn(lesson): (picture, its figure) of runs, without the answers and with them."""
    return functools.partial(pictures, range(1, 9 if soak else 2))


def pictures(seeds, name, cases=(None,)):
    """Those of some seeds."""
    for seed in seeds:
        for case in cases:
            record = run(name, seed, case)
            for picture in (record.picture, record.solved or record.picture):
                yield picture, KINDS[picture.kind](picture)


def told(figure):
    """(step of the figure, its texts) one after another."""
    return [(shapes, [str(shape[2]) for shape in shapes if shape[0] == "text"])
            for shapes in figure.steps]


def of_class(shapes, name):
    """The shapes that have a class."""
    return [shape for shape in shapes if name in str(shape[1].get("class", "")).split()]


@pytest.mark.parametrize("name", NAMES)
def test_every_lesson_has_a_picture_besides_the_whole_run(name):
    """Of as many steps as the run has, each with shapes of its own."""
    record = run(name)
    *own, whole = figures(record, record.picture)
    assert own
    for figure in (*own, whole):
        assert len(figure.steps) == len(record.picture.steps)
    assert len({str([figure.steps[n] for figure in own])
                for n in range(len(record.picture.steps))}) > 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.soak
def test_what_stands_still_stands_in_the_answer_too(name, soak):
    """A picture is as high with its answer as without, and all is inside of it."""
    for seed in range(1, 9 if soak else 2):
        record = run(name, seed)
        both = [figures(record, picture) for picture in
                (record.picture, record.solved or record.picture)]
        for one, other in zip(*both):
            assert one.height == other.height
        for figure in (*both[0], *both[1]):
            for tag, where, *_ in (shape for shapes in (figure.still, *figure.steps)
                                   for shape in shapes):
                for end in ("y", "y1", "y2", "cy"):
                    assert -1 <= float(where.get(end, 0)) <= figure.height, (name, where)
                if tag == "rect":
                    assert float(where["y"]) + float(where["height"]) <= figure.height + .01
                    assert float(where["x"]) + float(where["width"]) <= 400.01, (name, where)


def test_code_jumps_as_far_as_the_bytes_say(drawn):
    """Each byte as it is in the text; a JMP's arrow has its distance, a NOP's leads on."""
    jumps = 0
    for picture, figure in drawn("key"):
        for step, (shapes, texts) in zip(picture.steps, told(figure)):
            bytes_said = [text for text in texts if re.fullmatch(r"[0-9a-f]{2}", text)]
            assert bytes_said == [byte for row in step.rows for byte in row[1].text.split()]
            far = [int(text[1:], 16) for text in texts if text.startswith("+")]
            sites = [bytes.fromhex(row[1].text) for row in step.rows if row[2].text != "?"]
            assert far == [int.from_bytes(site[1:], "little") + 5 for site in sites
                           if site[0] == 0xE9]
            assert texts.count("?") == len(step.rows) - len(sites)
            ends = [float(re.match(r"M([\d.]+)", shape[1]["d"])[1]) for shape in shapes
                    if shape[1].get("class") == "tip" and "l-4" in shape[1]["d"]]
            assert [n for _, n in sorted(zip(far, ends))] == sorted(ends)
            jumps += len(far)
    assert jumps


def test_bits_slide_into_the_slot(drawn):
    """The row above is the encoding, the one below it rotated by 6, which is the slot."""
    for picture, figure in drawn("table"):
        asked = 0
        for n, (shapes, texts) in enumerate(told(figure)[1:]):
            row = picture.steps[-1].rows[n]
            assert texts[0] == f"{row[0].text} {row[1].text}"
            boxes = [(shape[1]["y"], float(shape[1]["x"]), shape[2]) for shape in shapes
                     if shape[0] == "text" and shape[2] in ("0", "1", "?")
                     and "mono" in shape[1]["class"].split() and shape[1]["y"] < 110]
            above, below = (["".join(text for y, _, text in sorted(boxes) if y == line)
                             for line in sorted({y for y, *_ in boxes})])
            encoding = int(row[1].text, 16)
            assert int(above, 2) == encoding
            if below == "?" * 16:
                asked += 1
                continue
            assert int(below, 2) == (encoding << 6 | encoding >> 10) & 0xFFFF
            assert int(below, 2) == int(row[4].text, 16) and row[4].text in texts
            for shape in of_class(shapes, "slide"):     # each from where it was above
                slid = int(re.match(r"--dx:(-?\d+)px", shape[1]["style"])[1])
                assert slid in (6 * 20, -10 * 20)
        assert asked == (2 if any(cell.text == "?" for row in picture.steps[-1].rows
                                  for cell in row) else 0)


def test_a_ball_is_where_its_vcpu_is(drawn):
    """In the newest column, on its CPU's lane; what moves has an arrow between two lanes."""
    moves = 0
    for picture, figure in drawn("hotplug", cases=load("hotplug").CASES):
        for n, (step, (shapes, _)) in enumerate(zip(picture.steps, told(figure))):
            balls = of_class(shapes, "ball")
            newest = max([float(ball[1]["cx"]) for ball in balls], default=0)
            count = sum(len(row[4].text.split()) for row in step.rows if row[4].text != "?")
            if count:
                lanes = sorted(int((float(ball[1]["cy"]) - 6) // 46) for ball in balls[-count:])
                assert lanes == sorted(
                    lane for lane, row in enumerate(step.rows) for _ in row[4].text.split())
                assert newest <= 40 + (n + 1) * 356 / len(picture.steps)
            on = sum(row[3].text == "on" and row[1].text == "yes"
                     for one in picture.steps[:n + 1] for row in one.rows)
            assert len(of_class(shapes, "lane-vmx")) == on
            pages = sum(row[2].text == "yes" for one in picture.steps[:n + 1] for row in one.rows)
            assert len(of_class(shapes, "lane-page")) == pages
            for arrow in of_class(shapes, "arrow"):
                across = (float(arrow[1]["y1"]) - 6) // 46 != (float(arrow[1]["y2"]) - 6) // 46
                assert across == ("stay" not in arrow[1]["class"])
                moves += across
    assert moves


def test_a_page_that_names_nobody_is_red(drawn):
    """Of each step: as many arrows as pages name a VMCS, dashed and red where it is stale."""
    seen = set()
    for picture, figure in drawn("reload", cases=load("reload").CASES):
        for step, (shapes, _) in zip(picture.steps, told(figure)):
            named = [row for row in step.rows if row[3].text not in ("0x0", "?")]
            ends = [shape for shape in of_class(shapes, "arrow") if shape[1]["x1"] == 242]
            assert len(ends) == len(named)
            nobody = sum(row[4].text == "no vCPU" for row in named)
            assert len(of_class(ends, "stale")) == nobody
            shut = sum(row[4].text != "no vCPU" and row[3].text != row[6].text for row in named)
            assert len(of_class(ends, "shut")) == shut
            seen |= {"stale"} if nobody else set()
    assert seen == {"stale"}


def test_the_map_has_what_is_dirty_written_and_read(drawn):
    """By place: a field's box is at its offset in the page."""
    def places(shapes, kind):
        return {(round((float(at["x"]) - 34) / 5.5) + (at["y"] - 14) // 11 * 64)
                for _, at, *_ in of_class(shapes, kind)}

    written = read = 0
    for picture, figure in drawn("clean"):
        before = picture.steps[0]
        for step, (shapes, _) in zip(picture.steps, told(figure)):
            dirty = {row[1].text for row in step.rows if row[2].text == "0"}
            groups = set(step.read) or dirty
            kind = "read" if step.read else "dirty"
            assert places(shapes, kind) == {
                row["offset"] for row in ROWS.values() if row["clean_field"] in groups}
            new = {row[3].text.split()[0] for row, old in zip(step.rows, before.rows)
                   if row[3].text and row[3].text != old[3].text}
            assert places(shapes, "written") == {ROWS[name]["offset"] for name in new}
            if step.read:
                said = int(re.search(r"(\d+) groups", step.caption)[1])
                assert len(step.read) == said
                read += 1
            written += len(new)
            before = step
    assert written and read


def test_the_ladder_breaks_where_it_ends(drawn):
    for picture, figure in drawn("detect", cases=load("detect").CASES):
        for step, (shapes, texts) in zip(picture.steps, told(figure)):
            rungs = of_class(shapes, "rung")
            bad = sum(row[1].kind == "bad" for row in step.rows[:-1])
            top = step.rows[-1][1].kind == "bad"
            assert len(of_class(rungs, "bad")) == 2 * bad + top
            assert len(of_class(rungs, "good")) == sum(row[1].kind == "good" for row in step.rows)


def test_the_bit_that_decides_is_in_its_byte_of_the_map(drawn):
    for picture, figure in drawn("bitmap"):
        for step, (shapes, texts) in zip(picture.steps, told(figure)):
            known = [row for row in step.rows if row[1].text.startswith("0x")]
            marks = {(round((float(at["x"]) + 1.5 - 112) * 1024 / 282),
                      (at["y"] - 20) // 17) for _, at, *_ in of_class(shapes, "mark")}
            assert marks <= {(place, quarter) for row in known
                             for quarter, exact in [divmod(int(row[1].text, 16), 1024)]
                             for place in (exact - 1, exact, exact + 1)}
            last = next((row for row in reversed(step.rows) if row[1].text), None)
            if last and last[2].text.isdigit():
                assert ("1" if last[3].kind == "bad" else "0") in texts


def test_two_runs_differ_where_the_sign_says(drawn):
    for picture, figure in drawn("bug"):
        for step, (_, texts) in zip(picture.steps, told(figure)):
            shown = [row for row in step.rows if row[1].text or row[2].text]
            assert texts.count("≠") == sum(row[1].text != row[2].text for row in shown)
            assert texts.count("=") == sum(row[1].text == row[2].text for row in shown)


def test_bars_are_as_long_as_what_they_count(drawn):
    for picture, figure in drawn("cost"):
        for step, (shapes, texts) in zip(picture.steps, told(figure)):
            columns = [[row[n].text for row in step.rows] for n in (1, 2)]
            blocks = of_class(shapes, "block")
            if "?" in columns[0]:
                assert not blocks
                continue
            totals = [sum(map(int, column)) for column in columns]
            long = [sum(shape[1]["width"] + 1 for shape in blocks if shape[1]["y"] == y)
                    for y in (8, 52)]
            assert long[0] / long[1] == pytest.approx(totals[0] / totals[1], rel=.05)


def test_an_area_has_its_fields_filled_by_what_is_told(drawn):
    for picture, figure in drawn("vmcs"):
        for step, (shapes, _) in zip(picture.steps, told(figure)):
            boxes = of_class(shapes, "box")
            assert len(boxes) == len(step.rows)
            assert len(of_class(boxes, "dim")) == sum(row[2].kind == "dim" for row in step.rows)
            assert len(of_class(boxes, "bad")) == sum(row[2].kind == "bad" for row in step.rows)


@pytest.mark.parametrize("name", NAMES)
def test_the_step_that_is_printed_tells_something(name):
    """And nothing that the question hides: not all of a row is "?", and some cell is said."""
    picture = run(name).picture
    cells = [cell.text for row in picture.steps[picture.told()].rows for cell in row[1:]]
    assert any(text not in ("", "?") for text in cells)
    assert cells.count("?") < len(cells) / 2 or name == "detect"
