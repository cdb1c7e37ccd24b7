/* Finds rows by name. A set of names lies in a hash table; one pass over the corpus's names finds
 * the rows of all of them. It also suggests similar names for a name that no row has. One thread at
 * a time. include/midisim.h, Corpus. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "corpus/corpus.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

enum { FIRST_SLOTS = 64, PROGRESS_ROWS = 65536, MOST_SUGGESTIONS = 3 };

typedef struct {
    size_t at, n; /* bytes[at .. at + n) */
    uint64_t hash;
} text;

typedef struct {
    int64_t row;
    size_t number; /* of the name it has */
} hit;

struct msim_name_set {
    char *bytes; /* owned: the names, end to end */
    size_t n_bytes, bytes_cap;
    text *texts; /* owned: [n] */
    size_t n, cap;
    size_t *slots; /* owned: [n_slots], a power of two; 0: free, else number + 1 */
    size_t n_slots;
    uint64_t seed;    /* of this set: names made to collide would have to guess it */
    int64_t *rows;    /* owned: found rows, name by name */
    size_t *starts;   /* owned: [n_scanned + 1], where each name's rows begin */
    size_t n_scanned; /* names that there were at the last scan */
};

int msim_name_set_open(msim_name_set **out, msim_error *err) {
    struct timespec now;
    *out = NULL;
    msim_name_set *set = ms_alloc(1, sizeof *set, "set of names", err);
    if (!set) return -MSIM_E_MEMORY;
    if (getrandom(&set->seed, sizeof set->seed, GRND_NONBLOCK) != sizeof set->seed) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        set->seed = (uint64_t)(uintptr_t)set ^ (uint64_t)now.tv_nsec << 20 ^ (uint64_t)now.tv_sec;
    }
    *out = set;
    return MSIM_OK;
}

static void forget_rows(msim_name_set *set) {
    ms_free(set->rows);
    ms_free(set->starts);
    set->rows = NULL;
    set->starts = NULL;
    set->n_scanned = 0;
}

void msim_name_set_close(msim_name_set *set) {
    if (!set) return;
    forget_rows(set);
    ms_free(set->bytes);
    ms_free(set->texts);
    ms_free(set->slots);
    ms_free(set);
}

int64_t msim_name_set_count(const msim_name_set *set) { return (int64_t)set->n; }

/* ---- The table ---- */

static uint64_t hash_text(uint64_t seed, const char *name, size_t n) {
    uint64_t h = seed ^ (n * UINT64_C(0x9e3779b97f4a7c15)), word;
    while (n) {
        size_t step = n < sizeof word ? n : sizeof word;
        word = 0;
        memcpy(&word, name, step);
        h = (h ^ word) * UINT64_C(0xd6e8feb86659fd93);
        h ^= h >> 32;
        name += step;
        n -= step;
    }
    h = (h ^ seed) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

/* The slot that a name has, or would get. */
static size_t *find_slot(const msim_name_set *set, uint64_t hash, const char *name, size_t n) {
    for (size_t at = hash & (set->n_slots - 1);; at = (at + 1) & (set->n_slots - 1)) {
        if (!set->slots[at]) return set->slots + at;
        const text *t = set->texts + set->slots[at] - 1;
        if (t->hash == hash && t->n == n && memcmp(set->bytes + t->at, name, n) == 0)
            return set->slots + at;
    }
}

/* Twice the slots, so that at most half of them are used. */
static int widen(msim_name_set *set, msim_error *err) {
    size_t n_slots = set->n_slots ? 2 * set->n_slots : FIRST_SLOTS;
    size_t *slots = ms_alloc(n_slots, sizeof *slots, "set of names", err);
    if (!slots) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < set->n; i++) {
        size_t at = set->texts[i].hash & (n_slots - 1);
        while (slots[at]) at = (at + 1) & (n_slots - 1);
        slots[at] = i + 1;
    }
    ms_free(set->slots);
    set->slots = slots;
    set->n_slots = n_slots;
    return MSIM_OK;
}

