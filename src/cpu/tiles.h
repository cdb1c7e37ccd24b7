/* Whether this process may use the tile registers of AMX. Linux keeps them from a process until it
 * asks (Documentation/arch/x86/xstate.rst): a thread's saved state then grows by 8 KiB. */
#ifndef MS_CPU_TILES_H
#define MS_CPU_TILES_H

enum ms_tiles {
    MS_TILES_NONE,    /* this CPU, or this build's architecture, has none */
    MS_TILES_REFUSED, /* the CPU has them, and the operating system or a sandbox says no */
    MS_TILES_GRANTED  /* to all threads of this process, for its life */
};

/* Asks the CPU, and then the kernel for permission, which it keeps. Asking again costs a system
 * call and changes nothing. */
int ms_tiles_state(void);

#endif
