# SPDX-License-Identifier: GPL-2.0-only
"""This thread instruction by instruction, as the trap engine steps it."""

from kvm_vmx.trap.engine import (
    step_full as full,
    step_possible as possible,
    step_start as start,
    step_stop as stop,
)

__all__ = ["full", "possible", "start", "stop"]
