/* Token sequences read back from the JSON lines that midisim-tokens prints: {"path": NAME,
 * "tokens": [...]}. Lines with an "error" are counted as skipped; lines that cannot be used are
 * failures with their number. One thread. */
#ifndef MS_TOOLS_PIPELINE_TOKEN_LINES_H
#define MS_TOOLS_PIPELINE_TOKEN_LINES_H
#include "batcher.h"

typedef struct ms_token_lines ms_token_lines;

/* path "-" is standard input. Ids must lie in 0..vocab-1; longer sequences are cut to max_tokens
 * (0: no limit). */
int ms_token_lines_open(const char *path, int64_t vocab, int64_t max_tokens, ms_files_skips *skips,
                        ms_token_lines **out, msim_error *err);
/* As ms_sequences wants them. */
int ms_token_lines_next(void *lines, bool may_wait, ms_sequence *out);
int64_t ms_token_lines_done(const void *lines);
int64_t ms_token_lines_cut(const ms_token_lines *lines); /* sequences that were cut */
void ms_token_lines_close(ms_token_lines *lines);

#endif
