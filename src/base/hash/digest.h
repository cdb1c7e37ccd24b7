/* SHA-256 and MD5, of all bytes at once or piece by piece. The state lies in the struct, so nothing
 * is allocated, and no configuration of the cryptography library can take an algorithm away. A hash
 * stands for contents, so a hash that failed must not be used: look at what these functions
 * return. */
#ifndef MS_BASE_DIGEST_H
#define MS_BASE_DIGEST_H
#include "base/status.h"
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <stdbool.h>

enum { MS_SHA256_BYTES = 32, MS_MD5_BYTES = 16 };
enum ms_digest_kind { MS_DIGEST_SHA256, MS_DIGEST_MD5 };

typedef struct {
    int kind; /* ms_digest_kind */
    bool has_failed;
    union {
        SHA256_CTX sha256;
        MD5_CTX md5;
    } state;
} ms_digest;

/* Begin a digest, add bytes to it any number of times, and end it: out gets MS_SHA256_BYTES or
 * MS_MD5_BYTES. The end returns a failure of any step. */
void ms_digest_begin(ms_digest *digest, enum ms_digest_kind kind);
void ms_digest_add(ms_digest *digest, const void *bytes, size_t n_bytes);
int ms_digest_end(ms_digest *digest, unsigned char *out, msim_error *err);

/* The digest of n_bytes bytes; and the same as lower-case hexadecimal digits with a NUL behind them
 * (2 * bytes + 1 characters). */
int ms_digest_of(enum ms_digest_kind kind, const void *bytes, size_t n_bytes, unsigned char *out,
                 msim_error *err);
int ms_digest_hex_of(enum ms_digest_kind kind, const void *bytes, size_t n_bytes, char *out,
                     msim_error *err);

/* The n bytes of a digest, or its first n, as such digits: out [2 * n + 1]. */
void ms_digest_put_hex(const unsigned char *digest, size_t n, char *out);

/* True when all n bytes are zero. No digest is; zeros are what a failure left behind. */
bool ms_digest_is_zero(const unsigned char *digest, size_t n);

#endif
