/* What the emulator's own files share: the running block, places, failures, memory of devices, the
 * race checks.
 *
 * One launch runs at a time, in the host thread that waits for it, under the lock of
 * emu_stream.cpp; what is declared here without a word on threads is used under that lock. Kernels
 * own nothing and never unwind: the first broken rule ends the process. */
#ifndef EMU_H
#define EMU_H
#include "emu_prim.h"

namespace emu {

struct Place {
    const char *file;
    int line;
};

enum { LANES = 32, MAX_THREADS = 1024, MAX_WARPS = 32, EXIT_CODE = 86 };

/* ---- emu_report.cpp ---- */

/* One line on stderr, with kernel, place, block and thread where a kernel is running; exit code
 * EXIT_CODE. */
[[noreturn]] void fail(Place at, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for an instruction address. */
[[noreturn]] void fail_at_code(const void *code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A number from the environment, with suffix K, M or G. */
uint64_t setting(const char *name, uint64_t otherwise);
/* splitmix64 of one state. */
uint64_t next_random(uint64_t *state);
uint64_t seed();
/* Report a bad address of a kernel, for this host thread. */
void watch_faults();

/* ---- emu_block.cpp: fibers and barriers ---- */

enum Waiting { RUNS, AT_WARP, AT_BLOCK, ENDED };

struct Lane {
    EmuHere here; /* first: what threadIdx and co. read */
    void *stack_pointer;
    unsigned index; /* in the block; its warp is index / 32 */
    Waiting state;
    Place at; /* where it waits */
};

struct Warp {
    uint32_t all, ready, arrived; /* lanes it began with; that could run; that wait for the
                                   * operation */
    uint32_t ended;
    int kind;
    Place at; /* of the operation */
    void *operands[LANES];
};

extern Lane *now;              /* the running lane, NULL outside kernels */
extern const EmuCall *running; /* the launch, NULL outside kernels */
extern Warp warps[MAX_WARPS];
extern Lane lanes[MAX_THREADS];
extern unsigned n_threads;

/* Run every block of a launch. */
void run_launch(const EmuCall *call, dim3 grid, dim3 block, size_t shared_bytes, int device);
/* An operation of the whole warp: leaves `operand` for the last lane, which carries out `work` for
 * all of them. Returns when it is done. kind: one number for each operation. */
void with_warp(int kind, void *operand, Place at, void (*work)(Warp *warp));
/* Whether an address lies in a fiber's stack. */
bool on_stacks(const void *p);

/* ---- emu_warp.cpp ---- */

/* Rows of one 8 x 8 matrix of ldmatrix that share a bank with an earlier row of it, since the
 * process began. */
uint64_t bank_conflicts();
uint64_t attribute_calls(); /* of cudaFuncSetAttribute */

/* ---- emu_shared.cpp: shared memory and copies to it ---- */

void shared_begin_launch(size_t shared_bytes);
void shared_begin_block();
void shared_end_block();
void shared_end_launch();
/* Reads and writes of shared memory by the emulator in a lane's name. */
void check_shared(const void *p, size_t n_bytes, const char *what, Place at);
bool in_arena(const void *p);
/* "byte 12 of the array of 4096 bytes made at FILE:LINE", for messages. */
const char *describe_shared(const void *p);
/* The first of these bytes that is being copied and not waited for, or NULL; and that as a
 * failure. */
const void *first_in_flight(const void *p, size_t n_bytes);
void check_landed(const void *p, size_t n_bytes, Place at);
/* Copies that the lane did not wait for. */
void lane_ended(Lane *lane);

/* ---- emu_memory.cpp: memory of devices ---- */

/* Whether [p, p + n_bytes) lies in one allocation of `device` (-1: of any). */
bool in_device_memory(const void *p, size_t n_bytes, int device);
bool in_device_range(const void *p);
size_t device_offset(const void *p); /* in that range */
size_t device_range_bytes();
/* For messages: the nearest allocation. */
const char *describe_device(const void *p);
void check_global(const void *p, size_t n_bytes, const char *what, Place at);
/* Guard bytes behind allocations: overwritten is a failure that names `kernel`'s place. */
void check_guards(int device);
extern int running_device;

/* ---- emu_race.cpp: who accessed which byte when (empty unless built with EMU_RACE) ---- */

enum { ARENA_BYTES = 1 << 20 };
extern unsigned char *arena;
/* A failure is being told: nothing is checked any more (the library's templates may be the kernels'
 * copies). */
void race_stop();
void race_begin_launch();
void race_begin_block();
void race_begin_array(size_t offset, size_t n_bytes);
void race_block_barrier();
void race_warp_barrier(unsigned warp);
/* In the name of the running lane. */
void race_shared(const void *p, size_t n_bytes, bool is_write, bool is_atomic, Place at);
void race_global(const void *p, size_t n_bytes, bool is_write, bool is_atomic, Place at);
/* The host's or a stream's work wrote these bytes (none: of an allocation that is new). */
void race_global_reset(const void *p, size_t n_bytes);

} // namespace emu

#endif
