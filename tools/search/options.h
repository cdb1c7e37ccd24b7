/* What midisim-search may be asked: its option table, the settings, and the combinations that mean
 * nothing. */
#ifndef MS_TOOLS_SEARCH_OPTIONS_H
#define MS_TOOLS_SEARCH_OPTIONS_H
#include "common/cli.h"

enum {
    MS_SEARCH_VECTORS = 60, /* of one pass, at most */
    MS_SEARCH_EXTRA = 64    /* rows that a pass fetches in excess for --exclude-self */
};

typedef struct {
    ms_cli_common common;
    ms_cli_texts corpora, likes, vectors, excluded, midi_roots;
    const char *names_file, *excluded_from, *cache, *copy_to, *html;
    const char *prior_fit, *notes_index;
    int64_t k, transpose, max_tokens, prior_rows;
    int keys; /* 0: all; 1: those that are likely */
    double threshold, evalue;
    int pooling, format, metric, scan; /* pooling and format -1: not given */
    int token_order;
    float pool_weights[MS_CLI_POOL_WEIGHTS];
    bool is_json, is_forced, keeps_variants, excludes_self, prepares, verifies, omits_original,
        is_whitened, finds, finds_if_there, is_same_key, is_same_tempo, is_clean, is_unclean;
    bool has_threshold; /* derived: --threshold was given */
} ms_search_settings;

extern const ms_cli_tool ms_search_tool;
ms_search_settings ms_search_settings_default(void);
/* Combinations that mean nothing are refused with -MSIM_E_ARG, before any work; settings that
 * follow from others are derived. */
int ms_search_check_usage(ms_search_settings *set, msim_error *err);
/* --find or --find-if-there: notes are compared too. */
static inline bool ms_search_finds(const ms_search_settings *set) {
    return set->finds || set->finds_if_there;
}
static inline bool ms_search_has_queries(const ms_search_settings *set) {
    return set->common.operands.n + set->likes.n + set->vectors.n > 0;
}

#endif
