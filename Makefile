# One Makefile. A floor is a folder of src/; adding a .c file to a folder is all it takes.
#
#   make           build/tokenworks                    make run    fetch the default model and serve it
#   make test      every test, one closing line        make deps   install what is missing (the only network use)
#   make layers    prove the order of the floors       make tidy   the style rules a machine can hold
#   make library   libtokenworks.a and its .pc         make fuzz T=gguf   libFuzzer, by hand
#   make run-fleet three sites on this machine         make soak   random faults on them, 20 minutes
#   make man       man pages from the option tables    make install PREFIX=/usr/local    make deb   a Debian package
#   SANITIZE=address,undefined | thread                builds into build/<variant>/, seccomp filter left out

# The floors, lowest first, and what each may include and link directly (what those reach is included).
FLOORS := base net kern gguf text model infer dist sched api wire trust lib engine keeper ledger fleet front plan train
DEPS_base   :=
DEPS_net    := base
DEPS_kern   := base
DEPS_gguf   := base kern
DEPS_text   := base gguf
DEPS_model  := base kern gguf
DEPS_infer  := base kern gguf text model
DEPS_dist   := model
DEPS_sched  := infer
DEPS_api    := base text infer
DEPS_wire   := base
DEPS_trust  := base
DEPS_lib    := sched api
DEPS_engine := lib wire trust dist
DEPS_keeper := wire trust
DEPS_ledger := base
DEPS_fleet  := net wire api
DEPS_front  := net wire api trust ledger keeper fleet
DEPS_plan   := base
DEPS_train  := model
DEPS_cmd    := $(FLOORS)
# Foreign libraries, by the floor whose door they enter through.
LIBS_base   := -ljansson -lyaml -lseccomp -lpthread -lm
LIBS_net    := -levent -levent_openssl -levent_pthreads -lcurl -lssl -lcrypto
LIBS_text   := -lpcre2-8 -lutf8proc
LIBS_dist   := -lmpi
LIBS_trust  := -lsodium -lcrypto
LIBS_ledger := -lsqlite3
LIBS_fleet  := -lnats
LIBS_cmd    := -ledit
LIBS_plan   := -lCbcSolver -lCbc -lCgl -lOsiClp -lClpSolver -lClp -lOsi -lCoinUtils -lm

MAKEFLAGS += --jobs=$(shell nproc) --no-print-directory
PROG := tokenworks
empty :=
comma := ,
ifneq ($(SANITIZE),)
  VARIANT := $(subst $(comma),-,$(SANITIZE))
  SAN := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
B := build$(if $(VARIANT),/$(VARIANT))
VERSION := 0.1.0

CC   ?= cc
# The first `make` of all installs the compiler: until then the machine says what it is.
ARCH := $(or $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1),$(shell uname -m))
WARN := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
        -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wno-unused-parameter -Wno-missing-field-initializers
HARDEN := $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE -fstack-clash-protection
# -ffp-contract=off: a fused multiply-add happens where the source says fmaf, so every rung rounds alike.
ALL_CFLAGS = -std=c11 -O2 -g -ffp-contract=off $(WARN) $(HARDEN) $(SAN) $(CFLAGS)
ALL_CPPFLAGS = -Isrc -Iinclude -I$(B) -D_GNU_SOURCE -DTW_VERSION='"$(VERSION)"' $(if $(SANITIZE),-DTW_SANITIZED=1) \
               -MMD -MP $(CPPFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack $(SAN) $(LDFLAGS)

# ISA kernels: the file name carries the ISA, the ISA carries the flags. Nothing else gets them.
ifeq ($(ARCH),x86_64)
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_avx512 := $(ISA_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
ISA_amx    := $(ISA_avx512) -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16
endif
ifeq ($(ARCH),aarch64)
ISA_dotprod := -march=armv8.2-a+dotprod
endif
# What another architecture's instructions are written with is not for this one.
OTHERS := $(if $(filter x86_64,$(ARCH)),,avx2 avx512 amx) $(if $(filter aarch64,$(ARCH)),,neon dotprod)
isa_flags   = $(ISA_$(lastword $(subst _, ,$(basename $(notdir $(1))))))

# Short lines; V=1 shows the commands.
Q   := $(if $(V),,@)
say  = $(if $(V),,@echo "  $(1) $(2)")

have  = $(wildcard src/$(1)/*.c)
srcs  = $(sort $(filter-out $(foreach i,$(OTHERS),src/$(1)/%_$(i).c),$(wildcard src/$(1)/*.c)))
objs  = $(patsubst %.c,$(B)/%.o,$(call srcs,$(1)))
lib   = $(B)/lib$(1).a
# under(f): f and every floor it reaches that exists, highest first, as the linker wants them.
reach = $(sort $(1) $(foreach d,$(DEPS_$(1)),$(call reach,$(d))))
rev   = $(if $(1),$(call rev,$(wordlist 2,99,$(1))) $(firstword $(1)))
FLOORS_HERE := $(foreach f,$(FLOORS),$(if $(call have,$(f)),$(f)))
under = $(call rev,$(filter $(call reach,$(1)),$(FLOORS_HERE)))
archives = $(foreach f,$(call under,$(1)),$(call lib,$(f)))
libs  = $(foreach f,$(call under,$(1)),$(LIBS_$(f)))

TESTS_C  := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/*/*_test.c)))
# Programs that tests start: an engine without a model, for the front.
TOOLS_C  := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/*/*_tool.c)))
TESTS_SH := $(sort $(wildcard tests/*/*_test.sh tests/*/*_test.py))

all: $(B)/$(PROG)

# ---- what must be installed first
$(B)/.deps: tools/deps
	@mkdir -p $(B)
	@tools/deps build
	@touch $@
deps:
	@tools/deps all
	@mkdir -p $(B) && touch $(B)/.deps

# ---- compile and link
$(B)/src/plan/data.o: $(wildcard data/*/*.yaml)
$(B)/src/dist/carrier.o: override CPPFLAGS += $(shell pkg-config --cflags ompi-c 2>/dev/null)
$(B)/%.o: %.c | $(B)/.deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(if $(filter src/kern/%,$<),$(call isa_flags,$<)) -c -o $@ $<
$(B)/src/cmd/version.o: CPPFLAGS += -DTW_FLOORS='"$(strip $(FLOORS_HERE))"'
$(B)/%.o: %.S | $(B)/.deps
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) -c -o $@ $<

