/* What the parts of midisim-bench share: settings, timing, measured limits of the machine, and how
 * results are shown (text table, JSON lines, CSV rows). docs/SPEED.md says how to measure and what
 * the fields mean.
 *
 * One thread runs the program; parts that measure several threads start and join them. Each
 * sub-command returns a status for ms_cli_finish, having said what went wrong. */
#ifndef MS_TOOLS_BENCH_BENCH_H
#define MS_TOOLS_BENCH_BENCH_H
#include "common/cli.h"
#include <stdio.h>

enum { MS_BENCH_MAX_VALUES = 12, MS_BENCH_MAX_LIST = 64, MS_BENCH_MAX_ROUNDS = 1000 };

typedef struct {
    ms_cli_common common;
    const char *lengths, *queries; /* "512,1024" */
    const char *scan;              /* "f64,f32"; NULL: the library's choice */
    const char *tokens;            /* --tokens FILE */
    const char *csv;
    const char *devices; /* "cpu,cuda"; NULL: the one of --device */
    int64_t batch, rounds, rows, dim, top, megabytes, max_tokens;
    double threshold;
    bool is_json, is_without_roof;
} ms_bench_settings;

/* Numbers min..max separated by commas. Returns how many, at most MS_BENCH_MAX_LIST, or < 0 having
 * said why not. */
int ms_bench_list(const char *label, const char *text, int64_t min, int64_t max, int64_t *out);

/* ---- Figures of several rounds ---- */

typedef struct {
    double best, median;
} ms_bench_figure;

/* Of n times in seconds (their order is changed): the shortest is best. */
ms_bench_figure ms_bench_times(double *seconds, size_t n);
/* work / time, for both. */
ms_bench_figure ms_bench_rate(double work, ms_bench_figure seconds);
/* A figure that is known once. */
ms_bench_figure ms_bench_once(double value);

/* ---- Results ---- */

typedef struct {
    const char *key, *unit; /* static: "tokens_per_s", "tokens/s" */
    ms_bench_figure figure; /* NaN: not known */
} ms_bench_value;

typedef struct {
    const char *bench; /* the sub-command */
    char name[64];     /* the case: "512", "512 attention" */
    int threads;
    const char *device, *level, *precision; /* NULL where they play no part */
    ms_bench_value values[MS_BENCH_MAX_VALUES];
    size_t n;
} ms_bench_result;

void ms_bench_add(ms_bench_result *result, const char *key, const char *unit,
                  ms_bench_figure figure);

/* Where results go, by the settings; standard output and the CSV file are kept open until close.
 * False, having said why, when the CSV file cannot be opened. */
bool ms_bench_output_open(const ms_bench_settings *s, int argc, char **argv);
void ms_bench_report(const ms_bench_result *result);
/* False, having said why, when the CSV file is not complete. */
bool ms_bench_output_close(void);

/* ---- Limits of the machine ---- */

enum ms_bench_limit {
    MS_BENCH_FMA_256,
    MS_BENCH_FMA_512,
    MS_BENCH_DOT_BF16,
    MS_BENCH_DOT_TILES,
    MS_BENCH_DOT_INT8,
    MS_BENCH_READ,
    MS_BENCH_N_LIMITS
};

/* Operations (bytes read) per second. 1: measured; 0: this CPU lacks the instructions, or memory is
 * short; < 0: a thread could not be started, which was said. */
int ms_bench_limit(int limit, int threads, const ms_bench_settings *s, ms_bench_figure *per_second);
/* The limit that a level's products work against, or -1 (the reference level has none). */
int ms_bench_limit_of(int isa, int precision);

/* Reading memory, a round at a time, to take turns with what is compared to it. NULL when memory is
 * short. */
typedef struct ms_bench_reader ms_bench_reader;
ms_bench_reader *ms_bench_reader_open(int threads, const ms_bench_settings *s);
double ms_bench_reader_once(ms_bench_reader *r); /* bytes per second; NaN: failed, which was said */
void ms_bench_reader_close(ms_bench_reader *r);

/* ---- Sub-commands ---- */

int ms_bench_limits(const ms_bench_settings *s);
int ms_bench_encoder(const ms_bench_settings *s);
int ms_bench_tokens(const ms_bench_settings *s);
int ms_bench_notes(const ms_bench_settings *s);
int ms_bench_search(const ms_bench_settings *s);
int ms_bench_join(const ms_bench_settings *s);
int ms_bench_embed(const ms_bench_settings *s);

/* A plain .npy of made rows in a file that lives in memory alone; its path in `path`. The
 * descriptor, or -1 having said why not. */
int ms_bench_make_corpus(const ms_bench_settings *s, char *path, size_t cap);

/* Made numbers: the same on every machine. */
typedef struct {
    uint64_t state;
} ms_bench_random;
uint32_t ms_bench_random_next(ms_bench_random *r);

#endif
