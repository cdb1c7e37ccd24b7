/* Base64 in files of JSON, read and written as a stream. See base/text/base64.h. */
#define _GNU_SOURCE
#include "base/text/base64.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES ((size_t)1 << 16)  /* members before the texts are far shorter */
#define CHUNK_CHARS ((size_t)1 << 16) /* read at a time */
#define NEXT_BYTES 256                /* from the end of a text to the beginning of the next */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void ms_base64_put(ms_out_file *file, const void *bytes, size_t n) {
    const unsigned char *from = bytes;
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

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* Inside a JSON text a quotation mark would have a backslash before it. */
bool ms_base64_find(const char *head, size_t n, const char *key, size_t *comma, size_t *text) {
    const char *found = memmem(head, n, key, strlen(key));
    if (!found) return false;
    size_t before = (size_t)(found - head), after = before + strlen(key);
    while (before > 0 && is_space(head[before - 1])) before--;
    while (after < n && is_space(head[after])) after++;
    if (before == 0 || head[before - 1] != ',' || after >= n || head[after++] != ':') return false;
    while (after < n && is_space(head[after])) after++;
    if (after >= n || head[after] != '"') return false;
    *comma = before - 1;
    *text = after + 1;
    return true;
}

int64_t ms_base64_read_raw(int fd, int64_t at, char *to, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t some = pread(fd, to + done, n - done, (off_t)(at + (int64_t)done));
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return -1;
        if (some == 0) break;
        done += (size_t)some;
    }
    return (int64_t)done;
}

int64_t ms_base64_find_behind(int fd, int64_t at, const char *key) {
    char next[NEXT_BYTES];
    size_t comma, text;
    int64_t n = ms_base64_read_raw(fd, at, next, sizeof next);
    if (n < 0) return -1;
    return ms_base64_find(next, (size_t)n, key, &comma, &text) ? at + (int64_t)text : 0;
}

int64_t ms_base64_find_text(const ms_base64_head *head, const char *key, int64_t n_rows,
                            int64_t dim, size_t *settings_end) {
    const struct {
        const char *key;
        int64_t n_bytes;
    } texts[] = {{MS_TEXT_SPANS, n_rows * MS_TEXT_SPAN_BYTES},
                 {MS_TEXT_SOURCES, n_rows * MS_TEXT_SOURCE_BYTES},
                 {MS_TEXT_WHITENER, (dim + dim * (dim + 1) / 2) * (int64_t)sizeof(float)},
                 {MS_TEXT_BARS, 0}};
    int64_t behind = 0; /* where the last text that was found ends */
    *settings_end = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t comma, begin;
        int64_t text = 0;
        if (behind) {
            text = ms_base64_find_behind(head->fd, behind, texts[i].key);
        } else if (ms_base64_find(head->text, head->n, texts[i].key, &comma, &begin)) {
            text = (int64_t)begin;
            *settings_end = comma;
        }
        if (text < 0 || strcmp(texts[i].key, key) == 0) return text;
        if (text) behind = text + ms_base64_chars(texts[i].n_bytes);
    }
    return 0;
}

static int read_head(const char *path, ms_base64_head *h, msim_error *err) {
    struct stat st;
    if (fstat(h->fd, &st) != 0) return ms_fail_errno(err, errno, "cannot read: %s", path);
    if (!S_ISREG(st.st_mode)) return 0;
    h->text = ms_alloc(HEAD_BYTES + 1, 1, "description", err);
    if (!h->text) return -MSIM_E_MEMORY;
    int64_t n = ms_base64_read_raw(h->fd, 0, h->text, HEAD_BYTES);
    if (n < 0) return ms_fail_errno(err, errno, "cannot read: %s", path);
    h->n = (size_t)n;
    return 1;
}

int ms_base64_open(const char *path, ms_base64_head *out, msim_error *err) {
    ms_base64_head h = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (h.fd < 0 && (errno == ENOENT || errno == ENAMETOOLONG)) return 0;
    if (h.fd < 0) return ms_fail_errno(err, errno, "cannot read: %s", path);
    int rc = read_head(path, &h, err);
    if (rc == 1)
        *out = h;
    else
        ms_base64_close(&h);
    return rc;
}

void ms_base64_close(ms_base64_head *head) {
    close(head->fd);
    ms_free(head->text);
}

typedef struct {
    unsigned char *to; /* borrowed: [cap] */
    size_t n, cap;
    uint32_t bits;
    int n_bits;
    bool is_ended, is_bad;
    signed char value[256]; /* of a digit; -1: none */
} decoder;

static void begin(decoder *d, void *to, size_t n) {
    *d = (decoder){.to = to, .cap = n};
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

int ms_base64_read(int fd, int64_t at, void *to, size_t n, msim_error *err) {
    char *chunk = ms_alloc(CHUNK_CHARS, 1, "text of base64", err);
    decoder d;
    int64_t got = 0;
    if (!chunk) return -MSIM_E_MEMORY;
    begin(&d, to, n);
    while (!d.is_ended && !d.is_bad && (got = ms_base64_read_raw(fd, at, chunk, CHUNK_CHARS)) > 0) {
        decode(&d, chunk, (size_t)got);
        at += got;
    }
    int failed = errno;
    ms_free(chunk);
    if (got < 0) return ms_fail_errno(err, failed, "cannot read a text of base64");
    return d.is_ended && !d.is_bad && d.n == d.cap;
}
