# What a user gets, included by the Makefile: make install, install-strip, uninstall, deb, dist, wheel.
#   PREFIX (/usr/local), LIBDIR (PREFIX/lib), DESTDIR (a folder to install into instead of /): blanks are fine in each
#   RUNPATH: where installed tools look for libmidisim.so first (default: LIBDIR as seen from the tools' folder)
#   MODEL=0: without the small model, which is installed where weights/fetch.sh has put it
# The tools of the build tree are static, so they run from there; installed ones share libmidisim.so.
LIBDIR  ?= $(PREFIX)/lib
MODEL   ?= 1
# Where the linker looks by itself, a path of one's own would only be in the way. $(subst) leaves blanks as they are.
SYSTEM_LIBDIRS := /lib /usr/lib /usr/lib64 /lib64 /usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null)
RUNPATH ?= $(if $(filter $(SYSTEM_LIBDIRS),$(LIBDIR)),,$(subst ^,,$(subst ^$(PREFIX)/,$$ORIGIN/../,^$(LIBDIR))))
SHARED_BIN := $(TOOLS:%=$B/shared/midisim-%)
PRODUCT    := $B/libmidisim.a $B/libmidisim.so.$(MAJOR) $(FRONT) $(SHARED_BIN) $(MAN) $(COMPLETION)

$(eval $(call STAMP,runpath,$$(RUNPATH)))

# The library's public functions come from libmidisim.so; what tools share with its inside, from the archive behind it.
$(foreach t,$(TOOLS),$(eval $B/shared/midisim-$t: $$(call tool_obj,$t)))
$(SHARED_BIN): $B/shared/midisim-%: $(TOOL_COMMON) $B/libmidisim.so.$(MAJOR) $B/libmidisim-internal.a $B/stamp.runpath
	@mkdir -p $(@D)
	$(LINK) $(if $(RUNPATH),-Xlinker --enable-new-dtags -Xlinker -rpath -Xlinker '$(RUNPATH)') -o $@ $(filter %.o,$^) \
	    $B/libmidisim.so.$(MAJOR) $B/libmidisim-internal.a $(LIBS)

INSTALL = PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' DESTDIR='$(DESTDIR)' BUILD='$B' VERSION='$(VERSION)' MAJOR='$(MAJOR)' \
          TOOLS='$(TOOLS)' MODEL='$(MODEL)' packaging/install.sh

$B/shared/midisim-serve: private LIBS += -lmicrohttpd

.PHONY: product install install-strip uninstall
product: $(PRODUCT)

install: product
	@$(INSTALL) install

install-strip: product
	@STRIP='strip' $(INSTALL) install

uninstall:
	@$(INSTALL) uninstall

# A package for Debian and Ubuntu: build/midisim_VERSION-1_ARCH.deb. It is built for PREFIX=/usr, without the model.
DEB_LIBDIR = /usr/lib/$(shell $(CC) -print-multiarch)
.PHONY: deb
deb:
	$(MAKE) $(JOBS) --no-print-directory PREFIX=/usr LIBDIR='$(DEB_LIBDIR)' CONFIG=$(CONFIG) product
	@VERSION='$(VERSION)' MAJOR='$(MAJOR)' BUILD='$B' LIBDIR='$(DEB_LIBDIR)' TOOLS='$(TOOLS)' packaging/deb.sh

# The source as one file: build/midisim-VERSION.tar.gz. It builds and tests without git.
.PHONY: dist
dist:
	@VERSION='$(VERSION)' COMMIT='$(COMMIT)' packaging/dist.sh

# The Python package with the library in it: build/wheel/midisim_native-VERSION-py3-none-manylinux_2_28_x86_64.whl. The first
# time it downloads what builds wheels into build/wheel/venv.
.PHONY: wheel
wheel: $(LIB_OBJ) $B/stamp.sources
	@OBJECTS='$(LIB_OBJ)' CUDART='$(if $(HAS_CUDA),$(CUDART))' MAJOR='$(MAJOR)' packaging/wheel.sh
