/* Mutation fuzzing of everything that reads other people's bytes: MIDI files, corpora, checkpoints.
 *
 *   mutate [--count N] [--seed S] [--target midi|normalize|npy|safetensors|pth|all] [--jobs N]
 *   FILES-or-folders...
 *
 * Input number i is made from the seed S and i alone: a file of the target's kind with a few bytes
 * flipped, replaced, inserted, cut, copied or taken from another file. Workers go through the
 * numbers; each input may take 1 second of processor time and 256 MiB (under AddressSanitizer
 * counted by its malloc hooks, else by the address space). When one dies, the input is made again,
 * written to build/fuzz-failures, and a new worker goes on behind it. Prints one line for each
 * failure and one at the end; exits with 1 when there was a failure, 2 on wrong options. */
#define _GNU_SOURCE
#include "midisim.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_BYTES ((long long)256 << 20)
#define LIMIT_SECONDS 1
#define LIMIT_WALL_SECONDS 60 /* for an input that waits instead of working */
#define MOST_SEED_BYTES ((size_t)256 << 10)
#define MOST_INPUT_BYTES ((size_t)512 << 10)
#define MOST_FAILURES 20
#define FAILURES "build/fuzz-failures"

/* Exit codes of a worker. */
enum { DONE = 0, OUT_OF_MEMORY = 91, WRONG_ANSWER = 92 };

typedef struct {
    unsigned char *data; /* owned */
    size_t n_bytes;
} seed_file;

typedef struct {
    const char *name;
    const char *endings[4];
    void (*run)(const unsigned char *data, size_t n_bytes);
    seed_file *seeds; /* owned: [n_seeds] */
    size_t n_seeds, cap;
} target;

static void die(const char *what) {
    fprintf(stderr, "mutate: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void *take(size_t n_bytes) {
    void *p = malloc(n_bytes ? n_bytes : 1);
    if (!p) _exit(OUT_OF_MEMORY);
    return p;
}

/* ---- The targets ---- */

static void expect(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "mutate: expected %s\n", what);
    _exit(WRONG_ANSWER);
}

/* No input may ask for more memory than it has: within the limit, memory does not run out. */
static void check_status(int64_t rc, const msim_error *err) {
    if (rc == -MSIM_E_MEMORY) _exit(OUT_OF_MEMORY);
    expect(rc >= 0 || (err->code == -rc && err->text[0]), "an error with its text");
}

static void run_midi(const unsigned char *data, size_t n_bytes) {
    static msim_tokenizer *tok; /* kept: a damaged file must not harm the next one */
    const struct {
        int factor;
        int64_t max;
    } cases[] = {{6, 3072}, {0, INT64_MAX}};
    msim_error err = {.code = 0};
    if (!tok) check_status(msim_tokenizer_open(NULL, &tok, &err), &err);
    for (size_t c = 0; c < 2; c++) {
        size_t cap = msim_tokenizer_bound(n_bytes, cases[c].factor, cases[c].max);
        int32_t *ids = take(cap * sizeof *ids);
        int64_t starts[13], rc;
        rc = msim_tokenizer_encode(tok, data, n_bytes, cases[c].factor, cases[c].max, ids, cap,
                                   starts, &err);
        check_status(rc, &err);
        expect(rc != -MSIM_E_LIMIT, "ids within msim_tokenizer_bound");
        expect((rc >= 0) == (msim_tokenizer_outcome(tok) == MSIM_OUTCOME_TOKENS),
               "an outcome that fits the result");
        for (int64_t i = 0; rc >= 0 && i < starts[rc]; i++)
            expect(ids[i] >= 0 && ids[i] < 384, "ids below 384");
        free(ids);
    }
}

/* The bound holds, a buffer that is too small is said to be, and what comes out can be gone through
 * again (not always with success: data bytes that were no data bytes are kept, and may then be
 * taken for a status). */
