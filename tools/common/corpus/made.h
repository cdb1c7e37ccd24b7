/* How the rows of a corpus were made, as the descriptions beside its parts say. Queries are made
 * likewise. */
#ifndef MS_TOOLS_COMMON_CORPUS_MADE_H
#define MS_TOOLS_COMMON_CORPUS_MADE_H
#include "pipeline/disk/description.h"

typedef struct {
    bool is_described; /* `made` says what all described parts were made with */
    ms_description made;
    int64_t n_undescribed;   /* parts without a description, and the first of them */
    const char *undescribed; /* borrowed from the corpus */
} ms_made;

/* Whether the tool has an option --force, which makes errors warnings, and whether it was given. */
enum ms_made_force { MS_MADE_CANNOT_FORCE, MS_MADE_MAY_FORCE, MS_MADE_FORCED };

/* Read the descriptions of all parts. -MSIM_E_ARG when parts differ in what decides whether vectors
 * may be compared, or when a description is of other rows. */
int ms_made_read(const msim_corpus *corpus, enum ms_made_force force, ms_made *out,
                 msim_error *err);
/* Say which parts have no description. */
void ms_made_say_undescribed(const ms_made *made);
/* The corpora that are published for midisimx have no description, and all are made alike: weights
 * [MS_DESCRIPTION_CLASSES] gets theirs. False, with nothing written, for other models. */
bool ms_made_published(const msim_model_info *model, float *weights);

/* "weighted 1,2,1,2", "tokens time-first, cleaned" */
void ms_made_pooling(char *text, size_t cap, bool is_weighted, const float *weights, int n_weights);
void ms_made_tokens(char *text, size_t cap, int order, bool is_unclean);

#endif
