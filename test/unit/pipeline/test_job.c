/* Jobs: a folder becomes a corpus; a job that its caller stops, at any step, goes on later to the
 * same bytes; inputs without a row are reported; several ranks write what one writes; and when an
 * allocation fails, whichever it is, the job says so and nothing wrong is written. With the small
 * checkpoint of test/data. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "midisim.h"
#include "support/tiny.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#define MANY "test/data/midi/freedoom"
#define FEW "test/data/midi/freedink"

enum { MOST_MESSAGES = 16, TOKENS = 400 };

static int64_t window; /* of all jobs: its tokens; 0: one row for each piece */

static void write_text(const char *path, const char *text) { write_file(path, text, strlen(text)); }

/* ---- What a caller sees of a job ---- */

typedef struct {
    int stop_step;     /* stop when this step ... */
    int64_t stop_done; /* ... has come so far; 0 0: never */
    int steps;         /* bit i: step i was seen */
    bool is_stopping;
    bool is_foreign; /* a callback came from another thread */
    pthread_t thread;
    int n_messages, levels[MOST_MESSAGES];
    char texts[MOST_MESSAGES][200];
} caller;

static int on_progress(void *user, const msim_job_progress *p) {
    caller *c = user;
    assert_true(p->size >= sizeof *p);
    c->steps |= 1 << p->step;
    c->is_foreign |= !pthread_equal(c->thread, pthread_self());
    c->is_stopping |= c->stop_step && p->step == c->stop_step && p->done >= c->stop_done;
    return c->is_stopping;
}

static void on_message(void *user, int level, const char *text) {
    caller *c = user;
    if (c->n_messages == MOST_MESSAGES) return;
    c->levels[c->n_messages] = level;
    snprintf(c->texts[c->n_messages++], sizeof c->texts[0], "%s", text);
}

/* A job for one folder or file to `output` in the test's folder. */
static msim_job_options job_of(const char *const *path, const char *output, caller *c) {
    msim_job_options o = msim_job_options_default();
    o.output = output;
    o.paths = path;
    o.n_paths = 1;
    o.max_tokens = TOKENS;
    o.window_tokens = window;
    o.model = model;
    o.options = &options;
    if (c) {
        c->thread = pthread_self();
        o.progress = on_progress;
        o.message = on_message;
        o.user = c;
    }
    return o;
}

/* Open and run; *stats may be NULL. */
static int run_job(const msim_job_options *o, msim_job_stats *stats, msim_error *e) {
    msim_job *job;
    int rc = msim_job_open(o, &job, e);
    if (rc < 0) {
        assert_null(job);
        return rc;
    }
    rc = msim_job_run(job, e);
    if (stats) {
        stats->size = sizeof *stats;
        assert_int_equal(msim_job_get_stats(job, stats), 0);
    }
    msim_job_close(job);
    return rc;
}

/* ---- Bytes ---- */

typedef struct {
    char *bytes; /* owned */
    size_t n;
} content;

static content read_all(const char *path) {
    content c = {0};
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f) return c;
    assert_int_equal(fstat(fileno(f), &st), 0);
    c.n = (size_t)st.st_size;
    c.bytes = malloc(c.n + 1);
    assert_int_equal(fread(c.bytes, 1, c.n, f), c.n);
    fclose(f);
    return c;
}

/* The corpus and its description; 0 when there is none. */
typedef struct {
    content corpus, about;
} result;

static result read_result(const char *output) {
    char path[260];
    snprintf(path, sizeof path, "%s.json", output);
    return (result){.corpus = read_all(output), .about = read_all(path)};
}

static void free_result(result *r) {
    free(r->corpus.bytes);
    free(r->about.bytes);
    *r = (result){0};
}

static bool same_content(const content *a, const content *b) {
    return a->n == b->n && a->n && memcmp(a->bytes, b->bytes, a->n) == 0;
}

static void assert_result(const char *output, const result *expected) {
    result got = read_result(output);
    assert_true(same_content(&got.corpus, &expected->corpus));
    assert_true(same_content(&got.about, &expected->about));
    free_result(&got);
}

