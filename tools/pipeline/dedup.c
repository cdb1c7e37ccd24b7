/* Contract: tools/pipeline/dedup.h. Open addressing over numbers of contents; a key is uniform
 * already and is its own hash. */
#define _GNU_SOURCE
#include "dedup.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct ms_dedup {
    pthread_mutex_t lock;
    ms_dedup_entry *items; /* owned: [n] */
    size_t n, cap;
    uint32_t *slots; /* owned: [n_slots], a power of two; numbers, or NONE */
    size_t n_slots;
};

ms_dedup *ms_dedup_open(void) {
    ms_dedup *c = ms_cli_alloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void ms_dedup_close(ms_dedup *c) {
    if (!c) return;
    pthread_mutex_destroy(&c->lock);
    free(c->items);
    free(c->slots);
    free(c);
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

static void make_room(ms_dedup *c) {
    c->items = ms_cli_grow(c->items, &c->cap, c->n + 1, sizeof *c->items);
    if (c->n_slots && c->n < c->n_slots / 4 * 3) return;
    free(c->slots);
    c->n_slots = c->n_slots ? c->n_slots * 2 : 1024;
    c->slots = ms_cli_alloc(c->n_slots, sizeof *c->slots);
    memset(c->slots, 0xff, c->n_slots * sizeof *c->slots);
    for (size_t i = 0; i < c->n; i++) *probe(c, c->items[i].key) = (uint32_t)i;
}

/* Under the lock. */
static uint32_t find(ms_dedup *c, const unsigned char *key) {
    make_room(c);
    uint32_t *slot = probe(c, key);
    if (*slot == MS_DEDUP_NONE) {
        if (c->n == MS_DEDUP_NONE) {
            ms_cli_error("too many different files: expected at most %u, got more", MS_DEDUP_NONE);
            exit(MS_EXIT_FAILED);
        }
        *slot = (uint32_t)c->n;
        c->items[c->n] = (ms_dedup_entry){.state = MS_DEDUP_UNKNOWN};
        memcpy(c->items[c->n++].key, key, MS_DEDUP_KEY);
    }
    return *slot;
}

uint32_t ms_dedup_find(ms_dedup *c, const unsigned char *key) {
    pthread_mutex_lock(&c->lock);
    uint32_t index = find(c, key);
    pthread_mutex_unlock(&c->lock);
    return index;
}

bool ms_dedup_claim(ms_dedup *c, const unsigned char *key, uint32_t *index) {
    pthread_mutex_lock(&c->lock);
    *index = find(c, key);
    bool is_new = c->items[*index].state == MS_DEDUP_UNKNOWN;
    if (is_new) c->items[*index].state = MS_DEDUP_CLAIMED;
    pthread_mutex_unlock(&c->lock);
    return is_new;
}

void ms_dedup_settle(ms_dedup *c, uint32_t index, int state, int64_t at, int outcome, bool is_cut) {
    pthread_mutex_lock(&c->lock);
    ms_dedup_entry *item = c->items + index;
    item->state = (uint8_t)state;
    item->at = at;
    item->outcome = (uint8_t)outcome;
    item->is_cut = is_cut;
    pthread_mutex_unlock(&c->lock);
}

ms_dedup_entry ms_dedup_get(ms_dedup *c, uint32_t index) {
    pthread_mutex_lock(&c->lock);
    ms_dedup_entry item = c->items[index];
    pthread_mutex_unlock(&c->lock);
    return item;
}
