# SPDX-License-Identifier: GPL-2.0-only
# CPUID of this host, which needs no privilege; nothing on another architecture.

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(__i386__)
    #include <cpuid.h>
    static int cpuid_of_host(unsigned int leaf, unsigned int r[4])
    {
        __cpuid_count(leaf, 0, r[0], r[1], r[2], r[3]);
        return 1;
    }
    #else
    static int cpuid_of_host(unsigned int leaf, unsigned int r[4])
    {
        (void)leaf;
        (void)r;
        return 0;
    }
    #endif
    """
    bint cpuid_of_host(unsigned int leaf, unsigned int *r) nogil


def host_cpuid(unsigned int leaf) -> tuple[int, int, int, int] | None:
    """(eax, ebx, ecx, edx) of a leaf's first subleaf, as this host answers; None without CPUID."""
    cdef unsigned int r[4]

    return (r[0], r[1], r[2], r[3]) if cpuid_of_host(leaf, r) else None