/* The result of an undisturbed job. */
static result undisturbed(const char *path) {
    const char *output = in_folder("whole.npy");
    msim_job_options o = job_of(&path, output, NULL);
    assert_int_equal(run_job(&o, NULL, &err), MSIM_JOB_WRITTEN);
    result r = read_result(output);
    assert_true(r.corpus.n > 0 && r.about.n > 0);
    folder_clean(NULL);
    return r;
}

/* ---- Tests ---- */

static void folder_becomes_corpus(void **state) {
    (void)state;
    const char *path = MANY, *output = in_folder("c.npy");
    caller c = {0};
    msim_job_options o = job_of(&path, output, &c);
    msim_job_stats stats = {.size = sizeof stats};
    msim_corpus_info info = {.size = sizeof info};
    msim_corpus *corpus;
    assert_int_equal(run_job(&o, &stats, &err), MSIM_JOB_WRITTEN);
    assert_false(c.is_foreign);
    assert_int_equal(c.steps, 1 << MSIM_STEP_NONE | 1 << MSIM_STEP_LIST | 1 << MSIM_STEP_EMBED |
                                  1 << MSIM_STEP_WRITE);
    assert_int_equal(msim_corpus_open(output, NULL, &corpus, &err), 0);
    assert_int_equal(msim_corpus_get_info(corpus, &info), 0);
    msim_corpus_close(corpus);
    assert_true(info.rows > 20);
    assert_int_equal(info.rows, stats.rows);
    assert_int_equal(stats.files, stats.rows + stats.skips);
    assert_int_equal(stats.read, stats.files);
    assert_true(stats.tokens > 0 && stats.seconds > 0 && stats.has_work && stats.cut > 0);
    assert_int_equal(files_in_folder(), 2); /* no journal is left */
    /* Again: there is nothing to do, and the files are not read. */
    assert_int_equal(run_job(&o, &stats, &err), MSIM_JOB_NOTHING_TO_DO);
    assert_false(stats.has_work);
    assert_int_equal(stats.read, 0);
    o.is_update = 1;
    assert_int_equal(run_job(&o, &stats, &err), MSIM_JOB_UP_TO_DATE);
    assert_int_equal(stats.kept, stats.rows);
    folder_clean(NULL);
}

/* Stop at a step, then go on: the bytes are those of an undisturbed job. */
static void stop_and_go_on(int step, int64_t done, const result *expected) {
    const char *path = MANY, *output = in_folder("c.npy");
    caller c = {.stop_step = step, .stop_done = done};
    msim_job_options o = job_of(&path, output, &c);
    msim_job_stats stats = {.size = sizeof stats};
    assert_int_equal(run_job(&o, NULL, &err), -MSIM_E_STOPPED);
    assert_int_equal(err.code, MSIM_E_STOPPED);
    assert_non_null(strstr(err.text, "stopped"));
    assert_int_equal(access(output, F_OK), -1);
    c = (caller){0};
    o = job_of(&path, output, &c);
    assert_int_equal(run_job(&o, &stats, &err), MSIM_JOB_WRITTEN);
    if (step != MSIM_STEP_LIST) assert_true(stats.done_before > 0);
    if (step != MSIM_STEP_LIST) assert_true(c.steps >> MSIM_STEP_JOURNAL & 1);
    assert_int_equal(stats.read + stats.done_before, stats.files);
    assert_result(output, expected);
    assert_int_equal(files_in_folder(), 2);
    folder_clean(NULL);
}

static void stopped_jobs_go_on(void **state) {
    (void)state;
    result expected = undisturbed(MANY);
    stop_and_go_on(MSIM_STEP_LIST, 0, &expected);
    stop_and_go_on(MSIM_STEP_EMBED, 1, &expected);
    stop_and_go_on(MSIM_STEP_EMBED, 12, &expected);
    stop_and_go_on(MSIM_STEP_WRITE, 0, &expected);
    free_result(&expected);
}

