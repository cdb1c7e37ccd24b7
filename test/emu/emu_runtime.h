/* What the fake CUDA runtime's files share (emu_memory.cpp, emu_stream.cpp, emu_api.cpp). */
#ifndef EMU_RUNTIME_H
#define EMU_RUNTIME_H
#include <memory>
#include <mutex>
#include <vector>

#include "emu.h"

namespace emu {

enum { MAX_DEVICES = 16 };

extern std::recursive_mutex lock; /* held by every call of the runtime */

/* ---- emu_memory.cpp ---- */

size_t memory_limit();
size_t memory_free(int device);
/* NULL: no room. */
void *memory_take(int device, size_t n_bytes);
bool memory_give(void *p);
size_t memory_count();
/* Device of the allocation that holds p, or -1. */
int device_of(const void *p);
/* While one lives, device memory can be touched. */
struct Open {
    Open();
    ~Open();
};

/* ---- emu_stream.cpp ---- */

/* A point in a stream. */
struct Mark {
    bool reached = false;
    double seconds = 0;
};

struct Work {
    enum { COPY, FILL, LAUNCH, RECORD, WAIT } kind;
    void *to;
    const void *from;
    size_t n_bytes;
    int byte;
    std::unique_ptr<EmuCall> call;
    dim3 grid, block;
    size_t shared_bytes;
    std::shared_ptr<Mark> mark;
};

bool is_stream(EmuStream *s); /* NULL is one: the current device's */
int stream_device(EmuStream *s);
EmuStream *stream_new(int device);
void stream_delete(EmuStream *s);
void stream_put(EmuStream *s, Work &&work);
/* Run all that is in it. */
void stream_drain(EmuStream *s);
void device_drain(int device);
/* Whether it is empty; may run a piece. */
bool stream_poll(EmuStream *s);
size_t streams_open();

bool is_event(EmuEvent *e);
int event_device(EmuEvent *e);
EmuEvent *event_new(int device);
void event_delete(EmuEvent *e);
void event_record(EmuEvent *e, EmuStream *s);
void event_hold(EmuStream *s, EmuEvent *e);
void event_drain(EmuEvent *e);
bool event_poll(EmuEvent *e);
const Mark *event_mark(EmuEvent *e); /* NULL: never recorded */
size_t events_open();

/* ---- emu_api.cpp ---- */

/* Of the calling host thread. */
int current_device();

} // namespace emu

#endif
