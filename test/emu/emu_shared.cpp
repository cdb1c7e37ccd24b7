/* Shared memory of the running block: one arena, in which each array of a kernel begins at a
 * multiple of 1024 and is followed by guard bytes, so nothing may rely on neighbours. It begins as
 * 0xff (NaN in bf16 and f32). Copies that do not wait (cp.async) fill their target with 0xff until
 * the wait that delivers them.
 *
 * Checked in every build: more carved than the launch asked for, guard bytes overwritten, copies
 * misaligned, out of an array, overlapping, or never waited for. */
#include <algorithm>
#include <cstdio>
#include <vector>

#include "emu.h"

#if defined(EMU_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace emu {

alignas(4096) static unsigned char arena_bytes[ARENA_BYTES];
unsigned char *arena = arena_bytes;

namespace {

enum { ARRAY_ALIGN = 1024, GUARD = 64, GUARD_BYTE = 0xfd, POISON = 0xff };

struct Array {
    const void *site;       /* of SHARED_VAR; NULL: carved */
    size_t key;             /* carved: offset in the launch's dynamic memory */
    size_t offset, n_bytes; /* in the arena */
    Place at;
};
std::vector<Array> arrays; /* of this launch, ascending offset */
size_t arena_used, dynamic_bytes, static_bytes;

struct Copy {
    unsigned char *to;
    const unsigned char *from;
    int n_bytes;
    unsigned group;
    Place at;
};
struct Copies {
    std::vector<Copy> queue;
    unsigned group; /* that copies join now */
};
Copies copies[MAX_THREADS];
unsigned char in_flight[ARENA_BYTES / 16];

void fill(const Array &a) { memset(arena + a.offset, POISON, a.n_bytes); }

size_t end_of(const Array &a) {
    return (a.offset + a.n_bytes + GUARD + ARRAY_ALIGN - 1) / ARRAY_ALIGN * ARRAY_ALIGN;
}

unsigned char *add(const void *site, size_t key, size_t n_bytes, Place at) {
    Array a = {site, key, arena_used, n_bytes, at};
    size_t end = end_of(a);
    if (end > ARENA_BYTES) fail(at, "more shared memory than the emulator has");
    ASAN_UNPOISON_MEMORY_REGION(arena + a.offset, end - a.offset);
    fill(a);
    memset(arena + a.offset + n_bytes, GUARD_BYTE, end - a.offset - n_bytes);
    ASAN_POISON_MEMORY_REGION(arena + a.offset + n_bytes, end - a.offset - n_bytes);
    arena_used = end;
    arrays.push_back(a);
    race_begin_array(a.offset, n_bytes);
    return arena + a.offset;
}

const Array *array_of(const void *p) {
    static size_t last;
    size_t offset = (size_t)((const unsigned char *)p - arena);
    if (last < arrays.size() && offset - arrays[last].offset < arrays[last].n_bytes)
        return &arrays[last];
    for (size_t i = 0; i < arrays.size(); i++)
        if (offset - arrays[i].offset < arrays[i].n_bytes) return &arrays[last = i];
    return nullptr;
}

/* The lane's copies of groups older than `before` land. */
void deliver(unsigned before) {
    Copies *c = &copies[now->index];
    auto left = c->queue.begin();
    for (auto it = c->queue.begin(); it != c->queue.end(); ++it) {
        if ((int)(it->group - before) >= 0) {
            *left++ = *it;
            continue;
        }
        in_flight[(it->to - arena) / 16] = 0;
        if (it->n_bytes) race_global(it->from, (size_t)it->n_bytes, false, false, it->at);
        race_shared(it->to, 16, true, false, it->at);
        memcpy(it->to, it->from, (size_t)it->n_bytes);
        memset(it->to + it->n_bytes, 0, 16 - (size_t)it->n_bytes);
    }
    c->queue.erase(left, c->queue.end());
}

} // namespace

void shared_begin_launch(size_t shared_bytes) {
    arrays.clear();
    arena_used = 0;
    static_bytes = 0;
    dynamic_bytes = shared_bytes;
    ASAN_POISON_MEMORY_REGION(arena, ARENA_BYTES);
}

void shared_begin_block() {
    race_begin_block();
    for (const Array &a : arrays) {
        fill(a);
        race_begin_array(a.offset, a.n_bytes);
    }
    for (unsigned i = 0; i < n_threads; i++) copies[i].group = 0;
}

void shared_end_block() {
    for (const Array &a : arrays) {
        size_t from = a.offset + a.n_bytes, end = end_of(a);
        ASAN_UNPOISON_MEMORY_REGION(arena + from, end - from);
        for (size_t i = from; i < end; i++) {
            if (arena[i] == GUARD_BYTE) continue;
            now = &lanes[0];
            fail(a.at,
                 "written behind the shared array of %zu bytes made here: byte %zu (seen at the "
                 "block's end)",
                 a.n_bytes, i - a.offset);
        }
        ASAN_POISON_MEMORY_REGION(arena + from, end - from);
    }
}