static void skips_are_reported(void **state) {
    (void)state;
    const char *paths[] = {FEW, in_folder("bad.mid"), in_folder("none.mid")};
    const char *output = in_folder("c.npy");
    caller c = {0};
    msim_job_options o = job_of(paths, output, &c);
    msim_job_stats stats = {.size = sizeof stats};
    msim_skip skip = {.size = sizeof skip};
    msim_job *job;
    o.n_paths = 3;
    write_text(paths[1], "no MIDI file");
    assert_int_equal(msim_job_open(&o, &job, &err), 0);
    assert_int_equal(msim_job_run(job, &err), MSIM_JOB_WRITTEN);
    assert_int_equal(msim_job_get_stats(job, &stats), 0);
    assert_int_equal(stats.skips, 2);
    assert_int_equal(stats.failures, 2);
    assert_int_equal(stats.unread, 1);
    assert_int_equal(stats.skipped[MSIM_SKIP_NOT_MIDI], 1);
    assert_int_equal(stats.skipped[MSIM_SKIP_UNREADABLE], 1);
    assert_int_equal(msim_job_get_skip(job, 0, &skip), 0);
    assert_string_equal(skip.path, paths[1]);
    assert_string_equal(msim_skip_reason_name(skip.reason), "not-midi");
    assert_true(*skip.detail && skip.is_failure);
    assert_int_equal(msim_job_get_skip(job, 1, &skip), 0);
    assert_string_equal(msim_skip_reason_name(skip.reason), "unreadable");
    assert_int_equal(msim_job_get_skip(job, 2, &skip), -MSIM_E_ARG);
    assert_int_equal(msim_job_get_skip(job, -1, &skip), -MSIM_E_ARG);
    assert_int_equal(msim_job_run(job, &err), -MSIM_E_ARG); /* once */
    msim_job_close(job);
    folder_clean(NULL);
}

static void token_lines_are_inputs(void **state) {
    (void)state;
    const char *lines = in_folder("t.jsonl"), *output = in_folder("c.npy");
    msim_job_options o = job_of(NULL, output, NULL);
    msim_job_stats stats = {.size = sizeof stats};
    o.n_paths = 0;
    o.from_tokens = lines;
    write_text(lines, "{\"path\":\"b\",\"tokens\":[0,130,300]}\n"
                      "{\"path\":\"a\",\"tokens\":[0,130,300]}\n"
                      "{\"path\":\"c\",\"error\":\"no-notes\",\"detail\":\"\"}\n"
                      "{\"path\":\"d\",\"tokens\":[0,-1]}\n\nnothing\n");
    assert_int_equal(run_job(&o, &stats, &err), MSIM_JOB_WRITTEN);
    assert_int_equal(stats.files, 5);
    assert_int_equal(stats.rows, 2);
    assert_int_equal(stats.shared, 1);
    assert_int_equal(stats.skips, 3);
    assert_int_equal(stats.failures, 2);
    assert_true(stats.is_of_lines);
    folder_clean(NULL);
}

static void no_rows_is_an_error(void **state) {
    (void)state;
    const char *path = in_folder("bad.mid"), *output = in_folder("c.npy");
    caller c = {0};
    msim_job_options o = job_of(&path, output, &c);
    msim_job_stats stats = {.size = sizeof stats};
    write_text(path, "no MIDI file");
    assert_int_equal(run_job(&o, &stats, &err), -MSIM_E_EMPTY);
    assert_int_equal(stats.skips, 1);
    assert_int_equal(files_in_folder(), 1);
    path = folder; /* without a corpus in it, it holds bad.mid alone */
    unlink(in_folder("bad.mid"));
    assert_int_equal(run_job(&o, &stats, &err), -MSIM_E_EMPTY);
    assert_int_equal(stats.empty_folders, 1);
    assert_int_equal(c.n_messages, 1);
    assert_int_equal(c.levels[0], MSIM_MESSAGE_ERROR);
    assert_non_null(strstr(c.texts[0], "no MIDI files"));
    folder_clean(NULL);
}

