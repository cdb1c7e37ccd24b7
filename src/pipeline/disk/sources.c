/* Contract: pipeline/disk/sources.h and pipeline/disk/description.h. */
#define _GNU_SOURCE
#include "pipeline/disk/sources.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES ((size_t)1 << 16)  /* settings are far shorter */
#define CHUNK_CHARS ((size_t)1 << 16) /* a multiple of 4 */
#define KEY "\"sources\""

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

_Static_assert(sizeof(ms_source) == 32, "as documented");

/* ---- Writing ---- */

static void put_base64(ms_out_file *file, const unsigned char *from, size_t n) {
    char text[4];
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t bits = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                        (left > 2 ? from[i + 2] : 0);
        text[0] = digits[bits >> 18];
        text[1] = digits[bits >> 12 & 63];
        text[2] = left > 1 ? digits[bits >> 6 & 63] : '=';
        text[3] = left > 2 ? digits[bits & 63] : '=';
        ms_out_file_put(file, text, 4);
    }
}

int ms_description_write_to(const char *path, const ms_description *description,
                            void (*get)(void *user, int64_t row, ms_source *out), void *user,
                            msim_error *err) {
    enum { GROUP = 3 }; /* sources that are whole groups of base64 */
    ms_source group[GROUP];
    ms_out_file file = {.fd = -1};
    char *text = ms_description_print(description, err);
    if (!text) return -MSIM_E_MEMORY;
    int rc = ms_out_file_open(&file, path, "", 0, err);
    size_t n = strlen(text);
    if (rc < 0) {
        /* nothing to put into */
    } else if (get && description->rows) {
        ms_out_file_put(&file, text, n - 1); /* without its closing brace */
        ms_out_file_put(&file, "," KEY ":\"", strlen("," KEY ":\""));
        for (int64_t row = 0; row < description->rows; row += GROUP) {
            int64_t some = description->rows - row < GROUP ? description->rows - row : GROUP;
            for (int64_t i = 0; i < some; i++) get(user, row + i, group + i);
            put_base64(&file, (const unsigned char *)group, (size_t)some * sizeof *group);
        }
        ms_out_file_put(&file, "\"}\n", 3);
    } else {
        ms_out_file_put(&file, text, n);
        ms_out_file_put(&file, "\n", 1);
    }
    ms_free(text);
    if (rc >= 0) rc = ms_out_file_finish(&file, err);
    ms_out_file_close(&file);
    return rc;
}

/* ---- Reading ---- */

/* Up to n bytes. < 0 when they cannot be read. */
static int64_t read_some(int fd, char *to, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t some = read(fd, to + done, n - done);
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return -1;
        if (some == 0) break;
        done += (size_t)some;
    }
    return (int64_t)done;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* Where the comma before the member is and where its text begins; false when it is not in head [n].
 * Inside a JSON text a quotation mark would have a backslash before it. */
static bool find_member(const char *head, size_t n, size_t *comma, size_t *text) {
    const char *key = memmem(head, n, KEY, strlen(KEY));
    if (!key) return false;
    size_t before = (size_t)(key - head), after = before + strlen(KEY);
    while (before > 0 && is_space(head[before - 1])) before--;
    while (after < n && is_space(head[after])) after++;
    if (before == 0 || head[before - 1] != ',' || after >= n || head[after++] != ':') return false;
    while (after < n && is_space(head[after])) after++;
    if (after >= n || head[after] != '"') return false;
    *comma = before - 1;
    *text = after + 1;
    return true;
}

/* Open a description and read its beginning: *n bytes are in head. 1, with its descriptor, when it
 * holds sources; 0 when it holds none, or is no file at all. */
static int open_head(const char *path, char *head, int *fd, int64_t *n, size_t *comma, size_t *text,
                     msim_error *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return errno == ENOENT ? 0 : ms_fail_errno(err, errno, "cannot open: %s", path);
    int rc = fstat(*fd, &st) == 0 ? 0 : ms_fail_errno(err, errno, "cannot examine: %s", path);
    if (rc >= 0 && S_ISREG(st.st_mode)) {
        *n = read_some(*fd, head, HEAD_BYTES);
        rc = *n < 0 ? ms_fail_errno(err, errno, "cannot read: %s", path)
                    : find_member(head, (size_t)*n, comma, text);
    }
    if (rc <= 0) close(*fd);
    return rc;
}

