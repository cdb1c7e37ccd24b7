/* SHA-256 and MD5: see digest.h. OpenSSL's one-shot functions fetch an algorithm from a provider,
 * which an openssl.cnf can leave out. The older functions used here are plain code. OpenSSL 3 has
 * them, and calls them deprecated. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/hash/digest.h"

void ms_digest_begin(ms_digest *d, enum ms_digest_kind kind) {
    d->kind = kind;
    int ok = kind == MS_DIGEST_MD5 ? MD5_Init(&d->state.md5) : SHA256_Init(&d->state.sha256);
    d->has_failed = ok != 1;
}

void ms_digest_add(ms_digest *d, const void *bytes, size_t n_bytes) {
    if (d->has_failed || n_bytes == 0) return;
    int ok = d->kind == MS_DIGEST_MD5 ? MD5_Update(&d->state.md5, bytes, n_bytes)
                                      : SHA256_Update(&d->state.sha256, bytes, n_bytes);
    d->has_failed = ok != 1;
}

int ms_digest_end(ms_digest *d, unsigned char *out, msim_error *err) {
    if (!d->has_failed) {
        int ok = d->kind == MS_DIGEST_MD5 ? MD5_Final(out, &d->state.md5)
                                          : SHA256_Final(out, &d->state.sha256);
        d->has_failed = ok != 1;
    }
    if (!d->has_failed) return MSIM_OK;
    return ms_fail(err, MSIM_E_UNSUPPORTED, "%s: the cryptography library refused to compute it",
                   d->kind == MS_DIGEST_MD5 ? "MD5" : "SHA-256");
}

int ms_digest_of(enum ms_digest_kind kind, const void *bytes, size_t n_bytes, unsigned char *out,
                 msim_error *err) {
    ms_digest d;
    ms_digest_begin(&d, kind);
    ms_digest_add(&d, bytes, n_bytes);
    return ms_digest_end(&d, out, err);
}

void ms_digest_put_hex(const unsigned char *digest, size_t n, char *out) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[2 * n] = 0;
}

int ms_digest_hex_of(enum ms_digest_kind kind, const void *bytes, size_t n_bytes, char *out,
                     msim_error *err) {
    unsigned char digest[MS_SHA256_BYTES];
    int rc = ms_digest_of(kind, bytes, n_bytes, digest, err);
    if (rc < 0) return rc;
    ms_digest_put_hex(digest, kind == MS_DIGEST_MD5 ? MS_MD5_BYTES : MS_SHA256_BYTES, out);
    return MSIM_OK;
}

bool ms_digest_is_zero(const unsigned char *digest, size_t n) {
    unsigned char all = 0;
    for (size_t i = 0; i < n; i++) all |= digest[i];
    return all == 0;
}
