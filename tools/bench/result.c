/* Results as a text table, JSON lines and CSV rows, and the figures in them. Contract:
 * tools/bench/bench.h. The state is the process's own: a program has one standard output. */
#define _GNU_SOURCE
#include "bench.h"
#include "common/json.h"
#include "common/texts/output.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MSIM_COMMIT
#define MSIM_COMMIT "unknown"
#endif

static struct {
    const ms_bench_settings *s;
    FILE *csv;       /* owned, or NULL */
    char path[4200]; /* of the CSV file */
    char machine[224];
    char date[32];
    char command[400];
    char columns[400]; /* of the table being printed */
    int widths[MS_BENCH_MAX_VALUES];
} output;

/* ---- Figures ---- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

ms_bench_figure ms_bench_times(double *seconds, size_t n) {
    qsort(seconds, n, sizeof *seconds, compare_doubles);
    return (ms_bench_figure){seconds[0],
                             n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2};
}

ms_bench_figure ms_bench_rate(double work, ms_bench_figure seconds) {
    return (ms_bench_figure){work / seconds.best, work / seconds.median};
}

ms_bench_figure ms_bench_once(double value) { return (ms_bench_figure){value, NAN}; }

void ms_bench_add(ms_bench_result *result, const char *key, const char *unit,
                  ms_bench_figure figure) {
    if (result->n < MS_BENCH_MAX_VALUES)
        result->values[result->n++] = (ms_bench_value){key, unit, figure};
}

int ms_bench_list(const char *label, const char *text, int64_t min, int64_t max, int64_t *out) {
    char one[32];
    int n = 0;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        snprintf(one, sizeof one, "%.*s", (int)(len < sizeof one ? len : sizeof one - 1), at);
        if (n == MS_BENCH_MAX_LIST || len >= sizeof one || !ms_cli_int(one, min, max, &out[n])) {
            return ms_cli_usage(
                "%s: expected up to %d numbers in %lld..%lld separated by commas, got %s", label,
                MS_BENCH_MAX_LIST, (long long)min, (long long)max, text);
        }
        n++;
        at += len;
        if (!*at) return n;
    }
}

uint32_t ms_bench_random_next(ms_bench_random *r) {
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 32);
}

/* ---- Where from ---- */

/* The CPU, and the GPU where one may be used. */
static void describe_machine(char *text, size_t cap, const ms_cli_common *common) {
    char line[512], model[80] = "unknown CPU", family[16] = "", number[16] = "", gpus[96] = "";
    msim_gpu_info gpu = {.size = sizeof gpu};
    int n = common->device == MSIM_DEVICE_CPU ? 0 : common->gpu < 0 ? msim_gpu_count() : 1;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f) && line[0] != '\n') {
        char *value = strchr(line, ':');
        line[strcspn(line, "\n")] = 0;
        if (!value) continue;
        value += strspn(value, ": ");
        if (strncmp(line, "model name", 10) == 0) snprintf(model, sizeof model, "%.79s", value);
        if (strncmp(line, "cpu family", 10) == 0) snprintf(family, sizeof family, "%.15s", value);
        if (strncmp(line, "model\t", 6) == 0) snprintf(number, sizeof number, "%.15s", value);
    }
    if (f) fclose(f);
    if (n > 0 && msim_gpu_get_info(common->gpu < 0 ? 0 : common->gpu, &gpu, NULL) >= 0)
        snprintf(gpus, sizeof gpus, ", %d x %s", n, gpu.name);
    snprintf(text, cap, "%s%s%s%s%s, %ld processors%s", model, *family ? " family " : "", family,
             *number ? " model " : "", number, sysconf(_SC_NPROCESSORS_ONLN), gpus);
}

/* --csv names a file, or a folder, which then holds one file for each machine. */
static void csv_path(const char *given, char *path, size_t cap) {
    struct stat st;
    char name[160];
    size_t n = 0;
    if (stat(given, &st) != 0 || !S_ISDIR(st.st_mode)) {
        snprintf(path, cap, "%s", given);
        return;
    }
    for (const char *c = output.machine; *c; c++)
        if (isalnum((unsigned char)*c))
            name[n++] = (char)tolower((unsigned char)*c);
        else if (n && name[n - 1] != '-')
            name[n++] = '-';
    name[n] = 0;
    snprintf(path, cap, "%s/%s.csv", given, name);
}

static bool open_csv(const char *given) {
    msim_error err;
    csv_path(given, output.path, sizeof output.path);
    if (ms_cli_check_output(output.path, NULL, &err) < 0) {
        ms_cli_error("csv: %s", err.text);
        return false;
    }
    output.csv = fopen(output.path, "a");
    if (!output.csv) {
        ms_cli_error("csv: %.300s: expected a file to append to: %s", output.path, strerror(errno));
        return false;
    }
    if (fseek(output.csv, 0, SEEK_END) == 0 && ftell(output.csv) == 0)
        fprintf(output.csv, "date,machine,commit,command,bench,case,device,threads,level,precision,"
                            "metric,unit,best,"
                            "median,rounds\n");
    return true;
}

