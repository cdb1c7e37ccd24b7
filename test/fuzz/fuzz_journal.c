/* A journal (CORPUS.npy.journal). Bit 0 of the first byte: the checksums of head and blocks are
 * made right, so that what lies behind them is reached. Every record is read, and one more is
 * added. */
#include "target.h"
#include "pipeline/disk/journal.h"
#include "base/mem.h"
#include <zlib.h>

enum { HEAD = 64, BLOCK_HEAD = 32, KEPT = 64 };

typedef struct {
    size_t dim;
    int64_t at[KEPT];
    uint32_t n_windows[KEPT];
    int n;
} seen;

static volatile unsigned sum;

static int visit(void *user, const ms_journal_record *r, msim_error *err) {
    seen *s = user;
    (void)err;
    MUST(r->kind >= MS_JOURNAL_CONTENT && r->kind <= MS_JOURNAL_LEVEL);
    MUST(r->name_at <= r->path_len);
    for (uint32_t i = 0; i < r->path_len; i++) sum += (unsigned char)r->path[i];
    for (uint32_t i = 0; i < r->detail_len; i++) sum += (unsigned char)r->detail[i];
    size_t n_rows = r->n_windows ? r->n_windows : 1;
    for (size_t i = 0; r->vectors && i < n_rows * s->dim * sizeof *r->vectors; i++)
        sum += ((const unsigned char *)r->vectors)[i];
    for (size_t i = 0; i < r->n_windows * sizeof *r->spans; i++)
        sum += ((const unsigned char *)r->spans)[i];
    for (size_t i = 0; r->bars && i < r->n_windows * sizeof *r->bars; i++)
        sum += ((const unsigned char *)r->bars)[i];
    if (r->kind == MS_JOURNAL_CONTENT && r->vectors && s->n < KEPT) {
        s->n_windows[s->n] = r->n_windows;
        s->at[s->n++] = r->at;
    }
    return 0;
}

static void repair(uint8_t *file, size_t n_bytes) {
    uint32_t text, crc;
    uint64_t bytes;
    if (n_bytes < HEAD) return;
    memcpy(&text, file + 8, 4);
    if (text > n_bytes - HEAD) return;
    crc = (uint32_t)crc32(0, file + HEAD, text);
    memcpy(file + 12, &crc, 4);
    for (size_t at = HEAD + (((size_t)text + 7) & ~(size_t)7);
         at <= n_bytes && n_bytes - at >= BLOCK_HEAD; at += BLOCK_HEAD + bytes) {
        memcpy(&bytes, file + at + 8, 8);
        if (bytes > n_bytes - at - BLOCK_HEAD) return;
        crc = (uint32_t)crc32(0, file + at + 8, (uInt)(BLOCK_HEAD - 8 + bytes));
        memcpy(file + at + 4, &crc, 4);
    }
}

static void read_all(ms_journal *journal, const ms_description *settings) {
    msim_error err = {.code = 0};
    seen s = {.dim = (size_t)settings->dim};
    int64_t n_lost;
    int rc = ms_journal_load(journal, visit, &s, &n_lost, &err);
    check_status(rc, &err);
    if (rc < 0) return;
    MUST(n_lost >= 0);
    float *vector = block(s.dim, sizeof *vector);
    for (int i = 0; i < s.n; i++) {
        char detail[80];
        ms_stored_span span;
        ms_stored_bars bars;
        uint32_t n = s.n_windows[i], last = n ? n - 1 : 0;
        check_status(ms_journal_get_vector(journal, s.at[i], n, last, vector, &err), &err);
        if (n) check_status(ms_journal_get_span(journal, s.at[i], last, &span, &err), &err);
        check_status(ms_journal_get_bars(journal, s.at[i], last, &bars, &err), &err);
        check_status(ms_journal_get_detail(journal, s.at[i], detail, sizeof detail, &err), &err);
        MUST(memchr(detail, 0, sizeof detail));
    }
    ms_journal_record more = {.kind = MS_JOURNAL_CONTENT, .n_tokens = 1, .vectors = vector};
    memset(vector, 0, s.dim * sizeof *vector);
    check_status(ms_journal_add(journal, &more, &err), &err);
    free(vector);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX], corpus[PATH_MAX];
    ms_journal *journal;
    ms_description settings;
    msim_error err = {.code = 0};
    if (n_bytes == 0) return 0;
    uint8_t *file = block(n_bytes, 1);
    memcpy(file, data + 1, n_bytes - 1);
    if (data[0] & 1) repair(file, n_bytes - 1);
    as_file(path, "c.npy.journal", file, n_bytes - 1);
    free(file);
    memset(&settings, 0, sizeof settings);
    int rc = ms_journal_open(fuzz_path(corpus, "c.npy"), NULL, &journal, &err);
    check_status(rc, &err);
    if (rc < 0) return 0;
    if (ms_journal_state(journal, &settings) != MS_JOURNAL_NONE) {
        read_all(journal, &settings);
        char *text = ms_description_print(&settings, &err);
        MUST(text != NULL);
        ms_free(text);
    }
    ms_journal_close(journal);
    return 0;
}
