/* A fingerprint of the rows of one file of a corpus, which ties its description to them: rows that
 * were sorted, shuffled or replaced have another one. It is cheap: of many rows it takes a sample.
 * docs/FORMATS.md, CORPUS.npy.json. */
#include "base/hash/digest.h"
#include "base/mem.h"
#include "corpus/corpus.h"

enum { SAMPLED = 1024, SHOWN_BYTES = MSIM_FINGERPRINT_CHARS / 2 };

typedef struct {
    ms_digest digest;
    const msim_corpus *corpus;
    float *vector; /* owned: [dim] */
    char *name;    /* owned */
    size_t name_cap;
    int64_t dim;
} hashing;

static void add_number(hashing *h, int64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)number >> 8 * i);
    ms_digest_add(&h->digest, bytes, sizeof bytes);
}

/* A row: its number in the file, its name, its values as f32. */
static int add_row(hashing *h, int64_t row, int64_t first, msim_error *err) {
    int64_t n_name = ms_corpus_read_name(h->corpus, first + row, &h->name, &h->name_cap, err);
    if (n_name < 0) return (int)n_name;
    int rc = msim_corpus_vector(h->corpus, first + row, h->vector, err);
    if (rc < 0) return rc;
    add_number(h, row);
    add_number(h, n_name);
    ms_digest_add(&h->digest, h->name, (size_t)n_name);
    ms_digest_add(&h->digest, h->vector, (size_t)h->dim * sizeof *h->vector);
    return 0;
}

/* Up to SAMPLED rows, spread evenly, the first and the last among them. */
static int add_rows(hashing *h, int64_t part, msim_error *err) {
    int64_t first = msim_corpus_part_first(h->corpus, part),
            n = msim_corpus_part_rows(h->corpus, part), n_sampled = n < SAMPLED ? n : SAMPLED;
    int rc = 0;
    add_number(h, n);
    add_number(h, h->dim);
    for (int64_t i = 0; i < n_sampled && rc >= 0; i++) {
        /* i (n - 1) / (n_sampled - 1) without overflow */
        int64_t step = n_sampled > 1 ? (n - 1) / (n_sampled - 1) : 0,
                rest = n_sampled > 1 ? (n - 1) % (n_sampled - 1) : 0;
        rc = add_row(h, i * step + (n_sampled > 1 ? i * rest / (n_sampled - 1) : 0), first, err);
    }
    return rc;
}

int msim_corpus_fingerprint(const msim_corpus *corpus, int64_t part, char *out, msim_error *err) {
    unsigned char sha256[MS_SHA256_BYTES];
    msim_corpus_info info = {.size = sizeof info};
    if (part < 0 || part >= msim_corpus_parts(corpus))
        return ms_fail(err, MSIM_E_ARG, "fingerprint: expected a part of 0..%lld, got %lld",
                       (long long)msim_corpus_parts(corpus) - 1, (long long)part);
    int rc = msim_corpus_get_info(corpus, &info);
    hashing h = {.corpus = corpus, .dim = info.dim};
    if (rc >= 0 && !(h.vector = ms_alloc((size_t)info.dim + 1, sizeof *h.vector, "a row", err)))
        rc = -MSIM_E_MEMORY;
    ms_digest_begin(&h.digest, MS_DIGEST_SHA256);
    if (rc >= 0) rc = add_rows(&h, part, err);
    if (rc >= 0) rc = ms_digest_end(&h.digest, sha256, err);
    if (rc >= 0) ms_digest_put_hex(sha256, SHOWN_BYTES, out);
    ms_free(h.vector);
    ms_free(h.name);
    return rc;
}