void shared_end_launch() { ASAN_UNPOISON_MEMORY_REGION(arena, ARENA_BYTES); }

bool in_arena(const void *p) { return (size_t)((const unsigned char *)p - arena) < ARENA_BYTES; }

const char *describe_shared(const void *p) {
    static char text[256];
    size_t offset = (size_t)((const unsigned char *)p - arena);
    const Array *best = nullptr;
    for (const Array &a : arrays)
        if (a.offset <= offset && (!best || a.offset > best->offset)) best = &a;
    if (!best) return "no shared array";
    const char *slash = strrchr(best->at.file, '/');
    snprintf(text, sizeof text, "byte %zu of the shared array of %zu bytes of %s:%d",
             offset - best->offset, best->n_bytes, slash ? slash + 1 : best->at.file,
             best->at.line);
    return text;
}

void check_shared(const void *p, size_t n_bytes, const char *what, Place at) {
    if (!in_arena(p)) fail(at, "%s: an address that is not in shared memory", what);
    const Array *a = array_of(p);
    if (!a || (size_t)((const unsigned char *)p - arena) - a->offset + n_bytes > a->n_bytes)
        fail(at, "%s: %zu bytes from %s", what, n_bytes, describe_shared(p));
}

const void *first_in_flight(const void *p, size_t n_bytes) {
    size_t first = (size_t)((const unsigned char *)p - arena) / 16;
    size_t last = ((size_t)((const unsigned char *)p - arena) + n_bytes - 1) / 16;
    for (size_t i = first; i <= last; i++)
        if (in_flight[i]) return arena + i * 16;
    return nullptr;
}

void check_landed(const void *p, size_t n_bytes, Place at) {
    if (const void *late = first_in_flight(p, n_bytes))
        fail(at, "%s is still being copied (cp_async16 not waited for)", describe_shared(late));
}

void lane_ended(Lane *lane) {
    const Copies &c = copies[lane->index];
    if (!c.queue.empty())
        fail(c.queue[0].at, "ended with %zu copies that nobody waited for", c.queue.size());
}

} // namespace emu

using namespace emu;

extern "C" void *emu_carve(size_t offset, size_t n_bytes, const char *file, int line) {
    Place at = {file, line};
    if (offset + n_bytes > dynamic_bytes)
        fail(at, "carved %zu bytes of shared memory, and the launch asked for %zu",
             offset + n_bytes, dynamic_bytes);
    for (const Array &a : arrays) {
        if (a.site) continue;
        if (a.key == offset && a.n_bytes == n_bytes) return arena + a.offset;
        if (n_bytes && offset < a.key + a.n_bytes && a.key < offset + n_bytes)
            fail(at, "carved over the array of %s:%d: view one array as two types instead",
                 a.at.file, a.at.line);
    }
    if (!n_bytes) return arena + ARENA_BYTES - ARRAY_ALIGN;
    return add(nullptr, offset, n_bytes, at);
}

extern "C" void *emu_shared_var(const void *site, size_t n_bytes, const char *file, int line) {
    for (const Array &a : arrays)
        if (a.site == site) return arena + a.offset;
    static_bytes += n_bytes;
    if (static_bytes > 48 * 1024) fail({file, line}, "more than 48 KiB of SHARED_VAR");
    return add(site, 0, n_bytes, {file, line});
}

extern "C" uint32_t emu_shared_address(const void *p) {
    return (uint32_t)((const unsigned char *)p - arena);
}

extern "C" void emu_cp_async16(void *to, const void *from, int n_bytes, const char *file,
                               int line) {
    Place at = {file, line};
    if ((uintptr_t)to % 16) fail(at, "cp_async16: target not a multiple of 16");
    if ((uintptr_t)from % 16) fail(at, "cp_async16: source not a multiple of 16");
    if (n_bytes < 0 || n_bytes > 16) fail(at, "cp_async16: expected 0..16 bytes, got %d", n_bytes);
    check_shared(to, 16, "cp_async16", at);
    if (n_bytes) check_global(from, (size_t)n_bytes, "cp_async16", at);
    check_landed(to, 16, at);
    race_shared(to, 16, true, false, at);
    in_flight[((unsigned char *)to - arena) / 16] = 1;
    memset(to, POISON, 16);
    Copies *c = &copies[now->index];
    c->queue.push_back({(unsigned char *)to, (const unsigned char *)from, n_bytes, c->group, at});
}

extern "C" void emu_cp_commit(const char *, int) { copies[now->index].group++; }

extern "C" void emu_cp_wait(int newest, const char *, int) {
    Copies *c = &copies[now->index];
    deliver(c->group - (unsigned)newest);
}
