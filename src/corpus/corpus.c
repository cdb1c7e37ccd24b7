/* Corpora: files are mapped, viewed and named, and their rows are numbered through. A corpus never
 * changes after open, so any number of threads may read it. Names are decoded on demand into the
 * caller's buffer, and no row is copied. A corpus owns the maps and, for pickled files, the place
 * of each row. include/midisim.h, Corpus; docs/FORMATS.md, Corpora. */
#include "corpus/corpus.h"
#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/sized.h"
#include "corpus/names.h"
#include "corpus/fits/whiten.h"
#include "corpus/spans/spans.h"
#include "npy/view.h"
#include "corpus/vecs.h"
#include "corpus/parts.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* One file. */
typedef struct {
    ms_map map;       /* owned */
    ms_npy_view view; /* owned; borrows from map */
    ms_names names;   /* owned; empty without a names file */
    bool has_names_file;
    int64_t first;            /* number of its first row */
    ms_codes_file codes_file; /* owned; empty without one */
} part;

struct msim_corpus {
    ms_parts files; /* owned: paths */
    part *parts;    /* owned: [files.n] */
    ms_rows *views; /* owned: [files.n], as the parts have them */
    ms_names names; /* owned: of all rows, where a names file was given */
    bool has_names_file;
    const char *memory_names; /* borrowed: of a corpus in memory, or NULL */
    const int64_t *memory_starts;
    ms_spans *spans;       /* owned; NULL for a corpus in memory */
    ms_span_bars *bars;    /* the same */
    ms_whitened *whitened; /* owned; NULL for a corpus in memory */
    msim_corpus_info info;
};

static int open_names(ms_names *names, const char *names_path, int64_t n_rows,
                      const char *rows_path, msim_error *err) {
    int rc = ms_names_open(names_path, names, err);
    if (rc >= 0 && names->n_names != (size_t)n_rows)
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "names file: %s: expected %" PRId64 " lines, one per row of %s, got %zu",
                     names_path, n_rows, rows_path, names->n_names);
    return rc;
}

/* FILE.names beside a file without names, where there is one. */
static int open_names_beside(part *p, const char *path, msim_error *err) {
    struct stat st;
    char *names_path = ms_file_beside(path, ".names", err);
    if (!names_path) return -MSIM_E_MEMORY;
    int rc = MSIM_OK;
    if (stat(names_path, &st) == 0) {
        rc = open_names(&p->names, names_path, p->view.rows.n_rows, path, err);
        p->has_names_file = rc >= 0;
    } else if (errno != ENOENT) { /* rows must not lose their names because a folder could not be
                                   * read */
        rc = ms_fail_errno(err, errno, "cannot examine: %s", names_path);
    }
    ms_free(names_path);
    return rc;
}

static int open_part(part *p, const char *path, const char *names_path, msim_error *err) {
    int format = ms_parts_format(path), rc = ms_map_open(path, MS_MAP_NORMAL, &p->map, err);
    if (rc < 0) return rc;
    rc = format == MSIM_FORMAT_FVECS
             ? ms_fvecs_view_init(p->map.data, p->map.n_bytes, path, &p->view, err)
         : format == MSIM_FORMAT_FBIN
             ? ms_fbin_view_init(p->map.data, p->map.n_bytes, path, &p->view, err)
             : ms_npy_view_init(p->map.data, p->map.n_bytes, path, &p->view, err);
    if (rc < 0) return rc;
    if (names_path && p->view.name_kind)
        return ms_fail(
            err, MSIM_E_ARG,
            "names file: %s: not used, because %s has names of its own; leave the names file out",
            names_path, path);
    return names_path || p->view.name_kind ? MSIM_OK : open_names_beside(p, path, err);
}

/* Number the rows through, and say what the whole is. Files without rows have no width of their
 * own. */
