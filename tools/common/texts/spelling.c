/* Edit distances between words, and the names in a folder that are near one. Contract:
 * tools/common/texts/spelling.h. */
#define _GNU_SOURCE
#include "common/texts/spelling.h"
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORD_MOST = 255, NEAR_MOST = 3 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

size_t ms_spelling_distance(const char *a, const char *b) {
    size_t rows[3][WORD_MOST + 1], n = strnlen(a, WORD_MOST), m = strnlen(b, WORD_MOST);
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return row[m];
}

size_t ms_spelling_limit(const char *word) { return strlen(word) / 3 + 1; }

/* ---- Names in a folder ---- */

typedef struct {
    char name[WORD_MOST + 1];
    size_t distance;
} near_name;

/* Put a name into its place among the nearest; those of the same distance in bytewise order. */
static void consider(near_name *nearest, size_t *n, const char *name, size_t distance) {
    size_t at = *n;
    while (at && (distance < nearest[at - 1].distance ||
                  (distance == nearest[at - 1].distance && strcmp(name, nearest[at - 1].name) < 0)))
        at--;
    if (at == NEAR_MOST) return;
    if (*n < NEAR_MOST) ++*n;
    memmove(nearest + at + 1, nearest + at, (*n - at - 1) * sizeof *nearest);
    nearest[at].distance = distance;
    snprintf(nearest[at].name, sizeof nearest[at].name, "%s", name);
}

/* Another case of letters, or a missing extension, is nearer than any edit. */
static size_t distance_of(const char *given, const char *name) {
    size_t n = strlen(given);
    if (strcasecmp(given, name) == 0) return 0;
    bool is_beginning = !strchr(given, '.') && strncasecmp(given, name, n) == 0 && name[n] == '.';
    if (is_beginning && !strchr(name + n + 1, '.')) return 1;
    return ms_spelling_distance(given, name);
}

static size_t find_near(const char *folder, const char *name, near_name *nearest) {
    size_t n = 0, limit = ms_spelling_limit(name);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.' && name[0] != '.') continue;
        size_t distance = distance_of(name, e->d_name);
        if (distance <= limit) consider(nearest, &n, e->d_name, distance);
    }
    if (d) closedir(d);
    return n;
}

void ms_spelling_of_file(const char *path, char *text, size_t cap) {
    near_name nearest[NEAR_MOST];
    char folder[4096];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int n_folder = (int)(name - path);
    size_t at = 0;
    *text = 0;
    if (!*name || access(path, F_OK) == 0 || errno != ENOENT) return;
    if (!ms_file_folder(path, folder, sizeof folder)) return;
    size_t n = find_near(folder, name, nearest);
    for (size_t i = 0; i < n && at < cap; i++)
        at += (size_t)snprintf(text + at, cap - at, "%s%.*s%s",
                               i == 0      ? "; did you mean "
                               : i + 1 < n ? ", "
                                           : " or ",
                               n_folder, path, nearest[i].name);
    if (n && at < cap) at += (size_t)snprintf(text + at, cap - at, "?");
    if (at >= cap) *text = 0; /* half a name helps nobody */
}
