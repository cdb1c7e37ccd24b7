/* Contract: groups/compact.h. */
#include "groups/compact.h"
#include <stdlib.h>
#include <string.h>

enum { LEAST_BYTES = 1 << 16 }; /* a smaller file stays as it is */

int ms_groups_seen_open(const msim_groups *g, ms_groups_seen *seen, msim_error *err) {
    *seen = (ms_groups_seen){.marks = ms_alloc(g->n_contents, 1, "pairs", err)};
    return seen->marks ? MSIM_OK : -MSIM_E_MEMORY;
}

void ms_groups_seen_close(ms_groups_seen *seen) {
    ms_free(seen->matches);
    ms_free(seen->marks);
    *seen = (ms_groups_seen){0};
}

static int64_t content_there(const msim_groups *g, const unsigned char *hash) {
    const int64_t content = ms_groups_content(g, hash);
    return content < 0 || g->contents[content].piece < 0 ? -1 : content;
}

int ms_groups_seen_add(const msim_groups *g, ms_groups_seen *seen, int64_t a, int mark,
                       const ms_groups_found *found, size_t n, msim_error *err) {
    const size_t first = seen->n_all;
    seen->n_all += n;
    if (a < 0) return MSIM_OK;
    seen->marks[a] = (unsigned char)(1 + mark);
    for (size_t i = 0; i < n; i++) {
        const int64_t b = content_there(g, found[i].content);
        if (b < 0) continue;
        int rc = ms_grow((void **)&seen->matches, &seen->matches_cap, seen->n_matches + 1,
                         sizeof *seen->matches, "pairs", err);
        if (rc < 0) return rc;
        seen->matches[seen->n_matches++] = (ms_groups_seen_match){a, b, first + i};
    }
    return MSIM_OK;
}

/* ---- What is kept ---- */

static int by_contents(const void *a, const void *b) {
    const ms_groups_seen_match *x = a, *y = b;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    if (x->b != y->b) return x->b < y->b ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Of two contents the last match is kept. */
static void drop_doubles(ms_groups_seen *seen) {
    ms_groups_seen_match *m = seen->matches;
    size_t n = 0;
    if (seen->n_matches) qsort(m, seen->n_matches, sizeof *m, by_contents);
    for (size_t i = 0; i < seen->n_matches; i++)
        if (i + 1 == seen->n_matches || m[i + 1].a != m[i].a || m[i + 1].b != m[i].b) m[n++] = m[i];
    seen->n_matches = n;
}

/* ---- Writing ---- */

typedef struct {
    const msim_groups *g;
    const ms_groups_seen *seen;
    ms_groups_state *next;  /* owned, and so on */
    unsigned char *is_kept; /* [seen->n_all] */
    size_t number;
    ms_groups_found *found; /* [found_cap] */
    size_t found_cap;
} compaction;

static int copy_matches(void *user, const unsigned char *content, int mark,
                        const ms_groups_found *found, size_t n, msim_error *err) {
    compaction *c = user;
    size_t kept = 0;
    (void)mark;
    int rc = ms_grow((void **)&c->found, &c->found_cap, n, sizeof *c->found, "pairs", err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++)
        if (c->is_kept[c->number++]) c->found[kept++] = found[i];
    return kept ? ms_groups_state_add(c->next, content, c->found, kept, err) : MSIM_OK;
}

/* The last mark of each content. Contents that were compared come last: what is known of one is
 * known of all that have its notes. */
static int copy_marks(compaction *c, msim_error *err) {
    int rc = MSIM_OK;
    for (int is_last = 0; is_last < 2; is_last++)
        for (size_t i = 0; i < c->g->n_contents && rc >= 0; i++) {
            const int mark = c->seen->marks[i] - 1;
            if (mark < 0 || (mark == MS_GROUPS_COMPARED) != is_last) continue;
            rc = is_last ? ms_groups_state_add(c->next, c->g->contents[i].hash, NULL, 0, err)
                         : ms_groups_state_mark(c->next, c->g->contents[i].hash, mark, err);
        }
    return rc;
}

static int write_anew(compaction *c, ms_groups_state **state, msim_error *err) {
    const ms_groups_seen *seen = c->seen;
    c->is_kept = ms_alloc(seen->n_all, 1, "pairs", err);
    if (!c->is_kept) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < seen->n_matches; i++) c->is_kept[seen->matches[i].number] = 1;
    if (ms_groups_state_open_next(*state, &c->next, NULL) < 0) return MSIM_OK; /* it stays long */
    int rc = ms_groups_state_load(*state, copy_matches, c, err);
    if (rc >= 0) rc = copy_marks(c, err);
    if (rc >= 0) rc = ms_groups_state_replace(*state, c->next, err);
    if (rc < 0) return rc;
    ms_groups_state_close(*state);
    *state = c->next;
    c->next = NULL;
    return MSIM_OK;
}

int ms_groups_compact(const msim_groups *g, ms_groups_seen *seen, ms_groups_state **state,
                      msim_error *err) {
    compaction c = {.g = g, .seen = seen};
    size_t n_contents = 0;
    drop_doubles(seen);
    for (size_t i = 0; i < g->n_contents; i++) n_contents += seen->marks[i] != 0;
    const int64_t bytes = ms_groups_state_bytes(*state);
    if (bytes < LEAST_BYTES || bytes / 2 <= ms_groups_state_cost(n_contents, seen->n_matches))
        return MSIM_OK;
    const int rc = write_anew(&c, state, err);
    ms_groups_state_close(c.next);
    ms_free(c.is_kept);
    ms_free(c.found);
    return rc;
}
