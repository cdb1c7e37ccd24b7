/* A walk over input files, through the public calls alone: order, names and reasons of the list;
 * token ids against those of the tokeniser; bytes against those of the files; token lines;
 * stopping. With the small checkpoint of test/data. */
#define _GNU_SOURCE
#include "midisim.h"
#include <stdbool.h>
#include "support/files.h"
#include "support/ok.h"
#include <sys/stat.h>
#include <unistd.h>

#define CHECKPOINT "test/data/checkpoints/tiny.safetensors"
#define SET "test/data/midi/freedink"
#define LOVE SET "/love.mid"

enum { MOST_IDS = 1 << 20 };

static msim_error err;
static int32_t ids[MOST_IDS];

static msim_walk *open_walk(const msim_walk_options *options) {
    msim_walk *walk = NULL;
    ok(msim_walk_open(options, &walk, &err));
    return walk;
}

static msim_walk_stats stats_of(const msim_walk *walk) {
    msim_walk_stats stats = {.size = sizeof stats};
    assert_int_equal(msim_walk_get_stats(walk, &stats), 0);
    return stats;
}

static bool is_text(const char *text, size_t n, const char *expected) {
    return n == strlen(expected) && memcmp(text, expected, n) == 0;
}

/* ---- Token ids ---- */

/* The ids of a piece as the tokeniser itself gives them, in `ids`. Returns the sequences. */
static int64_t encode(const msim_walk_item *item, const msim_walk_options *o, int64_t *starts) {
    size_t n;
    msim_tokenizer *tok;
    unsigned char *midi = read_file(item->path, &n);
    int64_t limit = o->max_tokens ? o->max_tokens : INT64_MAX, n_seq = 1;
    ok(msim_tokenizer_open(NULL, &tok, &err));
    if (o->transpose_factor) {
        n_seq = msim_tokenizer_encode(tok, midi, n, o->transpose_factor, limit, ids, MOST_IDS,
                                      starts, &err);
    } else {
        starts[0] = 0;
        starts[1] =
            msim_tokenizer_encode_at(tok, midi, n, o->transpose, limit, ids, MOST_IDS, &err);
        ok(starts[1]);
    }
    ok(n_seq);
    assert_int_equal(item->full_length, msim_tokenizer_full_length(tok));
    msim_tokenizer_close(tok);
    free(midi);
    return n_seq;
}

static void check_ids(const msim_walk_item *item, const msim_walk_options *o) {
    int64_t starts[13], n_seq = encode(item, o, starts);
    assert_int_equal(item->n_sequences, n_seq);
    assert_memory_equal(item->starts, starts, (size_t)(n_seq + 1) * sizeof *starts);
    assert_memory_equal(item->ids, ids, (size_t)starts[n_seq] * sizeof *ids);
}

/* Walk the set; every file is in its place, with the tokeniser's ids. */
static void walk_set(msim_walk_options *o) {
    const char *set = SET;
    msim_walk_item item = {.size = sizeof item};
    char before[400] = "";
    int64_t n = 0, n_cut = 0;
    o->paths = &set;
    o->n_paths = 1;
    o->is_tokenized = 1;
    msim_walk *walk = open_walk(o);
    while (msim_walk_next(walk, &item, &err) == 1) {
        assert_int_equal(item.index, n++);
        assert_int_equal(item.reason, MSIM_SKIP_NONE);
        assert_string_equal(item.detail, "");
        assert_null(item.bytes);
        assert_true(strcmp(before, item.path) < 0);
        snprintf(before, sizeof before, "%s", item.path);
        assert_true(is_text(item.name, item.name_bytes, item.path + strlen(SET "/")));
        check_ids(&item, o);
        n_cut += o->max_tokens && item.full_length > o->max_tokens;
    }
    assert_int_equal(msim_walk_next(walk, &item, &err), 0);
    msim_walk_stats stats = stats_of(walk);
    assert_true(n >= 3);
    assert_int_equal(stats.files, n);
    assert_int_equal(stats.given, n);
    assert_int_equal(stats.cut, n_cut);
    assert_int_equal(stats.empty_folders, 0);
    msim_walk_close(walk);
}

static void ids_are_the_tokenisers_in_the_order_of_the_inputs(void **state) {
    (void)state;
    msim_walk_options o = msim_walk_options_default();
    assert_int_equal(o.max_tokens, MSIM_TRAINED_TOKENS);
    for (int threads = 1; threads <= 3; threads += 2) {
        o.threads = threads;
        o.max_tokens = 0;
        walk_set(&o);
        o.max_tokens = 200;
        o.transpose = -3;
        walk_set(&o);
        o.transpose = 0;
        o.transpose_factor = 6;
        walk_set(&o);
        o.transpose_factor = 0;
    }
}

