# midisim: a C library and its tools. `make` builds, `make demo` and `make test` set up what they need first.
#   CONFIG=release|asan   CC, CFLAGS, LDFLAGS honoured   PREFIX, DESTDIR for install
CONFIG  ?= release
PREFIX  ?= /usr/local
B       := build/$(CONFIG)
VERSION := $(shell sed -n 's/^\#define MSIM_VERSION "\(.*\)"/\1/p' include/midisim.h)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
# -ffp-contract=off: a fused multiply-add where the source has two operations would change tokens (docs/PITFALLS.md).
OURS    := -std=gnu11 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno $(WARN) -Iinclude -Isrc -DMSIM_BUILD
LIBS    := -lz -lcjson -lcrypto -lm -pthread
ifeq ($(CONFIG),asan)
OURS    += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif
ifdef WERROR
OURS    += -Werror
endif

LIB_SRC  := $(sort $(wildcard src/*.c src/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$B/%.o)
TOOLS    := tokens embed search convert
TOOL_BIN := $(TOOLS:%=$B/midisim-%)
TOOL_COMMON := $(patsubst %.c,$B/%.o,$(filter-out $(TOOLS:%=tools/%.c),$(sort $(wildcard tools/*.c))))
TEST_SRC := $(sort $(wildcard test/unit/test_*.c test/kern/test_*.c))
TEST_BIN := $(TEST_SRC:test/%.c=$B/test/%)

.PHONY: all
all: $B/libmidisim.a $B/libmidisim.so.$(MAJOR) $(TOOL_BIN)

# One instruction set a file; nothing else may hold wide code.
$B/src/cpu/kern_avx2.o: ISA := -mavx2 -mfma -mf16c

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(OURS) $(CFLAGS) $(ISA) -MMD -MP -c $< -o $@

# Tests and tools link the internal archive; the installed ones show msim_ symbols alone.
$B/libmidisim-internal.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$B/libmidisim.a: $(LIB_OBJ)
	$(LD) -r -o $B/midisim-all.o $^
	objcopy --localize-hidden $B/midisim-all.o
	@rm -f $@
	$(AR) rcs $@ $B/midisim-all.o

$B/libmidisim.so.$(MAJOR): $(LIB_OBJ)
	$(CC) $(OURS) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libmidisim.so.$(MAJOR) -Wl,--no-undefined -o $@ $^ $(LIBS)

$B/tools/cli.o $B/tools/help.o: CPPFLAGS += -DMSIM_COMMIT='"$(COMMIT)"' -DMSIM_PREFIX='"$(PREFIX)"'

$B/midisim-%: $B/tools/%.o $(TOOL_COMMON) $B/libmidisim-internal.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$B/test/%: $B/test/%.o $B/libmidisim-internal.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

.PHONY: unit
unit: $(TEST_BIN)
	@for t in $(TEST_BIN); do echo "== $$t"; $$t || exit 1; done

.PHONY: clean
clean:
	rm -rf build

.SECONDARY:
-include $(LIB_OBJ:.o=.d) $(TOOL_COMMON:.o=.d) $(TOOL_BIN:$B/midisim-%=$B/tools/%.d) $(TEST_BIN:=.d)