static void midi_files_are_read(void **state) {
    (void)state;
    const char *path = in_folder("a.mid.gz"), *damaged = in_folder("b.mid.gz");
    content plain = read_all(FEW "/love.mid"), packed;
    unsigned char *bytes = malloc(plain.n + 1);
    char command[400];
    snprintf(command, sizeof command, "gzip -c %s/love.mid > %s", FEW, path);
    assert_int_equal(system(command), 0);
    assert_int_equal(msim_midi_read(path, NULL, 0, &err), plain.n);
    assert_int_equal(msim_midi_read(path, bytes, plain.n + 1, &err), plain.n);
    assert_memory_equal(bytes, plain.bytes, plain.n);
    assert_int_equal(msim_midi_read(FEW "/love.mid", bytes, 4, &err), plain.n);
    assert_memory_equal(bytes, "MThd", 4);
    packed = read_all(path);
    packed.bytes[packed.n / 2] = 0;
    write_text(damaged, packed.bytes);
    assert_int_equal(msim_midi_read(damaged, bytes, plain.n, &err), -MSIM_E_FORMAT);
    assert_non_null(strstr(err.text, "bad-gzip"));
    assert_int_equal(msim_midi_read(folder, bytes, plain.n, &err), -MSIM_E_IO);
    assert_int_equal(msim_midi_read("no such file", bytes, plain.n, NULL), -MSIM_E_IO);
    free(bytes);
    free(plain.bytes);
    free(packed.bytes);
    folder_clean(NULL);
}

static void refuse(const msim_job_options *o, const char *text) {
    msim_job *job = (msim_job *)folder;
    assert_int_equal(msim_job_open(o, &job, &err), -MSIM_E_ARG);
    assert_null(job);
    assert_non_null(strstr(err.text, text));
    assert_int_equal(files_in_folder(), 0);
}

static void wrong_options_are_refused(void **state) {
    (void)state;
    const char *path = FEW, *output = in_folder("c.npy");
    const msim_job_options good = job_of(&path, output, NULL);
    msim_job_options o = good;
    o.output = NULL;
    refuse(&o, "output");
    o = good;
    o.n_paths = 0;
    refuse(&o, "paths");
    o = good;
    o.from_tokens = "-";
    refuse(&o, "from_tokens");
    o = good;
    o.transpose = 13;
    refuse(&o, "transpose");
    o = good;
    o.n_shards = 2;
    refuse(&o, "shard");
    o = good;
    o.dtype = MSIM_DTYPE_F64;
    refuse(&o, "dtype");
    o = good;
    o.max_tokens = -2;
    refuse(&o, "max_tokens");
    o = good;
    o.window_tokens = 15;
    refuse(&o, "window_tokens");
    o.window_tokens = 16;
    o.window_step = 17;
    refuse(&o, "window_step");
    o.window_step = 16;
    o.window_tokens = o.window_step = 0;
    o.is_pooled = 1;
    refuse(&o, "is_pooled");
    o.is_pooled = 0;
    o.window_tokens = 16;
    o.n_paths = 0;
    o.from_tokens = "-";
    refuse(&o, "windows");
    o = good;
    o.model = NULL;
    refuse(&o, "model");
    o = good;
    o.size = 0;
    refuse(&o, "options");
    /* Of a later library: fields that are zero ask for nothing, others cannot be met. */
    struct {
        msim_job_options o;
        int64_t more;
    } later = {.o = good, .more = 1};
    msim_job *job;
    later.o.size = sizeof later;
    assert_int_equal(msim_job_open(&later.o, &job, &err), -MSIM_E_UNSUPPORTED);
    later.more = 0;
    assert_int_equal(msim_job_open(&later.o, &job, &err), 0);
    msim_job_close(job);
    assert_int_equal(files_in_folder(), 0);
}

static void two_jobs_do_not_share_an_output(void **state) {
    (void)state;
    const char *path = FEW, *output = in_folder("c.npy");
    msim_job_options o = job_of(&path, output, NULL);
    msim_job *first, *second;
    assert_int_equal(msim_job_open(&o, &first, &err), 0);
    assert_int_equal(msim_job_open(&o, &second, &err), -MSIM_E_IO);
    assert_non_null(strstr(err.text, "in use"));
    msim_job_close(first); /* without having run: nothing stays */
    assert_int_equal(files_in_folder(), 0);
}

/* ---- Ranks: threads of this program ---- */

enum { RANKS = 3 };

static struct {
    pthread_barrier_t barrier;
    int rcs[RANKS];
    msim_error errs[RANKS];
    const void *bytes;
    int64_t values[RANKS][16];
    _Atomic int64_t counter;
} team;

static int team_agree(void *user, int rc, msim_error *e) {
    int index = *(int *)user, failed = -1;
    team.rcs[index] = rc;
    if (rc < 0) team.errs[index] = *e;
    pthread_barrier_wait(&team.barrier);
    for (int i = RANKS - 1; i >= 0; i--)
        if (team.rcs[i] < 0) failed = i;
    if (failed >= 0) *e = team.errs[failed];
    if (failed >= 0) rc = team.rcs[failed];
    pthread_barrier_wait(&team.barrier);
    return rc;
}

