/* The known families: see model/family.h. */
#include "model/family.h"
#include "midi/tokens.h"
#include <stddef.h>

/* Ids: docs/TOKENS.md, stage 17. */
static const ms_family families[] = {
    /* Start times with the beginning of a sequence, durations, pitches. */
    [MSIM_FAMILY_MIDISIM] = {.id = MSIM_FAMILY_MIDISIM,
                             .name = "midisim",
                             .vocab = 386,
                             .max_tokens = MSIM_TRAINED_TOKENS,
                             .classes = {.n = 3, .end = {128, 256, 384}},
                             .writer = &ms_tokens_midisim},
    /* Start times, pitches, durations, chords with the bar; then mask and padding. */
    [MSIM_FAMILY_MIDISIMX] = {.id = MSIM_FAMILY_MIDISIMX,
                              .name = "midisimx",
                              .vocab = 720,
                              .max_tokens = MSIM_TRAINED_TOKENS,
                              .classes = {.n = 4, .end = {128, 256, 384, 718}},
                              .writer = &ms_tokens_midisimx},
};

/* Its ids are pooled like midisim's, as the original would. */
static const ms_family unknown = {.id = -1,
                                  .name = "unknown",
                                  .max_tokens = MSIM_TRAINED_TOKENS,
                                  .classes = {.n = 3, .end = {128, 256, 384}}};

enum { N_FAMILIES = sizeof families / sizeof *families };

const ms_family *ms_family_of_vocab(int64_t vocab) {
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (families[i].vocab == vocab) return &families[i];
    return &unknown;
}

const ms_family *ms_family_of(int family) {
    return family >= 0 && family < N_FAMILIES ? &families[family] : NULL;
}