bool ms_bench_output_open(const ms_bench_settings *s, int argc, char **argv) {
    time_t now = time(NULL);
    struct tm tm;
    size_t n = 0;
    output.s = s;
    describe_machine(output.machine, sizeof output.machine, &s->common);
    strftime(output.date, sizeof output.date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    n += (size_t)snprintf(output.command, sizeof output.command, "midisim-bench");
    for (int i = 1; i < argc && n < sizeof output.command; i++)
        n += (size_t)snprintf(output.command + n, sizeof output.command - n, " %s", argv[i]);
    return !s->csv || open_csv(s->csv);
}

bool ms_bench_output_close(void) {
    if (!output.csv) return true;
    bool is_bad = ferror(output.csv) != 0;
    if (fclose(output.csv) == 0 && !is_bad) return true;
    ms_cli_error("csv: %.300s: expected to write all rows: %s", output.path, strerror(errno));
    return false;
}

/* ---- Text ---- */

/* About four digits. */
static void format_number(char *text, size_t cap, double v) {
    double a = fabs(v);
    if (isnan(v))
        snprintf(text, cap, "-");
    else
        snprintf(text, cap, "%.*f",
                 v == floor(v) && a < 1e9 ? 0
                 : a >= 1000              ? 0
                 : a >= 100               ? 1
                 : a >= 1                 ? 2
                                          : 4,
                 v);
}

static void print_text(const ms_bench_result *r) {
    char columns[400] = "", best[32], median[32], cell[80];
    size_t n = 0;
    for (size_t i = 0; i < r->n && n < sizeof columns; i++)
        n += (size_t)snprintf(columns + n, sizeof columns - n, "%s ", r->values[i].unit);
    if (strcmp(columns, output.columns) != 0) {
        if (*output.columns) ms_cli_print("\n");
        ms_cli_print("%-9s%-26s%8s %-11s", "bench", "case", "threads", "level");
        for (size_t i = 0; i < r->n; i++) {
            output.widths[i] = isnan(r->values[i].figure.median) ? 11 : 19;
            ms_cli_print(" %*s", output.widths[i], r->values[i].unit);
        }
        ms_cli_print("\n");
        snprintf(output.columns, sizeof output.columns, "%s", columns);
    }
    ms_cli_print("%-9s%-26s%8d %-11s", r->bench, r->name, r->threads,
                 r->level    ? r->level
                 : r->device ? r->device
                             : "-");
    for (size_t i = 0; i < r->n; i++) {
        const ms_bench_figure *f = &r->values[i].figure;
        format_number(best, sizeof best, f->best);
        format_number(median, sizeof median, f->median);
        bool is_once = isnan(f->median);
        snprintf(cell, sizeof cell, is_once ? "%s" : "%s (%s)", best, median);
        ms_cli_print(" %*s", output.widths[i], cell);
    }
    ms_cli_print("\n");
    fflush(stdout);
}

/* ---- JSON and CSV ---- */

static void add_text(cJSON *object, const char *key, const char *text) {
    if (text) cJSON_AddStringToObject(object, key, text);
}

static void print_json(const ms_bench_result *r) {
    char key[80];
    cJSON *object = cJSON_CreateObject();
    add_text(object, "bench", r->bench);
    add_text(object, "case", r->name);
    cJSON_AddNumberToObject(object, "threads", r->threads);
    add_text(object, "device", r->device);
    add_text(object, "level", r->level);
    add_text(object, "precision", r->precision);
    for (size_t i = 0; i < r->n; i++) {
        const ms_bench_value *v = &r->values[i];
        cJSON_AddItemToObject(object, v->key, ms_json_number(v->figure.best));
        if (isnan(v->figure.median)) continue;
        snprintf(key, sizeof key, "%s_median", v->key);
        cJSON_AddItemToObject(object, key, ms_json_number(v->figure.median));
    }
    cJSON_AddNumberToObject(object, "rounds", (double)output.s->rounds);
    add_text(object, "machine", output.machine);
    add_text(object, "date", output.date);
    add_text(object, "commit", MSIM_COMMIT);
    add_text(object, "command", output.command);
    (void)ms_cli_write_json(object);
    cJSON_Delete(object);
    fflush(stdout);
}

/* A field in quotes, those inside doubled (RFC 4180). */
static void put_csv(const char *text) {
    fputc('"', output.csv);
    for (; *text; text++) {
        if (*text == '"') fputc('"', output.csv);
        fputc(*text == '\n' || *text == '\r' ? ' ' : *text, output.csv);
    }
    fputs("\",", output.csv);
}

static void print_csv(const ms_bench_result *r) {
    for (size_t i = 0; i < r->n; i++) {
        const ms_bench_value *v = &r->values[i];
        if (isnan(v->figure.best)) continue;
        const char *texts[] = {output.date, output.machine, MSIM_COMMIT, output.command,
                               r->bench,    r->name,        r->device};
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) put_csv(texts[t] ? texts[t] : "");
        fprintf(output.csv, "%d,%s,%s,%s,%s,%.9g,", r->threads, r->level ? r->level : "",
                r->precision ? r->precision : "", v->key, v->unit, v->figure.best);
        if (!isnan(v->figure.median)) fprintf(output.csv, "%.9g", v->figure.median);
        fprintf(output.csv, ",%lld\n", (long long)output.s->rounds);
    }
    fflush(output.csv);
}

void ms_bench_report(const ms_bench_result *result) {
    if (output.s->is_json)
        print_json(result);
    else
        print_text(result);
    if (output.csv) print_csv(result);
}
