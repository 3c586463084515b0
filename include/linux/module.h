// SPDX-License-Identifier: GPL-2.0-only
/* A loadable module: its entry points, parameters, jump labels, and how its data is made fresh. */
#ifndef KVM_VMX_LINUX_MODULE_H
#define KVM_VMX_LINUX_MODULE_H

#include <linux/jump_label.h>

#define MODULE_MAX_PARAMS 32

struct module_param {
	const char *name;
	int *value;
	int initial;	/* what it was when it was declared */
	int is_bool;
};

struct module {
	const char *name;
	int (*init)(void);
	void (*exit)(void);
	void (*data)(void);	/* gives every variable of the module its initial value */
	struct jump_entry *jump_entries;
	unsigned int num_jump_entries;
	unsigned long core_base, core_size, text_size;	/* text is at its start */
	unsigned int *once_flags, *once_flags_end;
	int nr_params;
	struct module_param params[MODULE_MAX_PARAMS];
	int loaded;
	int text_error;		/* why the last load could not change its text, or 0 */
};

/* The linker marks the bounds of a section whose name is an identifier. */
extern struct jump_entry __start___jump_table[] __attribute__((weak, visibility("hidden")));
extern struct jump_entry __stop___jump_table[] __attribute__((weak, visibility("hidden")));
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));
extern unsigned int __start_once_flags[] __attribute__((weak, visibility("hidden")));
extern unsigned int __stop_once_flags[] __attribute__((weak, visibility("hidden")));

static inline void module_sections(struct module *mod)
{
	mod->jump_entries = __start___jump_table;
	mod->num_jump_entries = __stop___jump_table - __start___jump_table;
	mod->core_base = (unsigned long)__ehdr_start;
	mod->core_size = _end - __ehdr_start;
	mod->text_size = etext - __ehdr_start;
	mod->once_flags = __start_once_flags;
	mod->once_flags_end = __stop_once_flags;
}

static inline bool within_module(unsigned long address, const struct module *mod)
{
	return address - mod->core_base < mod->core_size;
}

static inline void module_add_param(struct module *mod, const char *name, int *value, int is_bool)
{
	struct module_param *param = &mod->params[mod->nr_params++];

	param->name = name;
	param->value = value;
	param->initial = *value;
	param->is_bool = is_bool;
}

static inline void module_initial_params(struct module *mod)
{
	int i;

	for (i = 0; i < mod->nr_params; i++)
		*mod->params[i].value = mod->params[i].initial;
}

#endif