static int join(msim_corpus *corpus, msim_error *err) {
    msim_corpus_info *info = &corpus->info;
    size_t with_rows = 0;
    while (with_rows < corpus->files.n && corpus->parts[with_rows].view.rows.n_rows == 0)
        with_rows++;
    if (with_rows == corpus->files.n) with_rows = 0;
    const ms_npy_view *model = &corpus->parts[with_rows].view;
    *info = (msim_corpus_info){
        .dim = model->rows.dim, .dtype = model->rows.dtype, .parts = (int64_t)corpus->files.n};
    snprintf(info->format, sizeof info->format, "%s",
             msim_format_name(corpus->parts[0].view.format));
    for (size_t i = 0; i < corpus->files.n; i++) {
        part *p = &corpus->parts[i];
        if (p->view.rows.n_rows > 0 && p->view.rows.dim != info->dim)
            return ms_fail(err, MSIM_E_FORMAT,
                           "corpus: %s: expected rows of %" PRId64
                           " components as in %s, got %" PRId64,
                           corpus->files.paths[i], info->dim, corpus->files.paths[with_rows],
                           p->view.rows.dim);
        p->first = info->rows;
        if (__builtin_add_overflow(info->rows, p->view.rows.n_rows, &info->rows))
            return ms_fail(err, MSIM_E_LIMIT,
                           "corpus: %s: with this file there are 2^63 rows or more",
                           corpus->files.paths[i]);
        if (p->view.format != corpus->parts[0].view.format)
            snprintf(info->format, sizeof info->format, "mixed");
        info->has_names |= p->view.name_kind || p->has_names_file;
        corpus->views[i] = p->view.rows;
        corpus->views[i].dim = info->dim;
    }
    return MSIM_OK;
}

int msim_corpus_open_many(const char *const *paths, size_t n_paths, const char *names_path,
                          msim_corpus **out, msim_error *err) {
    *out = NULL;
    if (n_paths == 0) return ms_fail(err, MSIM_E_ARG, "corpus: no file or folder was given");
    msim_corpus *corpus = ms_alloc(1, sizeof *corpus, "corpus", err);
    if (!corpus) return -MSIM_E_MEMORY;
    int rc = MSIM_OK;
    for (size_t i = 0; rc >= 0 && i < n_paths; i++)
        rc = ms_parts_add(&corpus->files, paths[i], err);
    if (rc >= 0) {
        corpus->parts = ms_alloc(corpus->files.n, sizeof *corpus->parts, "corpus files", err);
        corpus->views = corpus->parts
                            ? ms_alloc(corpus->files.n, sizeof *corpus->views, "corpus files", err)
                            : NULL;
        if (!corpus->views) rc = -MSIM_E_MEMORY;
    }
    for (size_t i = 0; rc >= 0 && i < corpus->files.n; i++)
        rc = open_part(&corpus->parts[i], corpus->files.paths[i], names_path, err);
    if (rc >= 0) rc = join(corpus, err);
    if (rc >= 0) rc = ms_spans_open(&corpus->spans, err);
    if (rc >= 0) rc = ms_spans_open_bars(&corpus->bars, err);
    if (rc >= 0) rc = ms_whitened_open(&corpus->whitened, err);
    if (rc >= 0 && names_path) {
        rc = open_names(&corpus->names, names_path, corpus->info.rows,
                        n_paths > 1 ? "all files" : paths[0], err);
        corpus->info.has_names = corpus->has_names_file = rc >= 0;
    }
    if (rc < 0) {
        msim_corpus_close(corpus);
        return rc;
    }
    *out = corpus;
    return MSIM_OK;
}

int msim_corpus_open(const char *path, const char *names_path, msim_corpus **out, msim_error *err) {
    return msim_corpus_open_many(&path, 1, names_path, out, err);
}

/* Names in memory: where each begins, never before the one in front of it. */
static int check_memory_names(const int64_t *starts, int64_t n_rows, msim_error *err) {
    if (!starts)
        return ms_fail(err, MSIM_E_ARG, "corpus in memory: there are names, but no name_starts");
    for (int64_t i = 0; i < n_rows; i++)
        if (starts[i] < 0 || starts[i] > starts[i + 1])
            return ms_fail(err, MSIM_E_ARG,
                           "corpus in memory: name_starts[%" PRId64
                           "]: expected ascending numbers from 0, got %" PRId64 " and %" PRId64,
                           i, starts[i], starts[i + 1]);
    return MSIM_OK;
}

