# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own KVM as L1: objects of a reader's tree, on the emulated Hyper-V."""
