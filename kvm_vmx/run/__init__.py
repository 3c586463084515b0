# SPDX-License-Identifier: GPL-2.0-only
"""The main job: a guest under VMCS and under eVMCS."""
