# SPDX-License-Identifier: GPL-2.0-only
# Which process something belongs to: a child of fork() owns nothing that its parent made.

cdef extern from *:
    """
    #include <pthread.h>
    #include <unistd.h>

    /* A number can come again; how many forks lie between a process and the first cannot. */
    static struct { int number, forks; } now_in;

    static void process_in_child(void)
    {
        now_in.number = getpid();
        now_in.forks++;
    }

    static int process_watch(void)
    {
        now_in.number = getpid();
        return pthread_atfork(NULL, NULL, process_in_child);
    }
    """
    process_t now_in
    int process_watch()

if process_watch():
    raise MemoryError("no memory to watch for fork()")


_MADE = object()


cdef process_t this_process() noexcept nogil:
    cdef process_t now

    now.number, now.forks = now_in.number, now_in.forks
    return now


cdef bint is_foreign(process_t owner) noexcept nogil:
    return owner.forks != now_in.forks


cdef int check_process(process_t owner) except -1:
    if is_foreign(owner):
        raise MachineError(f"the machine belongs to process {owner.number}, which forked this one: "
                           "boot another Machine here")
    return 0