static void shards_are_a_partition(void **state) {
    (void)state;
    const char *set = SET;
    msim_walk_options o = msim_walk_options_default();
    o.paths = &set;
    o.n_paths = 1;
    msim_walk *walk = open_walk(&o);
    int64_t all = stats_of(walk).files, sum = 0;
    msim_walk_close(walk);
    o.n_shards = 3;
    for (o.shard = 1; o.shard <= 3; o.shard++) {
        walk = open_walk(&o);
        assert_true(stats_of(walk).files < all);
        sum += stats_of(walk).files;
        msim_walk_close(walk);
    }
    assert_int_equal(sum, all);
}

/* ---- The list, and bytes ---- */

static void files_that_give_nothing_have_a_reason(void **state) {
    (void)state;
    static const unsigned char bytes[] = "no MIDI file";
    write_file(in_folder("text.mid"), bytes, sizeof bytes);
    assert_int_equal(mkfifo(in_folder("pipe.mid"), 0600), 0);
    const char *paths[] = {LOVE, folder, "absent.mid"};
    msim_walk_options o = msim_walk_options_default();
    msim_walk_item item = {.size = sizeof item};
    o.paths = paths;
    o.n_paths = 3;
    o.is_tokenized = 1;
    msim_walk *walk = open_walk(&o);
    static const int reasons[] = {MSIM_SKIP_NONE, MSIM_SKIP_NOT_REGULAR, MSIM_SKIP_NOT_MIDI,
                                  MSIM_SKIP_UNREADABLE};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(msim_walk_next(walk, &item, &err), 1);
        assert_int_equal(item.reason, reasons[i]);
        assert_int_equal(item.is_failure, i > 0);
        assert_int_equal(item.is_named, i == 0 || i == 3);
        assert_int_equal(item.ids != NULL, i == 0);
        assert_int_equal(*item.detail != 0, i > 0);
    }
    assert_string_equal(item.path, "absent.mid");
    assert_int_equal(msim_walk_next(walk, &item, &err), 0);
    msim_walk_close(walk);
}

static void bytes_are_those_of_the_file(void **state) {
    (void)state;
    const char *paths[] = {LOVE, "absent.mid", SET "/lively.mid"};
    msim_walk_options o = msim_walk_options_default();
    msim_walk_item item = {.size = sizeof item}, other = {.size = sizeof other};
    o.paths = paths;
    o.n_paths = 3;
    o.names = MSIM_NAMES_STEM;
    msim_walk *walk = open_walk(&o);
    for (int i = 0; i < 3; i++) {
        size_t n;
        unsigned char *all = i == 1 ? NULL : read_file(paths[i], &n);
        assert_int_equal(msim_walk_next(walk, &item, &err), 1);
        ok(msim_walk_read(walk, i, &other, &err));
        assert_int_equal(item.reason, i == 1 ? MSIM_SKIP_UNREADABLE : MSIM_SKIP_NONE);
        assert_int_equal(item.reason, other.reason);
        assert_int_equal(item.bytes != NULL, i != 1);
        if (all) {
            assert_int_equal(item.n_bytes, n);
            assert_int_equal(other.n_bytes, n);
            assert_memory_equal(other.bytes, all, n);
            ok(msim_walk_read(walk, 2 - i, &other, &err)); /* leaves what next gave as it is */
            assert_memory_equal(item.bytes, all, n);
        }
        ok(msim_walk_get_input(walk, i, &other));
        assert_string_equal(other.path, paths[i]);
        assert_null(other.bytes);
        assert_int_equal(other.reason, item.reason);
        free(all);
    }
    assert_true(is_text(item.name, item.name_bytes, "lively"));
    assert_true(is_text(item.stem, item.stem_bytes, "lively"));
    assert_int_equal(msim_walk_next(walk, &item, &err), 0);
    assert_int_equal(msim_walk_get_input(walk, 3, &item), -MSIM_E_ARG);
    assert_int_equal(msim_walk_get_input(walk, -1, &item), -MSIM_E_ARG);
    assert_int_equal(msim_walk_read(walk, 3, &item, &err), -MSIM_E_ARG);
    msim_walk_close(walk);
}

/* ---- Token lines ---- */

