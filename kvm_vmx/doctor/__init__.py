# SPDX-License-Identifier: GPL-2.0-only
"""Why the KVM of a host uses enlightened VMCSs, or does not: from the host, or from files of it."""