static void team_broadcast(void *user, int from, void *bytes, size_t n) {
    if (*(int *)user == from) team.bytes = bytes;
    pthread_barrier_wait(&team.barrier);
    if (*(int *)user != from) memcpy(bytes, team.bytes, n);
    pthread_barrier_wait(&team.barrier);
}

static void team_sum(void *user, int64_t *values, int n) {
    memcpy(team.values[*(int *)user], values, (size_t)n * sizeof *values);
    pthread_barrier_wait(&team.barrier);
    for (int i = 0; i < n; i++) {
        values[i] = 0;
        for (int rank = 0; rank < RANKS; rank++) values[i] += team.values[rank][i];
    }
    pthread_barrier_wait(&team.barrier);
}

static void team_counter_open(void *user) {
    if (*(int *)user == 0) team.counter = 0;
    pthread_barrier_wait(&team.barrier);
}

static int64_t team_counter_add(void *user, int64_t n) {
    (void)user;
    return atomic_fetch_add(&team.counter, n);
}

static void team_counter_close(void *user) {
    (void)user;
    pthread_barrier_wait(&team.barrier);
}

typedef struct {
    int index, rc;
    msim_job_options o;
    msim_job_stats stats;
    msim_error err;
} member;

static void *run_member(void *arg) {
    member *m = arg;
    msim_ranks ranks = {.size = sizeof ranks,
                        .user = &m->index,
                        .index = m->index,
                        .count = RANKS,
                        .agree = team_agree,
                        .broadcast = team_broadcast,
                        .sum = team_sum,
                        .counter_open = team_counter_open,
                        .counter_add = team_counter_add,
                        .counter_close = team_counter_close};
    m->o.ranks = &ranks;
    m->rc = run_job(&m->o, &m->stats, &m->err);
    return NULL;
}

static void run_team(member *members, const char *const *path, const char *output, caller *c) {
    pthread_t threads[RANKS];
    pthread_barrier_init(&team.barrier, NULL, RANKS);
    for (int i = 0; i < RANKS; i++) {
        members[i] = (member){.index = i, .o = job_of(path, output, i == 1 ? c : NULL)};
        if (i == 1) members[i].o.message = NULL;
        pthread_create(threads + i, NULL, run_member, members + i);
    }
    for (int i = 0; i < RANKS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&team.barrier);
}

static void ranks_write_what_one_writes(void **state) {
    (void)state;
    result expected = undisturbed(MANY);
    const char *path = MANY, *output = in_folder("c.npy");
    member members[RANKS];
    run_team(members, &path, output, NULL);
    assert_int_equal(members[0].rc, MSIM_JOB_WRITTEN);
    assert_int_equal(members[1].rc, MSIM_JOB_OF_RANK_0);
    assert_int_equal(members[2].rc, MSIM_JOB_OF_RANK_0);
    assert_int_equal(members[0].stats.read, members[0].stats.files);
    assert_result(output, &expected);
    assert_int_equal(files_in_folder(), 2);
    run_team(members, &path, output, NULL);
    for (int i = 0; i < RANKS; i++) assert_int_equal(members[i].rc, MSIM_JOB_NOTHING_TO_DO);
    folder_clean(NULL);
    /* One of them is stopped: all stop, and one process goes on. */
    caller c = {.stop_step = MSIM_STEP_EMBED, .stop_done = 0};
    run_team(members, &path, output, &c);
    for (int i = 0; i < RANKS; i++) assert_int_equal(members[i].rc, -MSIM_E_STOPPED);
    msim_job_options o = job_of(&path, output, NULL);
    assert_int_equal(run_job(&o, NULL, &members[0].err), MSIM_JOB_WRITTEN);
    assert_result(output, &expected);
    assert_int_equal(files_in_folder(), 2);
    folder_clean(NULL);
    free_result(&expected);
}

/* ---- Out of memory ---- */

/* A job in which the nth allocation fails: either it says so, or the failure did not matter and the
 * result is whole. Then once more, without a failure. 0 when the job did not come so far. */