static void lines_come_in_order_with_their_reasons(void **state) {
    (void)state;
    static const char lines[] = "{\"path\":\"a\",\"tokens\":[1,2,3,4]}\n"
                                "{\"path\":\"b\",\"error\":\"no-notes\",\"detail\":\"none\"}\n"
                                "nonsense\n"
                                "{\"path\":\"c\",\"tokens\":[5]}\n"
                                "{\"path\":\"d\",\"tokens\":[-1]}\n";
    msim_model *model;
    msim_walk_options o = msim_walk_options_default();
    msim_walk_item item = {.size = sizeof item};
    const char *path = in_folder("lines");
    write_file(path, lines, sizeof lines - 1);
    ok(msim_model_open(CHECKPOINT, NULL, &model, &err));
    o.from_tokens = path;
    o.model = model;
    o.max_tokens = 3;
    msim_walk *walk = open_walk(&o);
    static const int reasons[] = {MSIM_SKIP_NONE, MSIM_SKIP_NO_NOTES, MSIM_SKIP_UNREADABLE,
                                  MSIM_SKIP_NONE, MSIM_SKIP_UNREADABLE};
    const char *const names[] = {"a", "b", path, "c", "d"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(msim_walk_next(walk, &item, &err), 1);
        assert_int_equal(item.index, i);
        assert_int_equal(item.reason, reasons[i]);
        assert_string_equal(item.path, names[i]);
        assert_true(is_text(item.name, item.name_bytes, names[i]));
        assert_int_equal(item.is_failure, reasons[i] == MSIM_SKIP_UNREADABLE);
        if (i == 0) {
            assert_int_equal(item.starts[1], 3);
            assert_int_equal(item.ids[2], 3);
            assert_int_equal(item.full_length, 4);
        }
        if (i == 1) assert_non_null(strstr(item.detail, "line 2: none"));
    }
    assert_int_equal(msim_walk_next(walk, &item, &err), 0);
    assert_int_equal(stats_of(walk).given, 5);
    assert_int_equal(stats_of(walk).cut, 1);
    assert_int_equal(msim_walk_read(walk, 0, &item, &err), -MSIM_E_ARG);
    msim_walk_close(walk);
    o.model = NULL;
    assert_int_equal(msim_walk_open(&o, &walk, &err), -MSIM_E_ARG);
    assert_non_null(strstr(err.text, "model"));
    msim_model_close(model);
}

/* ---- Stopping and refusing ---- */

static int stop(void *user, const msim_job_progress *progress) {
    (void)progress;
    return *(const int *)user;
}

static void progress_stops_a_walk(void **state) {
    (void)state;
    const char *set = SET;
    int is_stopping = 0;
    msim_walk_options o = msim_walk_options_default();
    msim_walk_item item = {.size = sizeof item};
    o.paths = &set;
    o.n_paths = 1;
    o.progress = stop;
    o.user = &is_stopping;
    msim_walk *walk = open_walk(&o);
    assert_int_equal(msim_walk_next(walk, &item, &err), 1);
    is_stopping = 1;
    assert_int_equal(msim_walk_next(walk, &item, &err), -MSIM_E_STOPPED);
    msim_walk_close(walk);
    assert_int_equal(msim_walk_open(&o, &walk, &err), -MSIM_E_STOPPED);
    assert_null(walk);
}

static void count_message(void *user, int level, const char *text) {
    assert_int_equal(level, MSIM_MESSAGE_ERROR);
    assert_non_null(strstr(text, "no MIDI files"));
    ++*(int *)user;
}

static void empty_folders_are_counted(void **state) {
    (void)state;
    const char *path = folder;
    int n_messages = 0;
    msim_walk_options o = msim_walk_options_default();
    msim_walk_item item = {.size = sizeof item};
    o.paths = &path;
    o.n_paths = 1;
    o.message = count_message;
    o.user = &n_messages;
    msim_walk *walk = open_walk(&o);
    assert_int_equal(stats_of(walk).empty_folders, 1);
    assert_int_equal(n_messages, 1);
    assert_int_equal(msim_walk_next(walk, &item, &err), 0);
    msim_walk_close(walk);
}

static void wrong_options_are_refused(void **state) {
    (void)state;
    const msim_walk_options good = msim_walk_options_default();
    msim_walk_options bad[7];
    for (size_t i = 0; i < 7; i++) bad[i] = good;
    bad[0].names = 9;
    bad[1].n_shards = 2;
    bad[2].transpose = 13;
    bad[3].transpose_factor = 7;
    bad[4].transpose = bad[4].transpose_factor = 1;
    bad[5].max_tokens = -1;
    bad[6].size = 0;
    for (size_t i = 0; i < 7; i++) {
        msim_walk *walk = (msim_walk *)&bad;
        assert_int_equal(msim_walk_open(bad + i, &walk, &err), -MSIM_E_ARG);
        assert_null(walk);
    }
    assert_int_equal(msim_skip_reason_of_outcome(MSIM_OUTCOME_TOKENS), MSIM_SKIP_NONE);
    assert_int_equal(msim_skip_reason_of_outcome(MSIM_OUTCOME_DRUMS_ONLY), MSIM_SKIP_DRUMS_ONLY);
    assert_int_equal(msim_skip_is_failure(MSIM_SKIP_NO_NOTES, 0), 0);
    assert_int_equal(msim_skip_is_failure(MSIM_SKIP_NO_NOTES, 1), 1);
    assert_int_equal(msim_skip_is_failure(MSIM_SKIP_BAD_MIDI, 0), 1);
}

#define in_new_folder(test) cmocka_unit_test_setup_teardown(test, folder_open, folder_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_the_tokenisers_in_the_order_of_the_inputs),
        cmocka_unit_test(shards_are_a_partition),
        in_new_folder(files_that_give_nothing_have_a_reason),
        cmocka_unit_test(bytes_are_those_of_the_file),
        in_new_folder(lines_come_in_order_with_their_reasons),
        cmocka_unit_test(progress_stops_a_walk),
        in_new_folder(empty_folders_are_counted),
        cmocka_unit_test(wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
