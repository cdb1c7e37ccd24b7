/* Pieces that ask: a sample of the words of each, and where an index has these words. The words of
 * many pieces are looked up together, in order of key, so that what stands there is read once. */
#ifndef MS_NOTES_PAIRS_ASK_H
#define MS_NOTES_PAIRS_ASK_H
#include "base/pool.h"
#include "notes/find/probe.h"

/* A note of the index where a word begins. */
typedef struct {
    uint32_t piece, note;
    uint16_t span; /* ms + 40 */
    uint8_t pitch;
} ms_ask_place;

typedef struct {
    uint32_t note;    /* of the piece that asks */
    uint32_t span_ms; /* as in ms_word */
    const ms_ask_place *places;
    uint32_t n_places;
    float bits;
} ms_ask_word;

typedef struct {
    uint32_t piece;
    ms_canon canon;     /* n, time and pitch alone */
    ms_ask_word *words; /* [n_words] in order of note */
    size_t n_words;
} ms_asker;

typedef struct ms_asking ms_asking;
int ms_asking_open(const msim_notes *notes, const msim_notes *against, ms_pool *pool,
                   ms_asking **out, msim_error *err);
void ms_asking_close(ms_asking *asking);
/* The pieces [n], made ready: askers [n], in their order, valid until the next call. */
int ms_ask(ms_asking *asking, const uint32_t *pieces, size_t n, const ms_asker **askers,
           msim_error *err);

#endif
