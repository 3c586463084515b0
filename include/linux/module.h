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
	struct jump_entry *jump_entries, *jump_entries_end;
	unsigned int *once_flags, *once_flags_end;
	int nr_params;
	struct module_param params[MODULE_MAX_PARAMS];
	int loaded;
	int text_error;		/* why the last load could not change its text, or 0 */
};

/* The linker marks the bounds of a section whose name is an identifier. */
extern struct jump_entry __start___jump_table[] __attribute__((weak, visibility("hidden")));
extern struct jump_entry __stop___jump_table[] __attribute__((weak, visibility("hidden")));
extern unsigned int __start_once_flags[] __attribute__((weak, visibility("hidden")));
extern unsigned int __stop_once_flags[] __attribute__((weak, visibility("hidden")));

static inline void module_sections(struct module *mod)
{
	mod->jump_entries = __start___jump_table;
	mod->jump_entries_end = __stop___jump_table;
	mod->once_flags = __start_once_flags;
	mod->once_flags_end = __stop_once_flags;
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
