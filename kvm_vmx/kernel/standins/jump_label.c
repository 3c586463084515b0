// SPDX-License-Identifier: GPL-2.0-only
/* Static keys: all sites of one are rewritten when it changes. */
#include "standin.h"
#include <linux/jump_label.h>
#include <linux/jump_label_ratelimit.h>

/* What is told of a site: unsigned words, as the caller reads them. */
struct standin_site { unsigned long code, target, key, likely, size; };

extern struct jump_entry __start___jump_table[], __stop___jump_table[];

#ifndef HAVE_JUMP_ENTRY_CODE
#define jump_entry_code(entry) ((entry)->code)
#define jump_entry_target(entry) ((entry)->target)
#define jump_entry_key(entry) ((struct static_key *)((entry)->key & ~3UL))
#define jump_entry_is_branch(entry) ((entry)->key & 1)
#endif

/* A short site, where the build has made one, has two bytes. */
static bool is_short(const unsigned char *code)
{
	return code[0] == 0xeb || (code[0] == 0x66 && code[1] == 0x90);
}

static struct host_patch site_as(unsigned long code, unsigned long target, bool jump)
{
	struct host_patch site = { (void *)code, 5, { 0x0f, 0x1f, 0x44, 0x00, 0x00 } };
	int distance;

	if (is_short((const unsigned char *)code))
		site.size = 2;
	distance = (int)(target - code - site.size);
	if (jump) {
		site.bytes[0] = site.size == 2 ? 0xeb : 0xe9;
		memcpy(site.bytes + 1, &distance, site.size - 1);
	} else if (site.size == 2) {
		site.bytes[0] = 0x66;
		site.bytes[1] = 0x90;
	}
	return site;
}

static void write_sites(const struct host_patch *sites, int count)
{
	if (count && host->patch(sites, count))
		die("the text of a static key cannot be written");
}

static void update(struct static_key *key)
{
	/* many at once: to make text writable, and back, takes longer than to write */
	static struct host_patch sites[256];
	bool on = atomic_read(&key->enabled) > 0;
	struct jump_entry *entry;
	int count = 0;

	for (entry = __start___jump_table; entry < __stop___jump_table; entry++) {
		if (jump_entry_key(entry) != key)
			continue;
		sites[count++] = site_as(jump_entry_code(entry), jump_entry_target(entry),
					 on != jump_entry_is_branch(entry));
		if (count == ARRAY_SIZE(sites)) {
			write_sites(sites, count);
			count = 0;
		}
	}
	write_sites(sites, count);
}

void static_key_enable(struct static_key *key)
{
	atomic_set(&key->enabled, 1);
	update(key);
}

void static_key_disable(struct static_key *key)
{
	atomic_set(&key->enabled, 0);
	update(key);
}

#ifdef HAVE_STATIC_KEY_BOOL
bool static_key_slow_inc(struct static_key *key)
{
	if (atomic_inc_return(&key->enabled) == 1)
		update(key);
	return true;
}
#else
void static_key_slow_inc(struct static_key *key)
{
	if (atomic_inc_return(&key->enabled) == 1)
		update(key);
}
#endif

void static_key_slow_dec(struct static_key *key)
{
	if (atomic_read(&key->enabled) <= 0)
		die("a static key is released that nobody holds");
	if (atomic_dec_and_test(&key->enabled))
		update(key);
}

void jump_label_rate_limit(struct static_key_deferred *key, unsigned long limit) { }

#ifdef static_key_slow_dec_deferred
void __static_key_slow_dec_deferred(struct static_key *key, struct delayed_work *work,
				    unsigned long timeout)
{
	static_key_slow_dec(key);
}

void __static_key_deferred_flush(void *key, struct delayed_work *work) { }
#else
void static_key_slow_dec_deferred(struct static_key_deferred *key) { static_key_slow_dec(&key->key); }
void static_key_deferred_flush(struct static_key_deferred *key) { }
#endif

/* Every site as it stands, up to room of them: how many there are. */
long standin_sites(struct standin_site *to, long room)
{
	struct jump_entry *entry;
	long n = 0;

	for (entry = __start___jump_table; entry < __stop___jump_table; entry++, n++)
		if (n < room)
			to[n] = (struct standin_site){
				jump_entry_code(entry), jump_entry_target(entry),
				(unsigned long)jump_entry_key(entry), jump_entry_is_branch(entry),
				is_short((const unsigned char *)jump_entry_code(entry)) ? 2 : 5 };
	return n;
}
