/* What one process and many have in common: how ranks agree about failures and signals. Contract:
 * tools/common/ranks.h. */
#define _GNU_SOURCE
#include "ranks.h"
#include "console.h"
#include <stdio.h>
#include <string.h>

/* What the rank that decides tells the others. */
typedef struct {
    int code;
    char text[sizeof((msim_error *)NULL)->text];
} verdict;

static int stopped; /* as all know */

/* The lowest rank for which has_ended is true, or -1; and any rank's signal is everybody's. */
static int first_ended(bool has_ended) {
    int64_t values[2] = {has_ended ? ms_ranks_index() : INT32_MAX, -ms_cli_stopped()};
    ms_ranks_least(values, 2);
    stopped = (int)-values[1];
    if (stopped && !ms_cli_stopped()) ms_console_stop(stopped);
    return values[0] == INT32_MAX ? -1 : (int)values[0];
}

/* The text that a failing rank has, from err or from what it would have said. */
static verdict make_verdict(int code, const char *text) {
    verdict v = {.code = code};
    if (ms_ranks_index() == 0)
        snprintf(v.text, sizeof v.text, "%s", text);
    else
        snprintf(v.text, sizeof v.text, "%.*s (rank %d)", (int)sizeof v.text - 24,
                 *text ? text : ms_console_kept(), ms_ranks_index());
    return v;
}

int ms_ranks_agree(int rc, msim_error *err) {
    int from = first_ended(rc < 0);
    if (from < 0) return rc;
    verdict v = {0};
    if (from == ms_ranks_index()) v = make_verdict(-rc, err->text);
    ms_ranks_broadcast(from, &v, sizeof v);
    return ms_fail(err, v.code, "%s", v.text);
}

int ms_ranks_stopped(void) { return stopped; }

/* ---- For the library ---- */

static int table_agree(void *user, int rc, msim_error *err) {
    (void)user;
    return ms_ranks_agree(rc, err);
}

static void table_broadcast(void *user, int from, void *bytes, size_t n) {
    (void)user;
    ms_ranks_broadcast(from, bytes, n);
}

static void table_sum(void *user, int64_t *values, int n) {
    (void)user;
    ms_ranks_sum(values, n);
}

static void table_send(void *user, int to, const void *bytes, size_t n) {
    (void)user;
    ms_ranks_send(to, bytes, n);
}

static size_t table_expect(void *user, int from) {
    (void)user;
    return ms_ranks_expect(from);
}

static void table_receive(void *user, int from, void *bytes, size_t n) {
    (void)user;
    ms_ranks_receive(from, bytes, n);
}

static void table_counter_open(void *user) {
    (void)user;
    ms_ranks_counter_open();
}

static int64_t table_counter_add(void *user, int64_t n) {
    (void)user;
    return ms_ranks_counter_add(n);
}

static void table_counter_close(void *user) {
    (void)user;
    ms_ranks_counter_close();
}

const msim_ranks *ms_ranks_table(void) {
    static msim_ranks table = {.size = sizeof table,
                               .agree = table_agree,
                               .broadcast = table_broadcast,
                               .sum = table_sum,
                               .send = table_send,
                               .expect = table_expect,
                               .receive = table_receive,
                               .counter_open = table_counter_open,
                               .counter_add = table_counter_add,
                               .counter_close = table_counter_close};
    table.index = ms_ranks_index();
    table.count = ms_ranks_count();
    return table.count > 1 ? &table : NULL;
}