static int fail_at(int64_t n, const msim_job_options *o, const result *expected) {
    int64_t before = ms_mem_count();
    err = (msim_error){0};
    ms_mem_fail_at(n);
    int rc = run_job(o, NULL, &err);
    ms_mem_fail_at(0);
    bool is_reached = ms_mem_count() - before >= n;
    if (rc < 0) {
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_equal(err.code, MSIM_E_MEMORY);
        assert_non_null(strstr(err.text, "out of memory"));
        rc = run_job(o, NULL, &err);
    }
    assert_true(rc == MSIM_JOB_WRITTEN || rc == MSIM_JOB_UP_TO_DATE);
    assert_result(o->output, expected);
    return is_reached;
}

/* A file that alone needs more memory than there is: it is left out with a reason of its own, which
 * is no other file's, and the next run tries it again. */
static void file_beyond_memory(void **state) {
    (void)state;
    const char *output = in_folder("c.npy"), *large = in_folder("large.mid");
    char path[4200];
    snprintf(path, sizeof path, "%s", large);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)200 << 20), 0);
    fclose(f);
    const char *paths[] = {FEW, path};
    msim_job_options o = job_of(paths, output, NULL);
    o.n_paths = 2;
    msim_job *job;
    msim_job_stats stats = {.size = sizeof stats};
    err = (msim_error){0};
    ms_mem_fail_from((size_t)150 << 20);
    assert_int_equal(msim_job_open(&o, &job, &err), 0);
    int rc = msim_job_run(job, &err);
    ms_mem_fail_from(0);
    assert_int_equal(rc, MSIM_JOB_WRITTEN);
    msim_job_get_stats(job, &stats);
    assert_int_equal(stats.skipped[MSIM_SKIP_NO_MEMORY], 1);
    assert_int_equal(stats.skips, 1);
    assert_int_equal(stats.unread, 1);
    msim_job_close(job);
    remove(path);
    folder_clean(NULL);
}

static void any_allocation_may_fail(void **state) {
    (void)state;
    result expected = undisturbed(FEW);
    const char *path = FEW, *output = in_folder("c.npy");
    msim_job_options o = job_of(&path, output, NULL);
    o.model = NULL;
    o.model_path = CHECKPOINT;
    for (int64_t n = 1; fail_at(n, &o, &expected); n += n < 40 ? 1 : 5) folder_clean(NULL);
    free_result(&expected);
    folder_clean(NULL);
}

static void any_allocation_of_an_update_may_fail(void **state) {
    (void)state;
    const char *both[] = {FEW "/love.mid", FEW "/lively.mid"}, *output = in_folder("c.npy");
    msim_job_options o = job_of(both, output, NULL);
    o.n_paths = 2;
    assert_int_equal(run_job(&o, NULL, &err), MSIM_JOB_WRITTEN);
    result expected = read_result(output);
    bool is_reached = true;
    for (int64_t n = 1; is_reached; n += n < 40 ? 1 : 5) {
        folder_clean(NULL);
        o.n_paths = 1;
        o.is_update = 0;
        assert_int_equal(run_job(&o, NULL, &err), MSIM_JOB_WRITTEN);
        o.n_paths = 2;
        o.is_update = 1;
        is_reached = fail_at(n, &o, &expected);
    }
    free_result(&expected);
    folder_clean(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_becomes_corpus),
        cmocka_unit_test(stopped_jobs_go_on),
        cmocka_unit_test(skips_are_reported),
        cmocka_unit_test(token_lines_are_inputs),
        cmocka_unit_test(no_rows_is_an_error),
        cmocka_unit_test(midi_files_are_read),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(two_jobs_do_not_share_an_output),
        cmocka_unit_test(ranks_write_what_one_writes),
        cmocka_unit_test(file_beyond_memory),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(any_allocation_of_an_update_may_fail),
    };
    /* With several rows for each piece. */
    const struct CMUnitTest of_windows[] = {
        cmocka_unit_test(stopped_jobs_go_on),
        cmocka_unit_test(ranks_write_what_one_writes),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(any_allocation_of_an_update_may_fail),
    };
    int n_failed = cmocka_run_group_tests(tests, tiny_open, tiny_close);
    window = 64;
    return n_failed + cmocka_run_group_tests(of_windows, tiny_open, tiny_close);
}
