/* Races, exactly: who accessed which byte of shared or device memory, and when. Only where built
 * with EMU_RACE; kernels are then compiled with -fsanitize=thread, linked without its library, and
 * the functions that it calls are here. So every access is seen, copies of structs included,
 * without a change to the kernels; memcpy and memset of sizes that are not constants are not seen.
 *
 * Time is one clock for a block, advanced by its barriers. Two accesses by different threads are
 * ordered when the earlier is older than the last barrier of the block or, within a warp, of the
 * warp. Shuffles, votes, ldmatrix and mma order nothing. Accesses of different blocks of one launch
 * are never ordered. A byte of shared memory that its block has not written must not be read, nor a
 * byte of device memory that nothing has written (EMU_INIT=0: allowed). */
#include "emu_runtime.h"

#if !defined(EMU_RACE)

namespace emu {
void race_stop() {}
void race_begin_launch() {}
void race_begin_block() {}
void race_begin_array(size_t, size_t) {}
void race_block_barrier() {}
void race_warp_barrier(unsigned) {}
void race_shared(const void *, size_t, bool, bool, Place) {}
void race_global(const void *, size_t, bool, bool, Place) {}
void race_global_reset(const void *, size_t) {}
} // namespace emu

#else
#include <cstdio>
#include <sys/mman.h>

extern "C" char __executable_start, _end;

