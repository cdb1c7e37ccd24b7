/* The known families: see model/family.h. */
#include "model/family.h"
#include "midi/tokens.h"

/* Ids: docs/TOKENS.md, stage 17. Start times with the beginning of a sequence, durations,
 * pitches. */
static const ms_family families[] = {
    {.name = "midisim",
     .vocab = 386,
     .max_tokens = MSIM_TRAINED_TOKENS,
     .classes = {.n = 3, .end = {128, 256, 384}},
     .writer = &ms_tokens_midisim},
};

/* Its ids are pooled like midisim's, as the original would. */
static const ms_family unknown = {.name = "unknown",
                                  .max_tokens = MSIM_TRAINED_TOKENS,
                                  .classes = {.n = 3, .end = {128, 256, 384}}};

const ms_family *ms_family_of_vocab(int64_t vocab) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (families[i].vocab == vocab) return &families[i];
    return &unknown;
}

const ms_family *ms_family_default(void) { return &families[0]; }
