/* A model family as one value: what its token ids mean, how long a sequence may be, and how notes
 * become ids. The weights select the family; tokeniser, pooling and tools ask it. To add a family,
 * add a row in family.c. docs/MODEL.md, docs/TOKENS.md. */
#ifndef MS_MODEL_FAMILY_H
#define MS_MODEL_FAMILY_H
#include "base/status.h"

enum { MS_MAX_CLASSES = 4 };

/* Classes of token ids, for weighted pooling: class c holds the ids from end[c - 1] (0 for the
 * first) up to, not including, end[c]. Ids from the last end on are in no class: their weight
 * is 1. */
typedef struct {
    int n;
    int32_t end[MS_MAX_CLASSES];
} ms_token_classes;

struct ms_token_writer; /* midi/tokens.h */

typedef struct {
    const char *name;   /* "midisim" */
    int id;             /* msim_family; -1: unknown */
    int64_t vocab;      /* rows of the token table; 0: any */
    int64_t max_tokens; /* of a sequence, as the models were trained */
    ms_token_classes classes;
    const struct ms_token_writer *writer; /* static; NULL: MIDI files cannot become its tokens */
} ms_family;

/* The family of models with this vocabulary. An unknown vocabulary gives a family that takes token
 * ids alone. Static storage. */
const ms_family *ms_family_of_vocab(int64_t vocab);
/* The family of an msim_family; NULL for another value. */
const ms_family *ms_family_of(int family);

/* The pooling weight of an id. weights [classes->n]. */
static inline float ms_class_weight(const ms_token_classes *classes, const float *weights,
                                    int32_t id) {
    for (int c = 0; c < classes->n; c++)
        if (id < classes->end[c]) return weights[c];
    return 1.0f;
}

#endif
