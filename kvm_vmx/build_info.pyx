# SPDX-License-Identifier: GPL-2.0-only
"""What this build was compiled with: for `kvm-vmx --version`."""

cdef extern from *:
    """
    #ifdef __clang__
    #define BUILD_COMPILER __VERSION__
    #else
    #define BUILD_COMPILER "gcc " __VERSION__
    #endif
    """
    const char *BUILD_COMPILER
    const char *BUILD_CONFIG
    const char *CYTHON_ABI

compiler = BUILD_COMPILER.decode()
cython = CYTHON_ABI.decode().removeprefix("abi").replace("_", ".")
config = {name: int(value) for name, _, value in (
    word.partition("=") for word in BUILD_CONFIG.decode().split())}