static void run_normalize(const unsigned char *data, size_t n_bytes) {
    static msim_tokenizer *tok;
    msim_error err = {.code = 0};
    if (!tok) check_status(msim_tokenizer_open(NULL, &tok, &err), &err);
    size_t cap = msim_midi_canonical_bound(n_bytes);
    unsigned char *once = take(cap);
    int64_t n = msim_midi_canonical(tok, data, n_bytes, once, cap, &err);
    check_status(n, &err);
    expect(n != -MSIM_E_LIMIT, "a file within msim_midi_canonical_bound");
    expect((n >= 0) == (msim_tokenizer_outcome(tok) == MSIM_OUTCOME_TOKENS),
           "an outcome that fits the result");
    if (n >= 0) {
        size_t cap_again = msim_midi_canonical_bound((size_t)n);
        unsigned char *again = take(cap_again);
        expect(n >= 26 && memcmp(once, "MThd", 4) == 0, "a MIDI file");
        check_status(msim_midi_canonical(tok, once, (size_t)n, again, cap_again, &err), &err);
        expect(msim_midi_canonical(tok, data, n_bytes, again, (size_t)n - 1, &err) == -MSIM_E_LIMIT,
               "a full buffer");
        free(again);
    }
    free(once);
}

/* The library opens files by name: the input as a file that needs no disk. */
static const char *as_file(const unsigned char *data, size_t n_bytes) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        if (fd < 0) die("memfd_create");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, n_bytes, 0) != (ssize_t)n_bytes)
        die("writing the input");
    return path;
}

static void run_corpus(const unsigned char *data, size_t n_bytes) {
    msim_corpus *corpus;
    msim_corpus_info info = {.size = sizeof info};
    msim_error err = {.code = 0};
    int rc = msim_corpus_open(as_file(data, n_bytes), NULL, &corpus, &err);
    check_status(rc, &err);
    if (rc < 0) return;
    expect(msim_corpus_get_info(corpus, &info) == 0, "a corpus that says what it is");
    expect(info.rows == msim_corpus_rows(corpus), "one number of rows");
    float *row = info.dim <= (int64_t)1 << 20 ? take((size_t)info.dim * sizeof *row) : NULL;
    int64_t step = info.rows > 64 ? info.rows / 64 : 1;
    for (int64_t i = 0; i < info.rows; i += step) {
        char name[64];
        expect(msim_corpus_name(corpus, i, name, sizeof name) >= 0, "a name for every row");
        if (row) check_status(msim_corpus_vector(corpus, i, row, &err), &err);
    }
    expect(msim_corpus_name(corpus, info.rows, NULL, 0) < 0, "no name behind the last row");
    free(row);
    msim_corpus_close(corpus);
}

static void run_checkpoint(const unsigned char *data, size_t n_bytes) {
    msim_checkpoint_info info = {.size = sizeof info};
    msim_error err = {.code = 0};
    int rc = msim_checkpoint_get_info(as_file(data, n_bytes), &info, &err);
    check_status(rc, &err);
    expect(rc < 0 || info.dim > 0, "a checkpoint with a width");
}

static target targets[] = {
    {.name = "midi", .endings = {".mid", ".midi", ".kar"}, .run = run_midi},
    {.name = "normalize", .endings = {".mid", ".midi", ".kar"}, .run = run_normalize},
    {.name = "npy", .endings = {".npy"}, .run = run_corpus},
    {.name = "safetensors", .endings = {".safetensors"}, .run = run_checkpoint},
    {.name = "pth", .endings = {".pth", ".pt"}, .run = run_checkpoint},
};
#define N_TARGETS (sizeof targets / sizeof *targets)

/* ---- Memory under AddressSanitizer ---- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#endif

#ifdef WITH_ASAN
/* As in the sanitizer's allocator_interface.h, which GCC does not install everywhere. */
int __sanitizer_install_malloc_and_free_hooks(void (*after_malloc)(const volatile void *, size_t),
                                              void (*before_free)(const volatile void *));
size_t __sanitizer_get_allocated_size(const volatile void *p);
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static _Atomic long long live_bytes;

static void after_malloc(const volatile void *p, size_t n_bytes) {
    (void)p;
    live_bytes += (long long)n_bytes;
    if (live_bytes > LIMIT_BYTES) _exit(OUT_OF_MEMORY);
}

static void before_free(const volatile void *p) {
    if (p) live_bytes -= (long long)__sanitizer_get_allocated_size(p);
}

