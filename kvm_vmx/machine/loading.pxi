# SPDX-License-Identifier: GPL-2.0-only
# An extension module as a module of the kernel: where it has what, and what loading it asks.

cdef enum:
    MAX_PARAMS = 64


cdef void *exported(object extension, str name) except NULL:
    """Where a function or variable is that a .pxd of the port declares."""
    capsule = extension.__pyx_capi__[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


cdef module_t *struct_module(object extension) except NULL:
    """The struct module of an extension module that is one, declared when first asked for."""
    cdef module_t *mod

    name, = [name for name, capsule in extension.__pyx_capi__.items()
             if PyCapsule_GetName(capsule) == b"struct module"]
    mod = <module_t *>exported(extension, name)
    if mod.name == NULL:
        (<void (*)() noexcept nogil>exported(extension, "declare_module"))()
    return mod


# A module to load, and the values of its parameters; all bits of given are 0 for those that keep
# their own.
cdef struct load_request:
    module_t *mod
    int value[MAX_PARAMS]
    u64 given
    int ret


cdef void do_load_module(void *arg) noexcept nogil:
    cdef load_request *call = <load_request *>arg
    cdef int i

    call.ret = load_module(call.mod)
    if call.ret:
        return
    for i in range(call.mod.nr_params):
        if call.given >> i & 1:
            call.mod.params[i].value[0] = call.value[i]
    call.ret = init_module(call.mod)


# One key of one extension module, and the state it is to take.
cdef struct form_request:
    module_t mod
    static_key_t *key
    bint by_trap
    int ret


cdef void do_set_form(void *arg) noexcept nogil:
    cdef form_request *call = <form_request *>arg
    call.ret = jump_label_form(&call.mod, call.key, call.by_trap)


cdef class KernelModules(KernelFailPoints):
    """A kernel into which modules are loaded, each in the form that its instructions have."""

    def __cinit__(self, Partition partition not None):
        self.modules = []
        self.form_keys = set()

    def sites(self) -> list[dict]:
        """Every static-branch site of the modules that are loaded, in the order of its table;
        form: its key chooses between the two forms of an instruction."""
        cdef module_t *mod
        cdef jump_entry_t *entry
        cdef u8 *text
        cdef unsigned int n

        found = []
        for i in range(nr_modules()):
            mod = module_at(i)
            for n in range(mod.num_jump_entries):
                entry = &mod.jump_entries[n]
                text = <u8 *>entry.code
                found.append({
                    "address": entry.code, "target": entry.target, "key": entry.key & ~1,
                    "likely": bool(entry.key & 1), "bytes": text[:5],
                    "form": entry.key & ~1 in self.form_keys, "module": mod.name.decode()})
        return found

    def set_form(self, path: str, int cpu=ANY_CPU) -> None:
        """Bring the instructions of a loaded extension module into this machine's form."""
        cdef form_request call
        cdef object found = sections.loaded(path)

        memset(&call, 0, sizeof(call))
        if found.key == 0:
            return
        self.form_keys.add(found.key)
        if self.by_trap and path not in _trapping:
            if extable_add(found.extable[0], found.extable[1]):
                raise MachineError("too many exception tables")
            trap.add_text(*found.text, found.entries)
            _trapping.add(path)
        call.mod.name = "vmlinux"
        call.mod.jump_entries = <jump_entry_t *><ulong>found.jump_table[0]
        call.mod.num_jump_entries = \
            <jump_entry_t *><ulong>found.jump_table[1] - call.mod.jump_entries
        call.key = <static_key_t *><ulong>found.key
        call.by_trap = self.by_trap
        self.call(cpu, do_set_form, &call)
        if call.ret:
            raise OSError(-call.ret, f"{path}: instructions cannot be made to trap: "
                          f"{os.strerror(-call.ret)}: use insn='call'")

    def load(self, extension, dict params, owner, int cpu=ANY_CPU) -> int:
        """Load the kernel module that an extension module is, for owner; 0 or a negative errno,
        which is that of text_error() where its text could not be changed."""
        cdef load_request call
        cdef int i

        memset(&call, 0, sizeof(call))
        call.mod = struct_module(extension)
        for i in range(call.mod.nr_params):
            name = call.mod.params[i].name.decode()
            if name in params:
                call.value[i] = int(params[name])
                call.given |= <u64>1 << i
        self.set_form(extension.__file__, cpu)
        self.call(cpu, do_load_module, &call)
        if call.ret == 0:
            self.modules.append(owner)
        return call.ret

    def text_error(self, extension) -> int:
        """Why the last load of a module could not change its text: a negative errno, or 0."""
        return struct_module(extension).text_error

    def unload(self, extension, owner, int cpu=ANY_CPU) -> int:
        """Unload a module of owner's; 0 or a negative errno."""
        cdef int ret = <int>self.enter(cpu, <void *>delete_module, <u64>struct_module(extension))

        if ret == 0:
            self.modules.remove(owner)
        return ret

    def enable_evmcs(self, extension) -> bool:
        """Whether the static key enable_evmcs of a module is on."""
        return (<bint (*)() noexcept nogil>exported(extension, "enable_evmcs_is_on"))()

    def parameters(self, extension) -> dict:
        """The parameters of a module as they stand."""
        cdef module_t *mod = struct_module(extension)

        return {mod.params[i].name.decode():
                bool(mod.params[i].value[0]) if mod.params[i].is_bool else mod.params[i].value[0]
                for i in range(mod.nr_params)}
