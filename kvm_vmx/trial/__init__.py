# SPDX-License-Identifier: GPL-2.0-only
"""A patch tried: a kernel's own KVM with and without it, in every scenario."""