static void limit_memory(void) {
    /* What the seeds take was given before, and is not counted. */
    if (!__sanitizer_install_malloc_and_free_hooks(after_malloc, before_free)) die("malloc hooks");
}
#else
static void limit_memory(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld", &pages) != 1) die("/proc/self/statm");
    fclose(f);
    rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)LIMIT_BYTES;
    struct rlimit limit = {.rlim_cur = most, .rlim_max = most};
    if (setrlimit(RLIMIT_AS, &limit) != 0) die("setrlimit");
}
#endif

/* ---- Inputs ---- */

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t n) { return n ? (size_t)(next_random(state) % n) : 0; }

/* Half of the positions are near the beginning or the end, where headers and directories are. */
static size_t place_in(uint64_t *state, size_t n) {
    size_t part = n < 512 ? n : 512, at = below(state, 4);
    return at == 0 ? below(state, part) : at == 1 ? n - part + below(state, part) : below(state, n);
}

static const unsigned char notable[] = {0x00, 0x01, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0x90, 0xb0, 0xc0,
                                        0xf0, 0xf7, 0xfe, 0xff, '0',  '9',  '(',  ')',  '{',  '}',
                                        '[',  ']',  ',',  ':',  '"',  '\'', '-',  ' ',  '<',  '|'};

static void move_tail(unsigned char *data, size_t *n, size_t from, size_t to) {
    memmove(data + to, data + from, *n - from);
    *n = *n - from + to;
}

/* One change. data has room for MOST_INPUT_BYTES. */
static void mutate(uint64_t *state, unsigned char *data, size_t *n, const seed_file *other) {
    size_t at = place_in(state, *n), run = 1 + below(state, 16), most = MOST_INPUT_BYTES - *n;
    if (run > *n - at) run = *n - at;
    switch (below(state, 10)) {
    case 0:
    case 1:
        if (*n) data[at] ^= (unsigned char)(1u << below(state, 8));
        break;
    case 2:
    case 3:
        if (*n) data[at] = notable[below(state, sizeof notable)];
        break;
    case 4: /* a number of 2, 4 or 8 bytes, small, large or around the length of the file */
        run = (size_t)2 << below(state, 3);
        if (run <= *n - at) {
            uint64_t value = below(state, 2) ? next_random(state) >> below(state, 64)
                                             : *n - below(state, 40);
            bool is_big = below(state, 2);
            for (size_t i = 0; i < run; i++)
                data[is_big ? at + run - 1 - i : at + i] = i < 8 ? (unsigned char)(value >> 8 * i)
                                                                 : 0;
        }
        break;
    case 5: move_tail(data, n, at + run, at); break;
    case 6:
        if (run > most) break;
        move_tail(data, n, at, at + run);
        for (size_t i = 0; i < run; i++)
            data[at + i] = below(state, 2) ? 0xff : (unsigned char)next_random(state);
        break;
    case 7:
        if (below(state, 4) == 0) *n = at; /* cut */
        break;
    case 8: { /* a piece of another file */
        size_t from = below(state, other->n_bytes);
        run = below(state, other->n_bytes - from < 400 ? other->n_bytes - from : 400);
        if (run > most) break;
        move_tail(data, n, at, at + run);
        memcpy(data + at, other->data + from, run);
        break;
    }
    default: /* the same bytes again and again */
        for (size_t times = below(state, 40); run && times > 0 && *n + run <= MOST_INPUT_BYTES;
             times--) {
            move_tail(data, n, at, at + run);
            memcpy(data + at, data + at + run, run);
        }
    }
}

/* Input number i, in `data`. Returns its target. */
static const target *make_input(uint64_t seed, uint64_t i, target *const *list, size_t n_list,
                                unsigned char *data, size_t *n_bytes) {
    uint64_t state = seed;
    state = next_random(&state) ^ i;
    const target *t = list[i % n_list];
    const seed_file *s = &t->seeds[below(&state, t->n_seeds)];
    memcpy(data, s->data, s->n_bytes);
    *n_bytes = s->n_bytes;
    for (size_t k = 1 + below(&state, 6); k > 0; k--) {
        const seed_file *other = &t->seeds[below(&state, t->n_seeds)];
        mutate(&state, data, n_bytes, other);
    }
    return t;
}

