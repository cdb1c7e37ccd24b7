/* A growing array of facts. Contract: pipeline/facts.h. */
#include "pipeline/facts.h"
#include "base/mem.h"

static const ms_fact unknown = {.tokens = -1, .notes = -1, .seconds = -1};

int ms_facts_note(ms_facts *f, uint32_t content, ms_fact fact, msim_error *err) {
    size_t n = (size_t)content + 1;
    if (!f->is_kept) return 0;
    int rc = ms_grow((void **)&f->items, &f->cap, n, sizeof *f->items, "facts of files", err);
    if (rc < 0) return rc;
    while (f->n < n) f->items[f->n++] = unknown;
    f->items[content] = fact;
    return 0;
}

ms_fact ms_facts_get(const ms_facts *f, uint32_t content) {
    return content < f->n ? f->items[content] : unknown;
}

void ms_facts_close(ms_facts *f) {
    ms_free(f->items);
    *f = (ms_facts){0};
}
