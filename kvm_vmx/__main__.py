# SPDX-License-Identifier: GPL-2.0-only
"""python -m kvm_vmx: the command kvm-vmx without its script."""

from kvm_vmx.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
