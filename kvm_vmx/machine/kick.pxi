# SPDX-License-Identifier: GPL-2.0-only
# Signals that end a run: a thread waits for Python's, and kicks the vCPU as KVM would be kicked.
#
# Python's own handler writes into a pipe; the thread that reads there marks the task and sends its
# CPU an interrupt, which ends the guest's run at its next instruction. An exit costs nothing for
# it. How that is done whoever runs the vCPU says: the port, or a tree's kernel.

cdef extern from *:
    """
    #include <pthread.h>
    #include <signal.h>

    /* A thread that takes no signal: they are for whoever waits for them. */
    static int start_thread(void *(*function)(void *))
    {
        pthread_attr_t attributes;
        sigset_t all, before;
        pthread_t thread;
        int ret;

        sigfillset(&all);
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, 64 << 10);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        ret = pthread_create(&thread, &attributes, function, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        return ret;
    }

    /* A flag that two threads see without a lock. */
    #define flag_is_set(flag) __atomic_load_n(&(flag), __ATOMIC_ACQUIRE)
    #define set_flag(flag) __atomic_store_n(&(flag), 1, __ATOMIC_RELEASE)
    """
    bint flag_is_set(bint flag) nogil
    void set_flag(bint flag) nogil
    int start_thread(void *(*function)(void *) noexcept nogil) nogil

cdef extern from "poll.h" nogil:
    enum:
        POLLIN
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "unistd.h" nogil:
    int pipe2(int fds[2], int flags)

cdef extern from "Python.h":
    bint PyGC_Disable()
    bint PyGC_Enable()

cdef spinlock_t kick_lock
cdef void (*kick_how)(void *whom) noexcept nogil
cdef void *kick_target = NULL
cdef bint kick_pending = False      # a signal came while there was no target
cdef bint kick_watched = False
cdef bint kick_waits = False        # the thread has come to where it waits
cdef int kick_pipe[2]
cdef int kick_depth = 0             # runs within runs: a handler may run a vCPU, too
cdef int kick_outer = -1            # where signals were told of before, and still are


# Whether signals have come, which whoever was told before is told of: under the lock.
cdef bint take_signals() noexcept nogil:
    cdef char numbers[64]
    cdef ssize_t count = read(kick_pipe[0], numbers, sizeof(numbers))

    if count > 0 and kick_outer >= 0:
        write(kick_outer, numbers, count)
    return count > 0


cdef void kick() noexcept nogil:
    global kick_pending

    kick_pending = kick_target == NULL
    if kick_target != NULL:
        kick_how(kick_target)


cdef void *watch(void *unused) noexcept nogil:
    cdef pollfd ask
    cdef int found
    cdef bint ended             # another one watches, by another pipe

    ask.fd, ask.events = kick_pipe[0], POLLIN
    while True:
        found = poll(&ask, 1, -1)
        if found < 0 and errno == EINTR:
            continue
        if found != 1 or ask.revents != POLLIN:
            return NULL
        spin_lock(&kick_lock)
        ended = ask.fd != kick_pipe[0]
        if not ended and take_signals() and flag_is_set(kick_waits):
            kick()
        spin_unlock(&kick_lock)
        if ended:
            return NULL
        set_flag(kick_waits)


cdef bint start_watching() noexcept:
    global kick_watched, kick_waits
    cdef int ends[2]

    # a handler never waits, nor does who takes what another one may have taken
    if pipe2(ends, O_CLOEXEC | O_NONBLOCK):
        return False
    spin_lock(&kick_lock)
    kick_pipe[0], kick_pipe[1], kick_waits = ends[0], ends[1], False
    spin_unlock(&kick_lock)
    kick_watched = write(kick_pipe[1], "", 1) == 1 and start_thread(watch) == 0
    # what it does first is no part of the run that comes
    while kick_watched and not flag_is_set(kick_waits):
        with nogil:
            sched_yield()
    if not kick_watched:
        close(kick_pipe[0])
        close(kick_pipe[1])
    return kick_watched


# Signals are told of by the pipe from now on; False where that cannot be.
cdef bint take_over() except -1:
    global kick_outer, kick_watched
    # a collection would run what is Python's, which may want the lock
    cdef bint collects = PyGC_Disable()

    # whoever takes a signal knows whom to tell
    spin_lock(&kick_lock)
    try:
        kick_outer = set_wakeup_fd(kick_pipe[1], warn_on_full_buffer=False)
    except ValueError:
        # no thread of Python's that handles signals
        return False
    except OSError:
        # somebody has closed all files that are open: the next run has a pipe of its own
        kick_watched = False
        return False
    finally:
        spin_unlock(&kick_lock)
        if collects:
            PyGC_Enable()
    return True


# From begin to end a signal that Python handles kicks the vCPU that this thread runs. False: this
# thread is not the one that handles them, or nobody can watch. Raises what a handler raises.
cdef bint kick_begin() except -1:
    global kick_depth

    if not kick_handles() or not (kick_watched or start_watching()):
        return False
    if kick_depth == 0 and not take_over():
        return False
    kick_depth += 1
    try:
        # those that came before the pipe was in place
        PyErr_CheckSignals()
    except BaseException:
        kick_end()
        raise
    return True


cdef int kick_end() except -1:
    global kick_depth, kick_outer

    # while another thread forks the pipe is this run's still, and the child gives it back
    if kick_depth == 1:
        give_back()
    # a handler that has forked comes back in a child as well, where nothing is left to end
    if kick_depth == 0:
        return 0
    kick_depth -= 1
    if kick_depth == 0:
        # those that the thread has not taken yet
        spin_lock(&kick_lock)
        while take_signals():
            pass
        kick_outer = -1
        spin_unlock(&kick_lock)
    return 0


cdef int give_back() except -1:
    global kick_outer

    try:
        set_wakeup_fd(kick_outer)
    except (OSError, ValueError):
        # what was closed meanwhile is told nothing more
        spin_lock(&kick_lock)
        kick_outer = -1
        spin_unlock(&kick_lock)
        set_wakeup_fd(-1)
    return 0


# Let the handlers run whose signals have come.
cdef int kick_check() except -1:
    PyErr_CheckSignals()
    return 0


# Whether this thread is the one that handles them.
cdef bint kick_handles() except -1:
    return threading.get_ident() == threading.main_thread().ident


# Whom to kick, and how; at once where a signal has come already.
cdef void kick_from(void (*how)(void *whom) noexcept nogil, void *whom) noexcept nogil:
    global kick_how, kick_target, kick_pending

    spin_lock(&kick_lock)
    if kick_pending:
        how(whom)
    kick_pending = False
    kick_how, kick_target = how, whom
    spin_unlock(&kick_lock)


cdef void kick_till(const void *whom) noexcept nogil:
    global kick_target

    if kick_target == whom:
        spin_lock(&kick_lock)
        kick_target = NULL
        spin_unlock(&kick_lock)


def _kick_in_child():
    # The watching thread is not there, and the pipe is the parent's.
    global kick_watched, kick_depth, kick_target, kick_pending, kick_waits, kick_outer

    spin_lock_init(&kick_lock)
    kick_target, kick_pending, kick_waits = NULL, False, False
    if kick_depth:
        kick_depth = 0
        with contextlib.suppress(ValueError):
            give_back()
    kick_outer = -1
    if kick_watched:
        kick_watched = False
        close(kick_pipe[0])
        close(kick_pipe[1])


os.register_at_fork(after_in_child=_kick_in_child)