int64_t msim_name_set_add(msim_name_set *set, const char *name, size_t name_bytes,
                          msim_error *err) {
    int rc = 2 * (set->n + 1) > set->n_slots ? widen(set, err) : MSIM_OK;
    if (rc < 0) return rc;
    uint64_t hash = hash_text(set->seed, name, name_bytes);
    size_t *slot = find_slot(set, hash, name, name_bytes);
    if (*slot) return (int64_t)*slot - 1;
    rc = ms_grow((void **)&set->bytes, &set->bytes_cap, set->n_bytes + name_bytes + 1, 1,
                 "set of names", err);
    if (rc >= 0)
        rc = ms_grow((void **)&set->texts, &set->cap, set->n + 1, sizeof *set->texts,
                     "set of names", err);
    if (rc < 0) return rc;
    if (name_bytes) memcpy(set->bytes + set->n_bytes, name, name_bytes);
    set->texts[set->n] = (text){.at = set->n_bytes, .n = name_bytes, .hash = hash};
    set->n_bytes += name_bytes;
    *slot = ++set->n;
    return (int64_t)set->n - 1;
}

int64_t msim_name_set_find(const msim_name_set *set, const char *name, size_t name_bytes) {
    if (set->n == 0) return -MSIM_E_EMPTY;
    size_t slot = *find_slot(set, hash_text(set->seed, name, name_bytes), name, name_bytes);
    return slot ? (int64_t)slot - 1 : -MSIM_E_EMPTY;
}

const char *msim_name_set_name(const msim_name_set *set, int64_t number, size_t *name_bytes) {
    if (number < 0 || (size_t)number >= set->n) return NULL;
    *name_bytes = set->texts[number].n;
    return set->bytes + set->texts[number].at;
}

/* ---- Rows ---- */

typedef struct {
    hit *items; /* owned: in order of row */
    size_t n, cap;
} hits;

static int collect(const msim_name_set *set, const msim_corpus *corpus,
                   int (*progress)(void *user, int64_t done, int64_t all), void *user, hits *found,
                   msim_error *err) {
    int64_t rows = msim_corpus_rows(corpus);
    char *name = NULL;
    size_t cap = 0;
    int rc = ms_grow((void **)&name, &cap, 256, 1, "a row's name", err);
    for (int64_t row = 0; row < rows && rc >= 0; row++) {
        if (row % PROGRESS_ROWS == 0 && progress && progress(user, row, rows) != 0) {
            rc = ms_fail(err, MSIM_E_STOPPED, "names: stopped at row %lld", (long long)row);
            break;
        }
        int64_t n = ms_corpus_read_name(corpus, row, &name, &cap, err),
                number = n < 0 ? n : msim_name_set_find(set, name, (size_t)n);
        if (n < 0) rc = (int)n;
        if (number < 0) continue;
        rc = ms_grow((void **)&found->items, &found->cap, found->n + 1, sizeof *found->items,
                     "rows by name", err);
        if (rc >= 0) found->items[found->n++] = (hit){.row = row, .number = (size_t)number};
    }
    ms_free(name);
    return rc;
}

/* Put hits in order of name; those of one name stay in order of row. */
static int sort_hits(msim_name_set *set, const hits *found, msim_error *err) {
    size_t *starts = ms_alloc(set->n + 2, sizeof *starts, "rows by name", err);
    int64_t *rows = starts ? ms_alloc(found->n, sizeof *rows, "rows by name", err) : NULL;
    if (!rows) {
        ms_free(starts);
        return -MSIM_E_MEMORY;
    }
    for (size_t i = 0; i < found->n; i++) starts[found->items[i].number + 2]++;
    for (size_t i = 2; i < set->n + 2; i++) starts[i] += starts[i - 1];
    /* starts[number + 1] is where the next row of that name goes, and in the end where they end. */
    for (size_t i = 0; i < found->n; i++)
        rows[starts[found->items[i].number + 1]++] = found->items[i].row;
    set->rows = rows;
    set->starts = starts;
    set->n_scanned = set->n;
    return MSIM_OK;
}

