# SPDX-License-Identifier: GPL-2.0-only
"""The emulated Hyper-Vs as data, one TOML file each; kvm_vmx.l0.profile reads them."""