/* ---- Seeds ---- */

static void add_file(const char *path) {
    const char *dot = strrchr(path, '.');
    target *t = NULL;
    for (size_t i = 0; dot && i < N_TARGETS; i++)
        for (size_t k = 0; k < 4 && targets[i].endings[k]; k++)
            if (strcasecmp(dot, targets[i].endings[k]) == 0) t = &targets[i];
    if (!t) return;
    FILE *f = fopen(path, "rb");
    if (!f) die(path);
    seed_file s = {.data = take(MOST_SEED_BYTES + 1)};
    s.n_bytes = fread(s.data, 1, MOST_SEED_BYTES + 1, f);
    fclose(f);
    if (s.n_bytes == 0 || s.n_bytes > MOST_SEED_BYTES) {
        free(s.data);
        return;
    }
    if (t->n_seeds == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->seeds = realloc(t->seeds, t->cap * sizeof *t->seeds);
        if (!t->seeds) die("seeds");
    }
    unsigned char *fitted = realloc(s.data, s.n_bytes);
    t->seeds[t->n_seeds++] = (seed_file){.data = fitted ? fitted : s.data, .n_bytes = s.n_bytes};
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void add_path(const char *path, int depth) {
    struct stat st;
    if (stat(path, &st) != 0) die(path);
    if (S_ISREG(st.st_mode)) add_file(path);
    if (!S_ISDIR(st.st_mode) || depth > 16) return;
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, by_name); /* sorted: the numbers must mean the same files
                                                     * everywhere */
    if (n < 0) die(path);
    for (int i = 0; i < n; i++) {
        char inner[PATH_MAX];
        if (entries[i]->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name) < (int)sizeof inner)
            add_path(inner, depth + 1);
        free(entries[i]);
    }
    free(entries);
}

/* ---- Workers ---- */

static target *list[N_TARGETS];
static size_t n_list;
static uint64_t seed = 1, count = 100000;

static void limit_time(bool on) {
    struct itimerval busy = {.it_value.tv_sec = on ? LIMIT_SECONDS : 0};
    struct itimerval wall = {.it_value.tv_sec = on ? LIMIT_WALL_SECONDS : 0};
    setitimer(ITIMER_PROF, &busy, NULL); /* SIGPROF and SIGALRM end the process */
    setitimer(ITIMER_REAL, &wall, NULL);
}

static void work(uint64_t first, uint64_t step, volatile uint64_t *now) {
    unsigned char *data = take(MOST_INPUT_BYTES);
    limit_memory();
    for (uint64_t i = first; i < count; i += step) {
        size_t n_bytes;
        *now = i;
        const target *t = make_input(seed, i, list, n_list, data, &n_bytes);
        unsigned char *exact = take(n_bytes); /* a block of its own size, so that a read past the
                                               * end is seen */
        memcpy(exact, data, n_bytes);
        limit_time(true);
        t->run(exact, n_bytes);
        limit_time(false);
        free(exact);
    }
    *now = UINT64_MAX;
    free(data);
    exit(DONE);
}

static const char *reason_of(int status) {
    static char text[64];
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF) return "more than 1 second";
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) return "waits";
    if (WIFSIGNALED(status)) {
        snprintf(text, sizeof text, "signal %d", WTERMSIG(status));
        return text;
    }
    if (WEXITSTATUS(status) == OUT_OF_MEMORY) return "more than 256 MiB";
    if (WEXITSTATUS(status) == WRONG_ANSWER) return "a wrong answer";
    snprintf(text, sizeof text, "exit %d", WEXITSTATUS(status));
    return text;
}

static void report(uint64_t i, int status) {
    static unsigned char data[MOST_INPUT_BYTES];
    size_t n_bytes;
    char path[128];
    const target *t = make_input(seed, i, list, n_list, data, &n_bytes);
    mkdir("build", 0777);
    mkdir(FAILURES, 0777);
    snprintf(path, sizeof path, FAILURES "/%s-%llu-%llu%s", t->name, (unsigned long long)seed,
             (unsigned long long)i, t->endings[0]);
    FILE *f = fopen(path, "wb");
    bool is_written = f && fwrite(data, 1, n_bytes, f) == n_bytes;
    if (f && fclose(f) != 0) is_written = false;
    printf("mutate: %s: seed %llu, input %llu, %zu bytes: %s%s\n", t->name,
           (unsigned long long)seed, (unsigned long long)i, n_bytes, reason_of(status),
           is_written ? "" : " (could not be written)");
    if (is_written) printf("mutate: written: %s\n", path);
    fflush(stdout);
}