$(B)/$(PROG): $(call objs,cmd) $(call archives,cmd)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(call libs,cmd) $(LIBS_cmd)

define floor_rules
# The list is rewritten only when files come or go: an archive never keeps what is gone.
$(B)/$(1).list: always
	@mkdir -p $(B)
	@echo '$(call objs,$(1))' | cmp -s - $$@ || echo '$(call objs,$(1))' > $$@
$(call lib,$(1)): $(call objs,$(1)) $(B)/$(1).list
	@rm -f $$@
	$$(Q)ar rcs $$@ $$(filter %.o,$$^)
# A test links its own floor and the floors below: calling upwards does not link.
$(B)/tests/$(1)/%_test: $(B)/tests/$(1)/%_test.o $(call archives,$(1))
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -o $$@ $$^ $$(call libs,$(1))
$(B)/tests/$(1)/%_tool: $(B)/tests/$(1)/%_tool.o $(call archives,$(1))
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -o $$@ $$^ $$(call libs,$(1))
# The floor links whole against what it may reach, and nothing else: no upward call, tested or not.
layer-$(1): $(call archives,$(1))
	@echo "int main(void) { return 0; }" | $$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -x c - -x none -o $(B)/layer_$(1) \
	  -Wl,--whole-archive $(call lib,$(1)) -Wl,--no-whole-archive $$(wordlist 2,99,$$^) $$(call libs,$(1))
.PHONY: layer-$(1)
endef
$(foreach f,$(FLOORS_HERE),$(eval $(call floor_rules,$(f))))

# ---- the embedding library: libtokenworks.a holds lib/ and all it stands on; tokenworks.pc says how to link it
$(B)/libtokenworks.a: $(call archives,lib)
	@rm -f $@
	@(echo "create $@"; for a in $^; do echo "addlib $$a"; done; echo save; echo end) | ar -M
$(B)/tokenworks.pc: Makefile
	@mkdir -p $(B)
	@printf '%s\n' 'prefix=$(abspath .)' 'Name: tokenworks' 'Description: language models inside your program' \
	  'Version: $(VERSION)' 'Cflags: -I$(abspath include)' 'Libs: -L$(abspath $(B)) -ltokenworks' \
	  'Libs.private: $(call libs,lib) $(SAN)' > $@
library: $(B)/libtokenworks.a $(B)/tokenworks.pc

# ---- man pages, from the option tables
man: $(B)/$(PROG)
	@mkdir -p $(B)/man/man1
	@for c in $$(sed -n 's/^COMMAND(\(.*\))$$/\1/p' src/cmd/commands.def); do \
	  $(B)/$(PROG) man $$c > $(B)/man/man1/tokenworks-$$c.1; done; echo "man pages in $(B)/man/man1"

PREFIX ?= /usr/local
install: all library man
	install -D -m 755 $(B)/$(PROG) $(DESTDIR)$(PREFIX)/bin/$(PROG)
	install -D -m 644 $(B)/libtokenworks.a $(DESTDIR)$(PREFIX)/lib/libtokenworks.a
	install -D -m 644 include/tokenworks.h $(DESTDIR)$(PREFIX)/include/tokenworks.h
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(B)/man/man1/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed 's|^prefix=.*|prefix=$(PREFIX)|; s|^Cflags:.*|Cflags: -I$(PREFIX)/include|; \
	  s|^Libs:.*|Libs: -L$(PREFIX)/lib -ltokenworks|' $(B)/tokenworks.pc > \
	  $(DESTDIR)$(PREFIX)/lib/pkgconfig/tokenworks.pc

