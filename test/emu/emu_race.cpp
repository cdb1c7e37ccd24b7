/* Who accessed which byte of shared memory, and which block which byte of device memory; empty unless built with
 * EMU_RACE. */
#include "emu.h"

namespace emu {

#if !defined(EMU_RACE)
void race_begin_launch() {}
void race_begin_block() {}
void race_begin_array(size_t, size_t) {}
void race_block_barrier() {}
void race_warp_barrier(unsigned) {}
void race_shared(const void *, size_t, bool, bool, Place) {}
void race_global(const void *, size_t, bool, bool, Place) {}
void race_global_reset(const void *, size_t) {}
#endif

} // namespace emu
