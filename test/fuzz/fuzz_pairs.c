/* A file of pairs (WORK.pairs). Bit 0 of the first byte: magic, settings and checksums are made
 * right, so that what lies behind them is reached. Every content is visited, and one is added; what
 * was loaded once is loaded again. */
#include "target.h"
#include "groups/state.h"
#include <zlib.h>

enum { HEAD = 32, BLOCK_HEAD = 8 };

typedef struct {
    int64_t n, found;
} seen_pairs;

static int visit(void *user, const unsigned char *content, int mark, const ms_groups_found *found,
                 size_t n, msim_error *err) {
    seen_pairs *s = user;
    (void)err;
    MUST(content != NULL);
    MUST(mark == MS_GROUPS_COMPARED || n == 0);
    for (size_t i = 0; i < n; i++) {
        const msim_note_match *m = &found[i].match;
        MUST(m->relation > MSIM_RELATION_NONE && m->relation < MSIM_RELATION_COUNT);
        MUST(isfinite(m->evalue) && isfinite(m->score) && m->tempo > 0);
        MUST(m->n_matched >= 0 && m->n_matched <= m->of_query);
    }
    s->n++;
    s->found += (int64_t)n;
    return 0;
}

static void repair(uint8_t *file, size_t n_bytes) {
    const uint32_t version = 1, density = 1;
    const double evalue = 1e-3;
    uint32_t bytes, crc;
    if (n_bytes < HEAD) return;
    memcpy(file, "MSIMPAIR", 8);
    memcpy(file + 8, &version, 4);
    memcpy(file + 12, &density, 4);
    memcpy(file + 16, &evalue, 8);
    memset(file + 24, 0, 4);
    crc = (uint32_t)crc32(0, file, HEAD - 4);
    memcpy(file + HEAD - 4, &crc, 4);
    for (size_t at = HEAD; n_bytes - at >= BLOCK_HEAD; at += BLOCK_HEAD + bytes) {
        memcpy(&bytes, file + at, 4);
        if (bytes > n_bytes - at - BLOCK_HEAD) return;
        crc = (uint32_t)crc32(0, file + at + BLOCK_HEAD, bytes);
        memcpy(file + at + 4, &crc, 4);
    }
}

static bool load(const char *path, seen_pairs *seen, bool is_added) {
    const unsigned char content[MSIM_CONTENT_BYTES] = {1};
    msim_error err = {.code = 0};
    ms_groups_state *state;
    int rc = ms_groups_state_open(path, 1, 1e-3, &state, &err);
    check_status(rc, &err);
    if (rc < 0) return false;
    rc = ms_groups_state_load(state, visit, seen, &err);
    check_status(rc, &err);
    if (rc >= 0 && is_added) {
        MUST(ms_groups_state_add(state, content, NULL, 0, &err) >= 0);
        MUST(ms_groups_state_sync(state, &err) >= 0);
    }
    ms_groups_state_close(state);
    return rc >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    seen_pairs first = {0}, second = {0}, third = {0};
    if (n_bytes == 0) return 0;
    uint8_t *file = block(n_bytes, 1);
    memcpy(file, data + 1, n_bytes - 1);
    if (data[0] & 1) repair(file, n_bytes - 1);
    as_file(path, "x.pairs", file, n_bytes - 1);
    free(file);
    if (!load(path, &first, false)) return 0;
    MUST(load(path, &second, true));
    MUST(load(path, &third, false));
    MUST(second.n <= first.n && third.n == second.n + 1 && third.found == second.found);
    return 0;
}
