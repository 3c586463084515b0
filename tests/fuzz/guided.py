# SPDX-License-Identifier: GPL-2.0-only
"""Fuzz a surface of Python, led by the lines that its inputs reach:

    guided.py SURFACE SECONDS [SEED [keep]]

With keep, the inputs that reach a line that none before them does replace those of
tests/data/corpus. An input that ends wrongly is printed.
"""

import pathlib
import random
import signal
import sys
import tempfile
import time

import corpus
import surfaces

import kvm_vmx

ROOM = str(pathlib.Path(kvm_vmx.__file__).parent)
# seconds of the processor's time; of everybody's, a hundred times that: what waits for ever ends,
# what only has little of a loaded machine does not
LONGEST, PATIENCE = 2048, 20


class Impatient(BaseException):
    """An input takes too long; none of its own refusals is this."""


def impatient(number, _):
    raise Impatient(f"signal {signal.Signals(number).name} at {PATIENCE} s of the processor's time")


def patience(seconds):
    """From now on an input may take so long; 0: it has ended."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 100 * seconds)


def reached(call, *arguments):
    """The lines of the package that a call executes."""
    lines = set()

    def local(frame, event, _):
        lines.add((frame.f_code, frame.f_lineno))
        return local

    def trace(frame, event, _):
        return local if frame.f_code.co_filename.startswith(ROOM) else None

    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(None)
    return lines


def mutated(data, others, dice):
    """Another input, of one and maybe a second."""
    data = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(data) + 1)
        what = dice.randrange(6)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        elif what == 1:
            data[at:at + dice.randrange(1, 9)] = b""
        elif what == 2:
            data[at:at] = dice.choice(surfaces.WORDS) * dice.choice((1, 1, 1, 50))
        elif what == 3:
            other = dice.choice(others)
            begin = dice.randrange(len(other) + 1)
            data[at:at] = other[begin:begin + dice.randrange(1, 64)]
        elif what == 4:
            data[at:at] = dice.randbytes(dice.randrange(1, 12))
        else:
            data[at:at + 8] = dice.choice((0, 1, 2**63, 2**64 - 1, 4096)).to_bytes(8, "little")
    return bytes(data[:LONGEST])


def main(surface, seconds, seed="1", keep=""):
    """Tells executions, lines and inputs; status 1 where an input ended wrongly."""
    target, dice = surfaces.SURFACES[surface], random.Random(int(seed))
    inputs = [*surfaces.SEEDS[surface]]
    if (corpus.KEPT / f"{surface}.bin").exists():
        inputs += corpus.kept(surface)
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, impatient)
    kept, lines, count, end = [], set(), 0, time.monotonic() + float(seconds)
    with tempfile.TemporaryDirectory() as folder:
        while inputs or time.monotonic() < end:
            data = inputs.pop() if inputs else mutated(dice.choice(kept), kept, dice)
            patience(PATIENCE)
            try:
                new = reached(target, data, folder) - lines
            except BaseException:
                patience(0)
                print(f"{surface}: {data!r}", file=sys.stderr)
                raise
            patience(0)
            count += 1
            if new or not kept:
                lines |= new
                kept.append(data)
    surfaces.close()
    if keep:
        corpus.keep(surface, kept)
    print(f"{surface}: {count} executions, {len(lines)} lines, {len(kept)} inputs reach them")


if __name__ == "__main__":
    main(*sys.argv[1:])
