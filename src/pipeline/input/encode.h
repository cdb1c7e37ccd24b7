/* One file's bytes to an item of the reader: token ids and windows, or the reason why there are
 * none. One thread at a time per encoder. */
#ifndef MS_PIPELINE_INPUT_ENCODE_H
#define MS_PIPELINE_INPUT_ENCODE_H
#include "pipeline/input/reader.h"

/* What one file at a time is encoded with. */
typedef struct ms_encoder {
    msim_tokenizer *tokenizer; /* owned */
    msim_note_reader *notes;   /* owned; NULL where no notes are wanted */
    int32_t *ids;              /* owned: [ids_cap] */
    size_t ids_cap;
    struct ms_encoder *next_free; /* borrowed: the reader's list of those that are not lent */
} ms_encoder;

int ms_encoder_open(ms_encoder *encoder, const ms_reader_request *request, msim_error *err);
void ms_encoder_close(ms_encoder *encoder);

/* Memory that a file of n_bytes may take while it is encoded, its own bytes apart: what it takes at
 * most, unless it has delta times of 2^48 ticks. */
int64_t ms_encode_bytes(const ms_reader_request *request, size_t n_bytes);
/* Encode a file into the item: ids, notes or both, as item->claimed says. The bytes are parsed once
 * for both. What is wrong with the file becomes the item's reason; < 0 when something else is. */
int ms_encode_file(ms_encoder *encoder, const ms_reader_request *request,
                   const ms_files_buffer *midi, ms_reader_item *item, msim_error *err);
/* The item has nothing, for this reason. */
int ms_encode_failure(ms_reader_item *item, int reason, const char *detail, msim_error *err);

#endif
