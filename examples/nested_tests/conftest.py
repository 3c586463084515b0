# SPDX-License-Identifier: GPL-2.0-only
"""Asks for the fixtures l1, evmcs_page, l0_strict and kernel_tree."""

pytest_plugins = ["kvm_vmx.testing"]