static int check_memory_rows(const float *rows, int64_t n_rows, int64_t dim, msim_error *err) {
    size_t n;
    if (dim < 1 || dim > MS_NPY_DIM_MAX)
        return ms_fail(err, MSIM_E_ARG,
                       "corpus in memory: expected rows of 1..%d components, got %" PRId64,
                       MS_NPY_DIM_MAX, dim);
    if (n_rows < 0 || (n_rows > 0 && !rows) ||
        !ms_mul_size((size_t)n_rows, (size_t)dim * sizeof *rows, &n))
        return ms_fail(err, MSIM_E_ARG, "corpus in memory: %" PRId64 " rows are not there", n_rows);
    return MSIM_OK;
}

int msim_corpus_open_rows(const float *rows, int64_t n_rows, int64_t dim, const char *names,
                          const int64_t *name_starts, msim_corpus **out, msim_error *err) {
    *out = NULL;
    int rc = check_memory_rows(rows, n_rows, dim, err);
    if (rc >= 0 && names) rc = check_memory_names(name_starts, n_rows, err);
    if (rc < 0) return rc;
    msim_corpus *corpus = ms_alloc(1, sizeof *corpus, "corpus", err);
    if (!corpus) return -MSIM_E_MEMORY;
    rc = ms_parts_add_name(&corpus->files, "memory", err);
    if (rc >= 0) corpus->parts = ms_alloc(1, sizeof *corpus->parts, "corpus in memory", err);
    if (corpus->parts) corpus->views = ms_alloc(1, sizeof *corpus->views, "corpus in memory", err);
    if (!corpus->views) {
        msim_corpus_close(corpus);
        return -MSIM_E_MEMORY;
    }
    corpus->parts[0].view = (ms_npy_view){.format = MSIM_FORMAT_PLAIN,
                                          .rows = {.base = (const unsigned char *)rows,
                                                   .row_bytes = (size_t)dim * sizeof *rows,
                                                   .n_rows = n_rows,
                                                   .dim = dim,
                                                   .dtype = MSIM_DTYPE_F32}};
    corpus->memory_names = names;
    corpus->memory_starts = name_starts;
    rc = join(corpus, err);
    corpus->info.has_names = names != NULL;
    snprintf(corpus->info.format, sizeof corpus->info.format, "memory");
    if (rc < 0)
        msim_corpus_close(corpus);
    else
        *out = corpus;
    return rc;
}

void msim_corpus_close(msim_corpus *corpus) {
    if (!corpus) return;
    for (size_t i = 0; corpus->parts && i < corpus->files.n; i++) {
        part *p = &corpus->parts[i];
        ms_npy_view_free(&p->view);
        ms_names_close(&p->names);
        ms_codes_close(&p->codes_file);
        ms_map_close(&p->map);
    }
    ms_names_close(&corpus->names);
    ms_spans_close(corpus->spans);
    ms_spans_close_bars(corpus->bars);
    ms_whitened_close(corpus->whitened);
    ms_free(corpus->views);
    ms_free(corpus->parts);
    ms_parts_free(&corpus->files);
    ms_free(corpus);
}

int msim_corpus_check(const msim_corpus *corpus, msim_error *err) {
    int rc = ms_map_check(&corpus->names.map, err);
    for (size_t i = 0; i < corpus->files.n && rc >= 0; i++) {
        const part *p = &corpus->parts[i];
        rc = ms_map_check(&p->map, err);
        if (rc >= 0) rc = ms_map_check(&p->names.map, err);
        if (rc >= 0) rc = ms_map_check(&p->codes_file.map, err);
    }
    return rc;
}

int msim_corpus_get_info(const msim_corpus *corpus, msim_corpus_info *out) {
    return ms_sized_out(out, &corpus->info, sizeof corpus->info);
}

int64_t msim_corpus_rows(const msim_corpus *corpus) { return corpus->info.rows; }

int64_t msim_corpus_parts(const msim_corpus *corpus) { return corpus->info.parts; }

const char *msim_corpus_part_path(const msim_corpus *corpus, int64_t index) {
    return index >= 0 && index < corpus->info.parts ? corpus->files.paths[index] : NULL;
}