namespace emu {

namespace {

/* An access: bits 0..9 thread, 10 several lanes of a warp, 11 atomic, 12..31 time. 0: none. */
const uint32_t THREAD = 1023, SEVERAL = 1024, ATOMIC = 2048, TIME_SHIFT = 12, LATEST = 1u << 20;
/* What a byte of shared memory is. */
enum : unsigned char { IN_ARRAY = 1, WRITTEN = 2 };
/* Blocks are numbered through all launches, from 2; 1 is the host and the copies of streams. */
const uint32_t HOST = 1;

/* other: of another warp than last */
uint32_t last_write[ARENA_BYTES], last_read[ARENA_BYTES], other_read[ARENA_BYTES];
unsigned char state[ARENA_BYTES];
uint32_t clock_now, block_barrier, warp_barrier[MAX_WARPS];
bool stopped;
uint32_t block_number = HOST, first_of_launch;

/* The same for device memory, with the block's number in bits 32..62 and bit 63 for several blocks:
 * 16 bytes for each byte, at the same offset. */
const uint64_t BLOCKS = (uint64_t)1 << 63;
struct Shadow {
    uint64_t write, read;
};
Shadow *shadow;

struct Where {
    const void *code; /* NULL: at */
    Place at;
};

template <typename... A> [[noreturn]] void report(const Where &w, const char *format, A... args) {
    if (w.code) fail_at_code((const char *)w.code - 1, format, args...);
    fail(w.at, format, args...);
}

uint32_t stamp(uint32_t more) { return clock_now << TIME_SHIFT | more | now->index; }

/* By a barrier between then and now, for the running thread. */
bool ordered(uint32_t a) {
    uint32_t time = a >> TIME_SHIFT;
    return time < block_barrier ||
           ((a & THREAD) / LANES == now->index / LANES && time < warp_barrier[now->index / LANES]);
}

bool conflicts(uint32_t a) {
    return a && ((a & THREAD) != now->index || (a & SEVERAL)) && !ordered(a);
}

/* Of the same warp as the running thread and not ordered, by more than this thread. */
uint32_t joined(uint32_t a) {
    return a && (a & THREAD) / LANES == now->index / LANES && conflicts(a) ? SEVERAL : 0;
}

void start_clock() {
    memset(last_write, 0, sizeof last_write);
    memset(last_read, 0, sizeof last_read);
    memset(other_read, 0, sizeof other_read);
    memset(warp_barrier, 0, sizeof warp_barrier);
    clock_now = block_barrier = 1;
}

void tick() {
    if (++clock_now == LATEST)
        fail(now ? now->at : Place{"emu_race.cpp", 0},
             "too many barriers in one block to keep count");
}

const char *verb(bool is_write, bool is_atomic) {
    return is_atomic ? "atomic operation on" : is_write ? "write of" : "read of";
}

[[noreturn]] void shared_race(size_t i, uint32_t other, const char *did, bool is_write,
                              bool is_atomic, const Where &where) {
    report(where, "race: %s %s, which thread %u%s %s with no barrier since",
           verb(is_write, is_atomic), describe_shared(arena + i), other & THREAD,
           other & SEVERAL ? " and others" : "", did);
}

void shared_access(size_t first, size_t n_bytes, bool is_write, bool is_atomic,
                   const Where &where) {
    for (size_t i = first; i < first + n_bytes; i++) {
        if (!(state[i] & IN_ARRAY))
            report(where, "%s %s", verb(is_write, is_atomic), describe_shared(arena + i));
        if ((!is_write || is_atomic) && !(state[i] & WRITTEN))
            report(where, "%s %s, which this block has not written", verb(is_write, is_atomic),
                   describe_shared(arena + i));
        uint32_t w = last_write[i];
        if (conflicts(w) && !(is_atomic && (w & ATOMIC)))
            shared_race(i, w, w & ATOMIC ? "changed atomically" : "wrote", is_write, is_atomic,
                        where);
        if (is_write) {
            if (conflicts(last_read[i]))
                shared_race(i, last_read[i], "read", true, is_atomic, where);
            if (conflicts(other_read[i]))
                shared_race(i, other_read[i], "read", true, is_atomic, where);
            last_write[i] =
                stamp((is_atomic ? ATOMIC : 0) | (is_atomic && conflicts(w) ? SEVERAL : 0));
            state[i] |= WRITTEN;
        } else {
            uint32_t r = last_read[i], several = joined(r) | joined(other_read[i]);
            if (conflicts(r) && (r & THREAD) / LANES != now->index / LANES) other_read[i] = r;
            last_read[i] = stamp(several);
        }
    }
}

uint32_t block_of(uint64_t a) { return (uint32_t)((a & ~BLOCKS) >> 32); }
uint64_t global_stamp(uint64_t more) { return (uint64_t)block_number << 32 | stamp(0) | more; }
bool of_another_block(uint64_t a) {
    return block_of(a) >= first_of_launch && (block_of(a) != block_number || (a & BLOCKS));
}

/* Whether an earlier access is of this launch and not ordered before this one. */
bool global_conflicts(uint64_t a) {
    return block_of(a) >= first_of_launch && (of_another_block(a) || conflicts((uint32_t)a));
}

/* What of an earlier access of the same kind stays, when the newer one takes its place. */
uint64_t kept(uint64_t a) {
    return (of_another_block(a) ? BLOCKS : 0) |
           (block_of(a) == block_number && conflicts((uint32_t)a) ? SEVERAL : 0);
}

[[noreturn]] void global_race(const void *p, uint64_t other, const char *did, bool is_write,
                              bool is_atomic, const Where &where) {
    char who[64];
    bool another = of_another_block(other);
    snprintf(who, sizeof who, another ? "another block's thread %u" : "thread %u",
             (uint32_t)other & THREAD);
    report(where, "race: %s %s, which %s %s%s", verb(is_write, is_atomic), describe_device(p), who,
           did, another ? "" : " with no barrier since");
}

bool must_be_written() {
    static const bool yes = setting("EMU_INIT", 1) != 0;
    return yes;
}

void global_access(const unsigned char *p, size_t n_bytes, bool is_write, bool is_atomic,
                   const Where &where) {
    if (!in_device_memory(p, n_bytes, running_device))
        report(where, "%s %s, which is not memory of device %d", verb(is_write, is_atomic),
               describe_device(in_device_memory(p, 1, running_device) ? p + n_bytes - 1 : p),
               running_device);
    for (Shadow *s = shadow + device_offset(p); n_bytes; n_bytes--, s++, p++) {
        if ((!is_write || is_atomic) && !s->write && must_be_written())
            report(where, "%s %s, which nothing has written", verb(is_write, is_atomic),
                   describe_device(p));
        if (global_conflicts(s->write) && !(is_atomic && (s->write & ATOMIC)))
            global_race(p, s->write, s->write & ATOMIC ? "changed atomically" : "wrote", is_write,
                        is_atomic, where);
        if (!is_write) {
            s->read = global_stamp(kept(s->read));
            continue;
        }
        if (global_conflicts(s->read)) global_race(p, s->read, "read", true, is_atomic, where);
        s->write = global_stamp(is_atomic ? ATOMIC | kept(s->write) : 0);
    }
}

/* An access that the compiler has announced. */
inline void access(const void *p, size_t n_bytes, bool is_write, const void *code,
                   size_t align = 1) {
    if (stopped) return;
    if (!on_stacks(__builtin_frame_address(0))) {
        if (in_device_range(p))
            fail_at_code((const char *)code - 1, "the host touched %s", describe_device(p));
        return;
    }
    if ((uintptr_t)p % align && (in_arena(p) || in_device_range(p)))
        fail_at_code((const char *)code - 1, "%s %zu bytes at %s, which is not aligned",
                     verb(is_write, false), n_bytes,
                     in_arena(p) ? describe_shared(p) : describe_device(p));
    if (in_arena(p)) {
        size_t first = (size_t)((const unsigned char *)p - arena);
        if (first + n_bytes > ARENA_BYTES) n_bytes = ARENA_BYTES - first;
        if (const void *late = first_in_flight(p, n_bytes))
            fail_at_code((const char *)code - 1,
                         "%s %s, which is still being copied (cp_async16 not waited for)",
                         verb(is_write, false), describe_shared(late));
        shared_access(first, n_bytes, is_write, false, {code, {}});
    } else if (in_device_range(p)) {
        global_access((const unsigned char *)p, n_bytes, is_write, false, {code, {}});
    } else if (!on_stacks(p) &&
               ((const char *)p < &__executable_start || (const char *)p >= &_end) &&
               (size_t)((const char *)p - (const char *)running) >= running->n_bytes) {
        fail_at_code((const char *)code - 1, "%s memory of the host", verb(is_write, false));
    }
}

} // namespace

void race_stop() { stopped = true; }

void race_begin_launch() {
    if (clock_now == 0) start_clock();
    memset(state, 0, sizeof state);
    first_of_launch = block_number + 1;
}

void race_begin_block() {
    if (clock_now > LATEST / 2) start_clock();
    block_number++;
    block_barrier = ++clock_now;
}

void race_begin_array(size_t offset, size_t n_bytes) { memset(state + offset, IN_ARRAY, n_bytes); }

void race_block_barrier() {
    tick();
    block_barrier = clock_now;
}

void race_warp_barrier(unsigned warp) {
    tick();
    warp_barrier[warp] = clock_now;
}

void race_shared(const void *p, size_t n_bytes, bool is_write, bool is_atomic, Place at) {
    shared_access((size_t)((const unsigned char *)p - arena), n_bytes, is_write, is_atomic,
                  {nullptr, at});
}

void race_global(const void *p, size_t n_bytes, bool is_write, bool is_atomic, Place at) {
    global_access((const unsigned char *)p, n_bytes, is_write, is_atomic, {nullptr, at});
}

void race_global_reset(const void *p, size_t n_bytes) {
    if (!shadow) {
        void *all = mmap(nullptr, device_range_bytes() * sizeof(Shadow), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all == MAP_FAILED)
            fail({"emu_race.cpp", __LINE__}, "no address space for the shadow of device memory");
        shadow = (Shadow *)all;
    }
    Shadow *s = shadow + device_offset(p);
    for (size_t i = 0; i < n_bytes; i++) s[i] = {(uint64_t)HOST << 32, 0};
}

} // namespace emu

/* What -fsanitize=thread calls. */
#define EMU_ACCESS(name, n, is_write, align) \
    void __tsan_##name(void *p) { emu::access(p, n, is_write, __builtin_return_address(0), align); }
#define EMU_ACCESSES(n)              \
    EMU_ACCESS(read##n, n, false, n) \
    EMU_ACCESS(write##n, n, true, n) \
    EMU_ACCESS(unaligned_read##n, n, false, 1) EMU_ACCESS(unaligned_write##n, n, true, 1)
extern "C" {
EMU_ACCESSES(1)
EMU_ACCESSES(2)
EMU_ACCESSES(4)
EMU_ACCESSES(8)
EMU_ACCESSES(16)
void __tsan_read_range(void *p, size_t n) { emu::access(p, n, false, __builtin_return_address(0)); }
void __tsan_write_range(void *p, size_t n) { emu::access(p, n, true, __builtin_return_address(0)); }
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void *, void *) {}
void __tsan_vptr_read(void *) {}
}
#endif