int ms_sources_read_head(const char *path, char **out, size_t *n, msim_error *err) {
    char *head = ms_alloc(HEAD_BYTES + 1, 1, "description", err);
    int64_t got;
    size_t comma, text;
    int fd;
    *out = NULL;
    if (!head) return -MSIM_E_MEMORY;
    int rc = open_head(path, head, &fd, &got, &comma, &text, err);
    if (rc <= 0) {
        ms_free(head);
        return rc;
    }
    close(fd);
    head[comma] = '}';
    *n = comma + 1;
    *out = head;
    return 1;
}

typedef struct {
    unsigned char *to; /* borrowed: [cap] */
    size_t n, cap;
    uint32_t bits;
    int n_bits;
    bool is_ended, is_bad;
    signed char value[256]; /* of a digit; -1: none */
} decoder;

static void decode_begin(decoder *d, ms_source *to, size_t n) {
    *d = (decoder){.to = (unsigned char *)to, .cap = n * sizeof *to};
    memset(d->value, -1, sizeof d->value);
    for (int i = 0; i < 64; i++) d->value[(unsigned char)digits[i]] = (signed char)i;
}

static void decode(decoder *d, const char *text, size_t n) {
    for (size_t i = 0; i < n && !d->is_ended && !d->is_bad; i++) {
        int digit = d->value[(unsigned char)text[i]];
        if (text[i] == '"') {
            d->is_ended = true;
        } else if (text[i] == '=') {
            d->n_bits = 0;
        } else if (digit < 0) {
            d->is_bad = true;
        } else {
            d->bits = d->bits << 6 | (uint32_t)digit;
            d->n_bits += 6;
            if (d->n_bits < 8) continue;
            d->n_bits -= 8;
            if (d->n == d->cap)
                d->is_bad = true;
            else
                d->to[d->n++] = (unsigned char)(d->bits >> d->n_bits);
        }
    }
}

/* A hash of zeros stands for any content. */
static int check_hashes(const ms_source *sources, int64_t rows, const char *path, msim_error *err) {
    for (int64_t row = 0; row < rows; row++)
        if (ms_digest_is_zero(sources[row].sha256, sizeof sources[row].sha256))
            return ms_fail(err, MSIM_E_FORMAT,
                           "damaged description of a corpus: %s: source of row %lld: expected "
                           "the hash of its content, got zeros",
                           path, (long long)row);
    return 0;
}

/* The text of base64: its first n bytes, then what fd gives, through chunk [CHUNK_CHARS]. */
static int read_texts(int fd, char *chunk, const char *first, int64_t n, decoder *d,
                      const char *path, msim_error *err) {
    decode(d, first, (size_t)n);
    while (!d->is_ended && !d->is_bad && (n = read_some(fd, chunk, CHUNK_CHARS)) != 0) {
        if (n < 0) return ms_fail_errno(err, errno, "cannot read: %s", path);
        decode(d, chunk, (size_t)n);
    }
    if (d->is_ended && !d->is_bad && d->n == d->cap) return MSIM_OK;
    return ms_fail(err, MSIM_E_FORMAT,
                   "damaged description of a corpus: %s: expected %zu sources of 32 bytes in "
                   "base64, got something else",
                   path, d->cap / sizeof(ms_source));
}

int ms_description_read_sources(const char *corpus, int64_t rows, ms_source **out,
                                msim_error *err) {
    char path[4352], *head = ms_alloc(HEAD_BYTES + 1, 1, "description", err);
    int64_t n;
    size_t comma, text;
    int fd, rc = 0;
    *out = NULL;
    if (!head) return -MSIM_E_MEMORY;
    if (ms_description_path(corpus, path, sizeof path))
        rc = open_head(path, head, &fd, &n, &comma, &text, err);
    if (rc > 0) {
        ms_source *sources = ms_alloc((size_t)rows, sizeof *sources, "sources of rows", err);
        decoder d;
        rc = sources ? MSIM_OK : -MSIM_E_MEMORY;
        if (rc >= 0) {
            decode_begin(&d, sources, (size_t)rows);
            rc = read_texts(fd, head, head + text, n - (int64_t)text, &d, path, err);
        }
        if (rc >= 0) rc = check_hashes(sources, rows, path, err);
        close(fd);
        if (rc < 0) {
            ms_free(sources);
        } else {
            *out = sources;
            rc = 1;
        }
    }
    ms_free(head);
    return rc;
}