int64_t msim_corpus_part_first(const msim_corpus *corpus, int64_t index) {
    if (index < 0 || index > corpus->info.parts) return -MSIM_E_ARG;
    return index < corpus->info.parts ? corpus->parts[index].first : corpus->info.rows;
}

int64_t msim_corpus_part_rows(const msim_corpus *corpus, int64_t index) {
    if (index < 0 || index >= corpus->info.parts) return -MSIM_E_ARG;
    return corpus->views[index].n_rows;
}

/* The file that holds a row of the corpus: the last whose first row is not behind it, which is
 * never an empty one. */
static size_t part_of(const msim_corpus *corpus, int64_t row) {
    size_t low = 0, high = corpus->files.n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (corpus->parts[middle].first <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static int64_t memory_name(const msim_corpus *corpus, int64_t row, char *buf, size_t cap) {
    size_t n = (size_t)(corpus->memory_starts[row + 1] - corpus->memory_starts[row]),
           kept = n < cap ? n : cap - 1;
    if (cap == 0) return (int64_t)n;
    if (kept) memcpy(buf, corpus->memory_names + corpus->memory_starts[row], kept);
    buf[kept] = 0;
    return (int64_t)n;
}

int64_t msim_corpus_name(const msim_corpus *corpus, int64_t row, char *buf, size_t cap) {
    if (row < 0 || row >= corpus->info.rows) return -MSIM_E_ARG;
    if (corpus->memory_names) return memory_name(corpus, row, buf, cap);
    if (corpus->has_names_file) return (int64_t)ms_names_get(&corpus->names, (size_t)row, buf, cap);
    const part *p = &corpus->parts[part_of(corpus, row)];
    if (p->view.name_kind) return (int64_t)ms_npy_view_name(&p->view, row - p->first, buf, cap);
    if (p->has_names_file)
        return (int64_t)ms_names_get(&p->names, (size_t)(row - p->first), buf, cap);
    return snprintf(buf, cap, "%" PRId64, row);
}

int msim_corpus_vector(const msim_corpus *corpus, int64_t row, float *out, msim_error *err) {
    if (row < 0 || row >= corpus->info.rows)
        return ms_fail(err, MSIM_E_ARG, "corpus row: expected 0..%" PRId64 ", got %" PRId64,
                       corpus->info.rows - 1, row);
    size_t index = part_of(corpus, row);
    const part *p = &corpus->parts[index];
    const ms_rows *rows = &p->view.rows;
    if (p->view.format == MSIM_FORMAT_FVECS) {
        int rc = ms_fvecs_check_row(&p->view, row - p->first, corpus->files.paths[index], err);
        if (rc < 0) return rc;
    }
    const unsigned char *at = ms_rows_at(rows, row - p->first);
    ptrdiff_t step = (ptrdiff_t)ms_dtype_bytes(rows->dtype);
    ms_row_to_f32(out, at, step, rows->dtype, (size_t)rows->dim);
    return MSIM_OK;
}

int64_t ms_corpus_part_of(const msim_corpus *corpus, int64_t row) {
    return (int64_t)part_of(corpus, row);
}

ms_spans *ms_corpus_spans(const msim_corpus *corpus) { return corpus->spans; }

ms_span_bars *ms_corpus_bars(const msim_corpus *corpus) { return corpus->bars; }

ms_whitened *ms_corpus_whitened(const msim_corpus *corpus) { return corpus->whitened; }

const ms_rows *ms_corpus_views(const msim_corpus *corpus, size_t *n_views) {
    *n_views = corpus->files.n;
    return corpus->views;
}

ms_codes_stamp ms_corpus_stamp(const msim_corpus *corpus, int64_t index) {
    const ms_map *map = &corpus->parts[index].map;
    return (ms_codes_stamp){.bytes = map->n_bytes, .time = map->changed};
}

void ms_corpus_set_codes(msim_corpus *corpus, int64_t index, const ms_codes_file *file) {
    part *p = &corpus->parts[index];
    ms_codes_close(&p->codes_file);
    p->codes_file = *file;
    corpus->views[index].codes = &p->codes_file.codes;
}
