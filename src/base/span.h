/* The span of a row as files hold it: 24 bytes, little-endian, in the journal and, in base64, in
 * the description of a corpus. docs/FORMATS.md, CORPUS.npy.json. And the token ids that a model
 * gets for a span. */
#ifndef MS_BASE_SPAN_H
#define MS_BASE_SPAN_H
#include "base/status.h"
#include <stdbool.h>
#include <string.h>

typedef struct {
    uint32_t window; /* number of the row among those of its piece, from 0 */
    uint32_t from_token, to_token;
    uint32_t from_ms, to_ms; /* from the beginning of the file; UINT32_MAX: that or later */
    uint32_t zero;
} ms_stored_span;

_Static_assert(sizeof(ms_stored_span) == 24, "as documented");

/* The largest number of tokens that a stored span can name. */
#define MS_SPAN_TOKENS_MOST ((int64_t)UINT32_MAX)

static inline ms_stored_span ms_span_pack(const msim_span *span, uint32_t window) {
    return (ms_stored_span){.window = window,
                            .from_token = (uint32_t)span->from_token,
                            .to_token = (uint32_t)span->to_token,
                            .from_ms = (uint32_t)(span->from_seconds * 1000.0 + 0.5),
                            .to_ms = (uint32_t)(span->to_seconds * 1000.0 + 0.5)};
}

static inline msim_span ms_span_unpack(const ms_stored_span *span, int64_t piece) {
    return (msim_span){.piece = piece,
                       .from_token = span->from_token,
                       .to_token = span->to_token,
                       .from_seconds = span->from_ms / 1000.0,
                       .to_seconds = span->to_ms / 1000.0};
}

/* True when a span may follow `before`, the span of the row before it (NULL: it is the first). */
static inline bool ms_span_may_follow(const ms_stored_span *span, const ms_stored_span *before) {
    bool is_next = before && span->window == before->window + 1 &&
                   span->from_token > before->from_token && span->from_ms >= before->from_ms;
    return (span->window == 0 || is_next) && span->zero == 0 && span->from_token < span->to_token &&
           span->from_ms <= span->to_ms;
}

/* Ids of the sequence that a window is embedded as. */
static inline size_t ms_span_n_ids(const msim_span *span) {
    return (size_t)(span->to_token - span->from_token) + (span->from_token > 0);
}

/* This sequence, to `to` [ms_span_n_ids]: the window's ids among those of its piece, behind the
 * piece's first, which begins every sequence. */
static inline void ms_span_copy_ids(const msim_span *span, const int32_t *ids, int32_t *to) {
    size_t n_begin = span->from_token > 0;
    to[0] = ids[0];
    memcpy(to + n_begin, ids + span->from_token, (ms_span_n_ids(span) - n_begin) * sizeof *to);
}

#endif
