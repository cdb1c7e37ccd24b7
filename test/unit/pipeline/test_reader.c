/* The reader's budget of memory: files that are large together are encoded one after the other, all
 * of them, and give the same tokens as one at a time. */
#include "pipeline/input/encode.h"
#include "pipeline/input/reader.h"
#include "support/files.h"
#include <zlib.h>

#define CHECKPOINT "test/data/checkpoints/tiny.safetensors"

enum { N_FILES = 24, NOTES = 20000, THREADS = 4, TOKENS = 300, FILE_BYTES = 23 + 6 * NOTES };

static msim_model *model;

/* A file of NOTES notes on `pitch`. Returns its bytes. */
static size_t make_file(uint8_t *out, uint8_t pitch) {
    static const uint8_t head[] = {'M', 'T', 'h', 'd', 0,   0,   0,   6, 0, 0, 0,
                                   1,   0,   96,  'M', 'T', 'r', 'k', 0, 0, 0, 0};
    const size_t length = 1 + 6 * (size_t)NOTES;
    memcpy(out, head, sizeof head);
    for (int i = 0; i < 4; i++) out[18 + i] = (uint8_t)(length >> (24 - 8 * i));
    uint8_t *p = out + sizeof head;
    *p++ = 0;
    for (size_t i = 0; i < NOTES; i++, p += 6)
        memcpy(p, (uint8_t[]){1, pitch, 80, 40, pitch, 0}, 6);
    out[sizeof head + 1] = 0x90;
    return sizeof head + length;
}

/* Files of pitches 30, 31, ...; every third one compressed. */
static int set_up(void **state) {
    uint8_t *bytes = malloc(FILE_BYTES);
    if (!bytes || folder_open(state) < 0) return -1;
    for (unsigned i = 0; i < N_FILES; i++) {
        char name[40];
        const size_t n = make_file(bytes, (uint8_t)(30 + i));
        snprintf(name, sizeof name, i % 3 ? "%02u.mid" : "%02u.mid.gz", i);
        if (i % 3) {
            write_file(in_folder(name), bytes, n);
        } else {
            gzFile f = gzopen(in_folder(name), "wb");
            assert_non_null(f);
            assert_int_equal(gzwrite(f, bytes, (unsigned)n), n);
            assert_int_equal(gzclose(f), Z_OK);
        }
    }
    free(bytes);
    return msim_model_open(CHECKPOINT, NULL, &model, NULL) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
    msim_model_close(model);
    return folder_close(state);
}

/* Read all files under these limits; *read and *work get the most that was in use. */
static void read_all(int64_t read_bytes, int64_t work_bytes, int64_t *read, int64_t *work) {
    ms_files_list list = {0};
    const char *path = folder;
    const ms_files_request files = {.paths = &path, .n_paths = 1};
    msim_error err;
    ms_reader *reader;
    ms_reader_item item;
    size_t n = 0;
    assert_int_equal(ms_files_list_open(&files, &list, &err), 0);
    assert_int_equal(list.n, N_FILES);
    const ms_reader_request request = {.files = &list,
                                       .threads = THREADS,
                                       .max_tokens = TOKENS,
                                       .model = model,
                                       .read_bytes = read_bytes,
                                       .work_bytes = work_bytes};
    assert_int_equal(ms_reader_open(&request, &reader, &err), 0);
    while (ms_reader_next(reader, true, &item, &err) == MS_READER_ITEM) {
        assert_int_equal(item.reason, MSIM_SKIP_NONE);
        assert_int_equal(item.starts[1], TOKENS);
        assert_int_equal(item.ids[2], 256 + 30 + n); /* the pitch of file n */
        ms_reader_item_free(&item);
        n++;
    }
    assert_int_equal(n, N_FILES);
    ms_reader_most(reader, read, work);
    ms_reader_close(reader);
    ms_files_list_close(&list);
}

static void files_wait_for_room(void **state) {
    (void)state;
    const ms_reader_request request = {.max_tokens = TOKENS};
    const int64_t one = ms_encode_bytes(&request, FILE_BYTES);
    int64_t read, work;
    assert_true(one > 20 * FILE_BYTES);
    /* Room for none: one at a time, all the same. For two and a half: two. */
    read_all(0, 1, &read, &work);
    assert_int_equal(work, one);
    read_all(0, one * 5 / 2, &read, &work);
    assert_in_range(work, one, 2 * one);
    /* For all: as many as there are encoders, at most. */
    read_all(0, 0, &read, &work);
    assert_in_range(work, one, THREADS * one);
}

/* The limit holds for what was compressed too: a file that would grow past it beside others is read
 * once more, alone. */
static void compressed_files_wait_for_room(void **state) {
    (void)state;
    int64_t read, work;
    read_all(3 * FILE_BYTES, 0, &read, &work);
    assert_in_range(read, FILE_BYTES, 3 * FILE_BYTES);
    read_all(1, 0, &read, &work);
    assert_in_range(read, FILE_BYTES, 2 * FILE_BYTES); /* its buffer grows by doubling */
}

/* 12 variants of a whole piece take more than one cut short. */
static void estimate_counts_ids(void **state) {
    (void)state;
    const ms_reader_request cut = {.max_tokens = TOKENS}, whole = {.transpose_factor = 6};
    const int64_t a = ms_encode_bytes(&cut, 1 << 20), b = ms_encode_bytes(&whole, 1 << 20);
    assert_true(b - a > 12 * 8 * ((1 << 20) - 22 - TOKENS));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_wait_for_room),
                                       cmocka_unit_test(compressed_files_wait_for_room),
                                       cmocka_unit_test(estimate_counts_ids)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
