# SPDX-License-Identifier: GPL-2.0-only
"""Seconds of a million instructions of L1 on a board, by pyperf: mixed code in a loop.

usage: python perf/bench_boot.py [pyperf's options]
"""

import functools
import time

from bench import Runner

from kvm_vmx.boot import loader
from kvm_vmx.boot.board import Board

MILLION = 1_000_000
# again: mov (%rsi), %eax; add %eax, %ebx; mov %ebx, 4(%rsi); lea 8(%rbx,%rax,2), %ecx;
# shl $3, %ecx; cmp %eax, %ecx; push %rcx; pop %rdx; test %edx, %edx; jne again; jmp again
MIXED = bytes.fromhex("be00001000" "8b06" "01c3" "895e04" "8d4c4308" "c1e103" "39c1" "51" "5a"
                      "85d2" "75ea" "ebe8")


@functools.cache
def board():
    """The board of this process."""
    found = Board(16 << 20)
    loader.boot(found, MIXED)
    return found


def run(loops):
    """Seconds that `loops` millions of instructions take."""
    processor = board().processors[0]
    start = time.perf_counter()
    for _ in range(loops):
        processor.run(MILLION)
    return time.perf_counter() - start


def main():
    """One benchmark."""
    runner = Runner("a million instructions of L1 on a board")
    runner.bench_time_func("boot: a million instructions of L1, mixed", run)


if __name__ == "__main__":
    main()
