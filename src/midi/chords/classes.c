/* The table of all sets of pitch classes: see classes.h. */
#include "midi/chords/classes.h"
#include <pthread.h>
#include <stdbool.h>

static ms_class_set table[MS_CLASS_SETS];
static pthread_once_t is_made = PTHREAD_ONCE_INIT;

static int lowest(unsigned set) { return __builtin_ctz(set); }
static int highest(unsigned set) { return 31 - __builtin_clz(set); }
static int count(unsigned set) { return __builtin_popcount(set); }

/* Of two sets of one size, the one that comes first in lexicographic order of ascending classes:
 * where they first differ, it has the lower class. */
static bool is_before(unsigned a, unsigned b) { return a != b && (a >> lowest(a ^ b) & 1); }

static bool is_listed(unsigned set) {
    const unsigned neighbours = set << 1 | set >> 11; /* bit 12 is left over */
    return set && !(set & neighbours);
}

static bool is_listed_before(unsigned a, unsigned b) {
    if (lowest(a) != lowest(b)) return lowest(a) < lowest(b);
    if (highest(a) != highest(b)) return highest(a) < highest(b);
    if (count(a) != count(b)) return count(a) < count(b);
    return is_before(a, b);
}

/* A set that is not listed lacks at least one class of itself, and smaller sets are done: so it has
 * the best of the sets without one of its classes. */
static unsigned repair(unsigned set) {
    unsigned best = 0;
    if (is_listed(set)) return set;
    for (unsigned left = set; left; left &= left - 1) {
        const unsigned part = table[set & ~(left & -left)].kept;
        if (!best || count(part) > count(best) ||
            (count(part) == count(best) && is_before(part, best)))
            best = part;
    }
    return best;
}

static void make_table(void) {
    uint16_t list[MS_CHORDS_LISTED], n = 0;
    for (unsigned set = 1; set < MS_CLASS_SETS; set++) {
        table[set].kept = (uint16_t)repair(set);
        if (!is_listed(set)) continue;
        uint16_t at = n++;
        for (; at > 0 && is_listed_before(set, list[at - 1]); at--) list[at] = list[at - 1];
        list[at] = (uint16_t)set;
    }
    for (uint16_t i = 0; i < n; i++) table[list[i]].index = i;
    for (unsigned set = 1; set < MS_CLASS_SETS; set++)
        table[set].index = table[table[set].kept].index;
}

const ms_class_set *ms_class_sets(void) {
    (void)pthread_once(&is_made, make_table);
    return table;
}
