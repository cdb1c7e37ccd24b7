/* Token sequences read back from the JSON lines that midisim-tokens prints: {"path": NAME,
 * "tokens": [...]}. A line that says "family" or "order" must have those of the model. Lines with
 * an "error" are counted as skipped; lines that cannot be used are failures with their number. One
 * thread. */
#ifndef MS_PIPELINE_INPUT_TOKEN_LINES_H
#define MS_PIPELINE_INPUT_TOKEN_LINES_H
#include "pipeline/batcher.h"

typedef struct ms_token_lines ms_token_lines;

typedef struct {
    const char *path; /* borrowed; "-" is standard input */
    int64_t vocab;    /* ids must lie in 0..vocab-1 */
    /* What lines may say of themselves: msim_family, or -1, and msim_token_order. */
    int family, order;
    int64_t max_tokens; /* longer sequences are cut; 0: no limit */
    /* A line that gives nothing, as it is read: a msim_skip_reason and a text. < 0 ends it; after
     * > 0 the call of next returns MS_READER_LATER (MS_READER_END if nothing can follow). */
    int (*skip)(void *user, const char *path, int reason, const char *detail, bool is_named,
                msim_error *err);
    void *skip_user;
    ms_watch *watch; /* borrowed, or NULL */
} ms_token_lines_request;

int ms_token_lines_open(const ms_token_lines_request *request, ms_token_lines **out,
                        msim_error *err);
/* As ms_sequences wants them. */
int ms_token_lines_next(void *lines, bool may_wait, ms_sequence *out, msim_error *err);
int64_t ms_token_lines_done(const void *lines);
int64_t ms_token_lines_cut(const ms_token_lines *lines); /* sequences that were cut */
void ms_token_lines_close(ms_token_lines *lines);

#endif
