# SPDX-License-Identifier: GPL-2.0-only
# This thread instruction by instruction: where each one of some text stood, and its registers.
#
# The processor's own single step, RFLAGS.TF, interrupts behind each instruction; what is not
# of the text that is asked for goes by unwritten. Steps begin behind an instruction that traps and
# end where the thread has been elsewhere for a while, so that nothing else is slow: without traps
# there are none. A signal handler runs without steps, and so does L0, to which opcodes trap.

cdef extern from *:
    """
    #include <asm/processor-flags.h>
    #include <signal.h>
    #include <stdlib.h>
    #include <ucontext.h>

    #define STEP_TEXTS 32
    #define STEP_GPRS 16
    struct step { unsigned long rip, gpr[STEP_GPRS]; };

    static struct { unsigned long start, end; } step_text[STEP_TEXTS];
    static int step_texts;
    static struct step *steps;
    static size_t steps_taken, steps_room;
    static volatile int stepping;
    /* Steps in a row elsewhere, and how many end it. */
    static int step_elsewhere;
    #define STEP_AWAY 256
    static struct sigaction step_before;

    #if defined(__x86_64__) && defined(__linux__)
    #define CAN_STEP 1
    /* In the order in which an instruction numbers them. */
    static const int step_greg[STEP_GPRS] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    };

    static void step_record(greg_t *gregs)
    {
        unsigned long rip = gregs[REG_RIP];
        struct step *step;
        int i;

        for (i = 0; i < step_texts; i++)
            if (rip >= step_text[i].start && rip < step_text[i].end)
                break;
        if (i == step_texts) {
            if (++step_elsewhere > STEP_AWAY)
                gregs[REG_EFL] &= ~X86_EFLAGS_TF;
            return;
        }
        step_elsewhere = 0;
        if (steps_taken == steps_room)
            return;
        step = &steps[steps_taken++];
        step->rip = rip;
        for (i = 0; i < STEP_GPRS; i++)
            step->gpr[i] = gregs[step_greg[i]];
    }

    static void step_taken(int signal, siginfo_t *info, void *context)
    {
        greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;

        (void)info;
        if (stepping) {
            step_record(gregs);
        } else if (gregs[REG_EFL] & X86_EFLAGS_TF) {
            gregs[REG_EFL] &= ~X86_EFLAGS_TF;
        } else {
            sigaction(signal, &step_before, NULL);
            raise(signal);
        }
    }

    static void step_end(void);

    static int step_begin(void)
    {
        struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

        action.sa_sigaction = step_taken;
        if (sigaction(SIGTRAP, &action, &step_before))
            return -1;
        step_elsewhere = 0;
        stepping = 1;
        return 0;
    }

    /* A few instructions of this function's, stepped: how often SIGTRAP has come. */
    static __attribute__((__noinline__)) int step_probe(void)
    {
        struct step place[8], *kept = steps;
        size_t room = steps_room;
        int texts = step_texts;

        steps = place;
        steps_room = 8;
        steps_taken = step_texts = 0;
        if (!step_begin()) {
            __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | X86_EFLAGS_TF);
            __asm__ volatile("nop; nop; nop");
            __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~X86_EFLAGS_TF);
            step_end();
        }
        steps = kept;
        steps_room = room;
        step_texts = texts;
        return step_elsewhere;
    }

    /* Whoever has taken the signal since keeps it, and hands on what is not its own. */
    static void step_end(void)
    {
        struct sigaction now;

        stepping = 0;
        if (!sigaction(SIGTRAP, NULL, &now) && now.sa_flags & SA_SIGINFO &&
            now.sa_sigaction == step_taken)
            sigaction(SIGTRAP, &step_before, NULL);
    }
    #else
    #define CAN_STEP 0
    static void step_record(void *gregs) { }
    static int step_begin(void) { return -1; }
    static void step_end(void) { }
    static int step_probe(void) { return 0; }
    #endif
    """
    cdef struct step_t "step":
        size_t rip
        size_t gpr[16]
    enum:
        CAN_STEP
        STEP_TEXTS
    void *step_record
    int step_begin() nogil
    void step_end() nogil
    int step_probe() nogil
    int step_texts
    size_t steps_taken, steps_room
    int stepping

cdef extern from *:
    """
    static struct step *step_at(size_t n) { return &steps[n]; }
    static void step_range(int i, size_t start, size_t end)
    {
        step_text[i].start = start;
        step_text[i].end = end;
    }
    static int step_reserve(size_t count)
    {
        free(steps);
        steps = malloc(count * sizeof *steps);
        steps_taken = 0;
        steps_room = steps ? count : 0;
        return steps != NULL;
    }
    """
    step_t *step_at(size_t n) nogil
    void step_text_is "step_range"(int i, size_t start, size_t end) nogil
    bint step_reserve(size_t count) nogil


def step_possible() -> bool:
    """Does a single step of this host's interrupt? A few are made."""
    return bool(CAN_STEP) and not stepping and step_probe() >= 3


def step_start(texts: list[tuple[int, int]], room: int = 1 << 18) -> None:
    """Step from the next trap on; texts are the (start, end) of what is written down, of
    which there may be so many steps. RuntimeError where it cannot be done, or is being done."""
    global step_texts
    cdef int i

    if not CAN_STEP or stepping or not 0 < len(texts) <= STEP_TEXTS:
        raise RuntimeError("no single steps: they are for one thread of x86-64 Linux at a time, "
                           f"and 1 to {STEP_TEXTS} texts")
    if not 0 < room <= 1 << 24 or not step_reserve(room):
        raise MemoryError(f"no memory for {room} steps")
    for i in range(len(texts)):
        step_text_is(i, texts[i][0], texts[i][1])
    step_texts = len(texts)
    if step_begin() != 0:
        raise RuntimeError("no single steps: this system takes no handler for SIGTRAP")
    step_from_trap(<size_t>step_record)


def step_stop() -> list[tuple[int, tuple[int, ...]]]:
    """Step no more: [(address, its 16 registers)], each as it was before the instruction."""
    cdef size_t n
    cdef int i
    cdef step_t *step

    step_from_trap(0)
    step_end()
    found = []
    for n in range(steps_taken):
        step = step_at(n)
        found.append((step.rip, tuple([step.gpr[i] for i in range(16)])))
    return found


def step_full() -> bool:
    """Is there no room for another step?"""
    return steps_taken == steps_room