static pid_t start(uint64_t first, uint64_t step, volatile uint64_t *now) {
    fflush(stdout);
    *now = first;
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) work(first, step, now);
    return pid;
}

static int run_workers(unsigned jobs) {
    volatile uint64_t *now =
        mmap(NULL, jobs * sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t *pids = calloc(jobs, sizeof *pids);
    int failures = 0;
    if (now == MAP_FAILED || !pids) die("workers");
    for (unsigned w = 0; w < jobs; w++) pids[w] = start(w, jobs, &now[w]);
    for (int status, running = (int)jobs; running > 0;) {
        pid_t pid = wait(&status);
        if (pid < 0) die("wait");
        for (unsigned w = 0; w < jobs; w++) {
            if (pids[w] != pid) continue;
            running--;
            if (WIFEXITED(status) && WEXITSTATUS(status) == DONE) continue;
            failures++;
            if (now[w] == UINT64_MAX) { /* behind the last input: a leak */
                printf("mutate: worker %u of %u: %s at its end\n", w, jobs, reason_of(status));
                continue;
            }
            report(now[w], status);
            if (failures >= MOST_FAILURES || now[w] + jobs >= count) continue;
            pids[w] = start(now[w] + jobs, jobs, &now[w]);
            running++;
        }
    }
    free(pids);
    return failures;
}

/* ---- Options ---- */

static uint64_t number(const char *option, const char *text) {
    char *end;
    errno = 0;
    unsigned long long v = text ? strtoull(text, &end, 10) : 0;
    if (text && *text >= '0' && *text <= '9' && *end == 0 && errno == 0) return v;
    fprintf(stderr, "mutate: %s: expected a number, got %s\n", option, text ? text : "nothing");
    exit(2);
}

int main(int argc, char **argv) {
    const char *only = "all";
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t jobs = processors > 0 ? (uint64_t)processors : 1;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--count") == 0)
            count = number(argv[i++], value);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = number(argv[i++], value);
        else if (strcmp(argv[i], "--jobs") == 0)
            jobs = number(argv[i++], value);
        else if (strcmp(argv[i], "--target") == 0 && value)
            only = argv[++i];
        else if (argv[i][0] != '-')
            add_path(argv[i], 0);
        else {
            fputs("usage: mutate [--count N] [--seed S] [--target "
                  "midi|normalize|npy|safetensors|pth|all] [--jobs N] PATH...\n",
                  stderr);
            return 2;
        }
    }
    for (size_t i = 0; i < N_TARGETS; i++) {
        if (strcmp(only, "all") != 0 && strcmp(only, targets[i].name) != 0) continue;
        if (targets[i].n_seeds)
            list[n_list++] = &targets[i];
        else
            printf("mutate: %s: skipped: no file of its kind was given\n", targets[i].name);
    }
    if (n_list == 0 || jobs == 0 || jobs > 1024) {
        fprintf(stderr, "mutate: expected a target with files and 1..1024 jobs, got %zu and %llu\n",
                n_list, (unsigned long long)jobs);
        return 2;
    }
    struct timeval begin, end;
    gettimeofday(&begin, NULL);
    int failures = run_workers((unsigned)jobs);
    gettimeofday(&end, NULL);
    double seconds = (double)(end.tv_sec - begin.tv_sec) +
                     1e-6 * (double)(end.tv_usec - begin.tv_usec);
    printf("mutate: %llu inputs, seed %llu:", (unsigned long long)count, (unsigned long long)seed);
    for (size_t i = 0; i < n_list; i++) printf(" %s (%zu files)", list[i]->name, list[i]->n_seeds);
    printf(", %d failures, %.1f s\n", failures, seconds);
    return failures > 0;
}