# ---- packages: a Debian package, and the folders its files go to
deb: $(B)/$(PROG)
	@packaging/deb $(B) $(VERSION)

# ---- the console: web/ bundled by Debian's esbuild, embedded in the program by front/console.c
$(B)/web/.done: $(wildcard web/src/*.ts) $(addprefix web/,console.css index.html icon.svg) | $(B)/.deps
	@mkdir -p $(B)/web
	@esbuild web/src/main.ts --bundle --minify --format=esm --target=es2021 --log-level=warning \
	  --outfile=$(B)/web/console.js
	@esbuild web/console.css --minify --log-level=warning --outfile=$(B)/web/console.css
	@cp web/index.html web/icon.svg $(B)/web/
	@touch $@
$(B)/src/front/console.o: $(B)/web/.done
$(B)/src/front/console.o: override CPPFLAGS += -DCONSOLE_DIR='"$(B)/web"'

# ---- prove it
check: $(B)/$(PROG) $(TESTS_C) $(TOOLS_C) library tidy layers
	@B=$(B) SANITIZE=$(SANITIZE) tools/runtests $(TESTS_C) $(TESTS_SH)
test:
	@tools/deps test
	@$(MAKE) check
unit: $(TESTS_C)
	@B=$(B) tools/runtests $(TESTS_C)
layers: $(foreach f,$(FLOORS_HERE),layer-$(f))
# Two floors with a function of the same name: the linker would silently take the first it meets.
	@nm -gA --defined-only $(foreach f,$(FLOORS_HERE),$(call lib,$(f))) | awk '$$2 ~ /^[BDRT]$$/ { n[$$3]++; \
	  at[$$3] = at[$$3] " " $$1 } END { for (s in n) if (n[s] > 1) { print "layers: " s " is defined twice:" at[s]; \
	  bad = 1 } exit bad }' >&2
tidy:
	@$(foreach f,$(FLOORS_HERE) cmd,tools/tidy $(f) $(call under,$(f)) &&) true

# ---- measure it, beside whoever is there: ARGS="--llama DIR --openvino PYTHON ..." (bench/table.py says which)
bench: all
	@bench/table.py $(ARGS)

# ---- run it
run: all
	@tools/deps run
	@$(B)/$(PROG) serve --model default

# Three sites on this machine: servers, workers, gateways (examples/fleet).
run-fleet: all
	@tools/deps fleet
	@examples/fleet/run --program $(B)/$(PROG) --state $(B)/fleet

# ---- random faults on three sites in network namespaces, by hand (root): ARGS="--minutes 5 --seed N"
soak: all
	@tools/deps fleet
	@B=$(B) tests/fleet/soak.py $(ARGS)

# ---- others' suites, by hand: their results are in docs/CONFORMANCE.md
conformance: all
	@tools/conformance

# ---- make fuzz T=gguf [SECONDS=60]: libFuzzer on fuzz/<T>.c, starting from fuzz/corpus/<T>/
SECONDS ?= 60
fuzz:
	@$(MAKE) CC=clang VARIANT=fuzz SAN="-fsanitize=fuzzer-no-link,address,undefined" \
	  SANITIZE= CPPFLAGS=-DTW_SANITIZED=1 build/fuzz/fuzz-$(T)
	@mkdir -p build/fuzz/corpus-$(T)
	build/fuzz/fuzz-$(T) -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=4096 build/fuzz/corpus-$(T) \
	  $(wildcard fuzz/corpus/$(T))
build/fuzz/fuzz-%: build/fuzz/fuzz/%.o $(call archives,cmd)
	$(CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(call libs,cmd)

# ---- make neon: the kernels' floor for aarch64, its tests under an emulator, with and without dot products
NEON_TESTS := matmul attn vec format law
neon:
	@tools/deps arm
	@$(MAKE) CC=aarch64-linux-gnu-gcc VARIANT=aarch64 LIBS_base="-static -lpthread -lm" \
	  CPPFLAGS="-idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu" \
	  $(NEON_TESTS:%=build/aarch64/tests/kern/%_test)
	@for t in $(NEON_TESTS); do for cpu in max cortex-a53; do echo "# $$t on $$cpu"; \
	  qemu-aarch64-static -cpu $$cpu build/aarch64/tests/kern/$${t}_test || exit 1; done; done

clean:
	rm -rf build
.PHONY: all always bench conformance deb deps neon check test unit library man install layers tidy run run-fleet soak fuzz clean
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