int msim_name_set_scan(msim_name_set *set, const msim_corpus *corpus,
                       int (*progress)(void *user, int64_t done, int64_t all), void *user,
                       msim_error *err) {
    hits found = {0};
    forget_rows(set);
    if (set->n == 0) return MSIM_OK;
    int rc = collect(set, corpus, progress, user, &found, err);
    if (rc >= 0) rc = sort_hits(set, &found, err);
    ms_free(found.items);
    return rc;
}

int64_t msim_name_set_rows(const msim_name_set *set, int64_t number, const int64_t **rows) {
    *rows = NULL;
    if (number < 0 || (size_t)number >= set->n_scanned) return 0;
    *rows = set->rows + set->starts[number];
    return (int64_t)(set->starts[number + 1] - set->starts[number]);
}

int64_t msim_corpus_find(const msim_corpus *corpus, const char *name, int64_t *rows, size_t cap,
                         msim_error *err) {
    size_t n_name = strlen(name);
    int64_t n_found = 0;
    /* Room for one byte more than the name: a longer one need not be read to its end. */
    char *other = ms_alloc(n_name + 2, 1, "a row's name", err);
    if (!other) return -MSIM_E_MEMORY;
    for (int64_t row = 0; row < msim_corpus_rows(corpus); row++) {
        int64_t n = msim_corpus_name(corpus, row, other, n_name + 2);
        if (n != (int64_t)n_name || memcmp(other, name, n_name) != 0) continue;
        if ((uint64_t)n_found < cap) rows[n_found] = row;
        n_found++;
    }
    ms_free(other);
    return n_found;
}

/* ---- Suggestions ---- */

static size_t without(const char *name, size_t n, const char *ending) {
    size_t m = strlen(ending);
    return n > m && strncasecmp(name + n - m, ending, m) == 0 ? n - m : n;
}

/* Base name without .gz and without its last extension; leading dots begin none. Nothing of a name
 * with a NUL in it. */
static size_t stem_of(const char *name, size_t n, const char **stem) {
    const char *slash = memrchr(name, '/', n);
    *stem = slash ? slash + 1 : name;
    if (memchr(name, 0, n)) return 0;
    size_t len = without(*stem, n - (size_t)(*stem - name), ".gz"), dots = 0;
    while (dots < len && (*stem)[dots] == '.') dots++;
    for (size_t i = len; i > dots; i--)
        if ((*stem)[i - 1] == '.') return i - 1;
    return len;
}

static bool is_near(const char *name, size_t n, const char *wanted, size_t wanted_len) {
    const char *stem;
    size_t len = stem_of(name, n, &stem);
    return (len == wanted_len && strncasecmp(stem, wanted, len) == 0) ||
           (n == wanted_len && strncasecmp(name, wanted, n) == 0);
}

int64_t msim_corpus_suggest(const msim_corpus *corpus, const char *name, char *out, size_t cap,
                            msim_error *err) {
    const char *wanted;
    size_t len = stem_of(name, strlen(name), &wanted), name_cap = 0, used = 0;
    char *other = NULL;
    int64_t rows = len ? msim_corpus_rows(corpus) : 0, n_found = 0;
    int rc = ms_grow((void **)&other, &name_cap, 256, 1, "a row's name", err);
    if (cap) *out = 0;
    for (int64_t row = 0; row < rows && n_found < MOST_SUGGESTIONS && rc >= 0; row++) {
        int64_t n = ms_corpus_read_name(corpus, row, &other, &name_cap, err);
        if (n < 0) rc = (int)n;
        if (n < 0 || !is_near(other, (size_t)n, wanted, len) || used + (size_t)n + 8 > cap)
            continue;
        used += (size_t)snprintf(out + used, cap - used, "%s'%s'", n_found++ ? ", " : "", other);
    }
    ms_free(other);
    return rc < 0 ? rc : n_found;
}
