/* Contract: tools/search/find.h. */
#define _GNU_SOURCE
#include "find.h"
#include "pipeline/files.h"
#include "common/name.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

/* ---- Texts ---- */

static uint64_t hash_text(uint64_t seed, const char *text, size_t n) {
    uint64_t h = seed ^ (n * UINT64_C(0x9e3779b97f4a7c15)), word;
    while (n) {
        size_t step = n < sizeof word ? n : sizeof word;
        word = 0;
        memcpy(&word, text, step);
        h = (h ^ word) * UINT64_C(0xd6e8feb86659fd93);
        h ^= h >> 32;
        text += step;
        n -= step;
    }
    h = (h ^ seed) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

static size_t *find_slot(const ms_search_texts *t, uint64_t hash, const char *text, size_t n) {
    for (size_t at = hash & (t->n_slots - 1);; at = (at + 1) & (t->n_slots - 1)) {
        if (!t->slots[at]) return t->slots + at;
        const ms_search_text *item = t->items + t->slots[at] - 1;
        if (item->hash == hash && item->n == n && memcmp(t->bytes + item->at, text, n) == 0)
            return t->slots + at;
    }
}

/* At most half of the slots are used. */
static void widen(ms_search_texts *t) {
    if (t->n_slots == 0 && getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != sizeof t->seed)
        t->seed = (uint64_t)(uintptr_t)t ^ (uint64_t)(ms_cli_now() * 1e9);
    t->n_slots = t->n_slots ? 2 * t->n_slots : 64;
    free(t->slots);
    t->slots = ms_cli_alloc(t->n_slots, sizeof *t->slots);
    for (size_t i = 0; i < t->n; i++) {
        size_t at = t->items[i].hash & (t->n_slots - 1);
        while (t->slots[at]) at = (at + 1) & (t->n_slots - 1);
        t->slots[at] = i + 1;
    }
}

size_t ms_search_texts_add(ms_search_texts *t, const char *text, size_t n, bool *is_new) {
    if (2 * (t->n + 1) > t->n_slots) widen(t);
    uint64_t hash = hash_text(t->seed, text, n);
    size_t *slot = find_slot(t, hash, text, n);
    if (is_new) *is_new = !*slot;
    if (*slot) return *slot - 1;
    t->bytes = ms_cli_grow(t->bytes, &t->bytes_cap, t->n_bytes + n + 1, 1);
    t->items = ms_cli_grow(t->items, &t->cap, t->n + 1, sizeof *t->items);
    memcpy(t->bytes + t->n_bytes, text, n);
    t->items[t->n] = (ms_search_text){.at = t->n_bytes, .n = n, .hash = hash};
    t->n_bytes += n;
    *slot = ++t->n;
    return t->n - 1;
}

int64_t ms_search_texts_find(const ms_search_texts *t, const char *text, size_t n) {
    if (t->n == 0) return -1;
    return (int64_t)*find_slot(t, hash_text(t->seed, text, n), text, n) - 1;
}

void ms_search_texts_free(ms_search_texts *t) {
    free(t->bytes);
    free(t->items);
    free(t->slots);
    *t = (ms_search_texts){0};
}

/* ---- Rows ---- */

/* The name of a row into *name, grown where it must be; its bytes. */
static size_t get_name(const msim_corpus *corpus, int64_t row, char **name, size_t *cap) {
    int64_t n = ms_name_get(corpus, row, name, cap);
    return n < 0 ? 0 : (size_t)n;
}

void ms_search_names_want(ms_search_names *names, const char *name, size_t n) {
    (void)ms_search_texts_add(&names->wanted, name, n, NULL);
}

static void add_hit(ms_search_names *names, size_t wanted, int64_t row) {
    int64_t at = (int64_t)names->n;
    names->hits = ms_cli_grow(names->hits, &names->cap, names->n + 1, sizeof *names->hits);
    names->hits[names->n++] = (ms_search_named){.row = row, .next = -1};
    if (names->first[wanted] < 0)
        names->first[wanted] = at;
    else
        names->hits[names->last[wanted]].next = at;
    names->last[wanted] = at;
}

bool ms_search_names_scan(ms_search_names *names, const msim_corpus *corpus) {
    int64_t rows = msim_corpus_rows(corpus);
    size_t cap = 0;
    char *name = NULL;
    if (names->wanted.n == 0) return true;
    names->first = ms_cli_alloc(names->wanted.n, sizeof *names->first);
    names->last = ms_cli_alloc(names->wanted.n, sizeof *names->last);
    for (size_t i = 0; i < names->wanted.n; i++) names->first[i] = -1;
    for (int64_t row = 0; row < rows && !ms_cli_stopped(); row++) {
        if (row % 65536 == 0) ms_cli_progress("names", row, rows);
        size_t n = get_name(corpus, row, &name, &cap);
        int64_t wanted = ms_search_texts_find(&names->wanted, name, n);
        if (wanted >= 0) add_hit(names, (size_t)wanted, row);
    }
    ms_cli_progress_end();
    free(name);
    return !ms_cli_stopped();
}

int64_t ms_search_names_first(const ms_search_names *names, const char *name, size_t n) {
    int64_t wanted = names->first ? ms_search_texts_find(&names->wanted, name, n) : -1;
    return wanted < 0 ? -1 : names->first[wanted];
}

/* Base name without extension, of a text that may hold anything. */
static void stem_of(const char *text, size_t n, size_t *at, size_t *len) {
    *at = *len = 0;
    if (memchr(text, 0, n)) return;
    ms_files_stem(text, at, len);
}

void ms_search_names_suggest(const msim_corpus *corpus, const char *name, size_t n, char *text,
                             size_t cap) {
    int64_t rows = msim_corpus_rows(corpus);
    size_t name_cap = 0, at, len, found_at, found_len, used = 0;
    char *found = NULL;
    *text = 0;
    stem_of(name, n, &at, &len);
    for (int64_t row = 0, n_found = 0; len && row < rows && n_found < 3 && !ms_cli_stopped();
         row++) {
        size_t n_name = get_name(corpus, row, &found, &name_cap);
        stem_of(found, n_name, &found_at, &found_len);
        bool is_near = found_len == len && strncasecmp(found + found_at, name + at, len) == 0;
        if (!is_near && n_name == len) is_near = strncasecmp(found, name + at, len) == 0;
        if (!is_near || used + n_name + 8 > cap) continue;
        used += (size_t)snprintf(text + used, cap - used, "%s'%s'", n_found++ ? ", " : "", found);
    }
    free(found);
}

void ms_search_names_free(ms_search_names *names) {
    ms_search_texts_free(&names->wanted);
    free(names->first);
    free(names->last);
    free(names->hits);
    *names = (ms_search_names){0};
}
