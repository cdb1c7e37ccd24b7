/* midisim-embed: what was asked for. */
#ifndef MS_TOOLS_EMBED_EMBED_H
#define MS_TOOLS_EMBED_EMBED_H
#include "common/cli.h"

typedef struct {
    ms_cli_common common;
    const char *output, *files_from, *from_tokens, *skipped, *table, *name_field, *vector_field,
        *shard, *per_token, *windows;
    int pooling, names, dtype, token_order;
    float pool_weights[MS_CLI_POOL_WEIGHTS];
    int64_t transpose, max_tokens;
    bool is_normalized, is_nul_separated, is_forced, is_update, is_journal_kept, is_pooled,
        has_notes, is_clean, is_unclean;
    int64_t window_tokens, window_step; /* of --windows; 0: none; half of the tokens */
    int64_t shard_index, n_shards;      /* of --shard; 0: all files */
    char index[4096];                   /* of --notes: the path that follows from output */
} ms_embed_settings;

#endif
