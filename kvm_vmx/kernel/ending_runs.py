# SPDX-License-Identifier: GPL-2.0-only
"""Signals that Python handles, for the thread that handles them and runs a vCPU of a tree's."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from kvm_vmx.kernel.image import Image

MOST_AT_ONCE = 4096


def _take(pipe: int) -> bytes:
    """The numbers of the signals that have come."""
    with contextlib.suppress(BlockingIOError):
        return os.read(pipe, MOST_AT_ONCE)
    return b""


@contextlib.contextmanager
def ending_runs(image: Image) -> Iterator[Callable[[], bool]]:
    """`with` it a signal ends a call of the image's soon, and what it gives says whether one did.
    Its handler has run by the time that the answer is there; who was told of signals still is."""
    if threading.get_ident() != threading.main_thread().ident:
        yield lambda: False
        return
    ours, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    seen, outer = [], image.wakes_by
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)

    def came() -> bool:
        seen.append(_take(ours) if image.signalled else b"")
        return bool(seen[-1])

    try:
        image.wakes_by = ours
        yield came
    finally:
        image.wakes_by = outer
        try:
            signal.set_wakeup_fd(before)
        except (OSError, ValueError):       # what was closed meanwhile is told nothing more
            signal.set_wakeup_fd(-1)
            before = -1
        seen.append(_take(ours))
        os.close(ours)
        os.close(theirs)
        if before >= 0 and any(seen):
            with contextlib.suppress(OSError):
                os.write(before, b"".join(seen))
