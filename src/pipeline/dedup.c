/* The table of pipeline/dedup.h: open addressing over numbers of contents. A key is uniform
 * already, so it is its own hash. */
#define _GNU_SOURCE
#include "pipeline/dedup.h"
#include "base/mem.h"
#include <pthread.h>
#include <string.h>

struct ms_dedup {
    pthread_mutex_t lock;
    ms_dedup_entry *items; /* owned: [n] */
    size_t n, cap;
    uint32_t *slots; /* owned: [n_slots], a power of two; numbers, or NONE */
    size_t n_slots;
    bool wants_notes;
    int64_t *notes; /* owned: [n] when notes are wanted: a byte in the journal, or MS_NOTES_... */
    size_t notes_cap;
};

int ms_dedup_open(ms_dedup **out, msim_error *err) {
    ms_dedup *c = ms_alloc(1, sizeof *c, "contents by hash", err);
    *out = c;
    if (!c) return -MSIM_E_MEMORY;
    pthread_mutex_init(&c->lock, NULL);
    return 0;
}

void ms_dedup_close(ms_dedup *c) {
    if (!c) return;
    pthread_mutex_destroy(&c->lock);
    ms_free(c->items);
    ms_free(c->slots);
    ms_free(c->notes);
    ms_free(c);
}

size_t ms_dedup_count(const ms_dedup *c) { return c->n; }

/* Where a key is, or the empty slot where it would be. */
static uint32_t *probe(const ms_dedup *c, const unsigned char *key) {
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    for (size_t i = hash & (c->n_slots - 1);; i = (i + 1) & (c->n_slots - 1))
        if (c->slots[i] == MS_DEDUP_NONE ||
            memcmp(c->items[c->slots[i]].key, key, MS_DEDUP_KEY) == 0)
            return c->slots + i;
}

/* Room for one more. Under the lock. */
static int make_room(ms_dedup *c, msim_error *err) {
    int rc =
        ms_grow((void **)&c->items, &c->cap, c->n + 1, sizeof *c->items, "contents by hash", err);
    if (rc >= 0 && c->wants_notes)
        rc = ms_grow((void **)&c->notes, &c->notes_cap, c->n + 1, sizeof *c->notes,
                     "contents by hash", err);
    if (rc < 0 || (c->n_slots && c->n < c->n_slots / 4 * 3)) return rc;
    size_t n_slots = c->n_slots ? c->n_slots * 2 : 1024;
    uint32_t *slots = ms_alloc(n_slots, sizeof *slots, "contents by hash", err);
    if (!slots) return -MSIM_E_MEMORY;
    ms_free(c->slots);
    c->slots = slots;
    c->n_slots = n_slots;
    memset(slots, 0xff, n_slots * sizeof *slots);
    for (size_t i = 0; i < c->n; i++) *probe(c, c->items[i].key) = (uint32_t)i;
    return 0;
}

/* Under the lock. */
static int find(ms_dedup *c, const unsigned char *key, uint32_t *index, msim_error *err) {
    int rc = make_room(c, err);
    if (rc < 0) return rc;
    uint32_t *slot = probe(c, key);
    if (*slot == MS_DEDUP_NONE) {
        if (c->n == MS_DEDUP_NONE)
            return ms_fail(err, MSIM_E_LIMIT, "too many different files: a job takes %u at most",
                           MS_DEDUP_NONE);
        *slot = (uint32_t)c->n;
        c->items[c->n] = (ms_dedup_entry){.state = MS_DEDUP_UNKNOWN};
        if (c->wants_notes) c->notes[c->n] = MS_NOTES_UNKNOWN;
        memcpy(c->items[c->n++].key, key, MS_DEDUP_KEY);
    }
    *index = *slot;
    return 0;
}

int ms_dedup_find(ms_dedup *c, const unsigned char *key, uint32_t *index, msim_error *err) {
    pthread_mutex_lock(&c->lock);
    int rc = find(c, key, index, err);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int ms_dedup_claim(ms_dedup *c, const unsigned char *key, uint32_t *index, msim_error *err) {
    pthread_mutex_lock(&c->lock);
    int rc = find(c, key, index, err);
    if (rc == 0 && c->items[*index].state == MS_DEDUP_UNKNOWN) {
        c->items[*index].state = MS_DEDUP_CLAIMED;
        rc = MS_CLAIM_VECTORS;
    }
    if (rc >= 0 && c->wants_notes && c->notes[*index] == MS_NOTES_UNKNOWN) {
        c->notes[*index] = MS_NOTES_CLAIMED;
        rc |= MS_CLAIM_NOTES;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

void ms_dedup_settle(ms_dedup *c, uint32_t index, ms_dedup_entry as) {
    pthread_mutex_lock(&c->lock);
    memcpy(as.key, c->items[index].key, sizeof as.key);
    c->items[index] = as;
    pthread_mutex_unlock(&c->lock);
}

ms_dedup_entry ms_dedup_get(ms_dedup *c, uint32_t index) {
    pthread_mutex_lock(&c->lock);
    ms_dedup_entry item = c->items[index];
    pthread_mutex_unlock(&c->lock);
    return item;
}

/* ---- Notes ---- */

void ms_dedup_want_notes(ms_dedup *c) { c->wants_notes = true; }

void ms_dedup_settle_notes(ms_dedup *c, uint32_t index, int64_t notes) {
    pthread_mutex_lock(&c->lock);
    if (c->wants_notes) c->notes[index] = notes;
    pthread_mutex_unlock(&c->lock);
}

int64_t ms_dedup_get_notes(ms_dedup *c, uint32_t index) {
    pthread_mutex_lock(&c->lock);
    const int64_t notes = c->wants_notes ? c->notes[index] : MS_NOTES_NONE;
    pthread_mutex_unlock(&c->lock);
    return notes;
}
