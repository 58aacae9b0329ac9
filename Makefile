# "make help" lists the targets. User's CFLAGS, CPPFLAGS and LDFLAGS are appended to ours; WERROR=1 makes warnings errors,
# V=1 shows the commands.

VERSION  := 0.1.0
PREFIX   ?= /usr/local
SYSCONFDIR ?= /etc
SANITIZE ?=
BUILD    ?= $(if $(SANITIZE),build/$(subst $(comma),-,$(SANITIZE)),build)
comma    := ,
PKG_CONFIG ?= pkg-config

PKGS := libevent_core libevent_extra libevent_openssl libssl hiredis libcjson uuid libpq sqlite3 libcrypto libbsd
ifeq ($(filter clean help,$(MAKECMDGOALS)),)
  PKG_MISSING := $(strip $(foreach p,$(PKGS),$(if $(shell $(PKG_CONFIG) --exists $(p) && echo y),,$(p))))
  ifneq ($(PKG_MISSING),)
    $(error missing development packages: $(PKG_MISSING). Remedy: scripts/install-deps)
  endif
endif
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)

# llhttp: a library where the distribution has one, else its packaged C sources compiled into $(BUILD).
ifeq ($(shell $(PKG_CONFIG) --exists libllhttp && echo y),y)
  PKG_CFLAGS += $(shell $(PKG_CONFIG) --cflags libllhttp)
  PKG_LIBS   += $(shell $(PKG_CONFIG) --libs libllhttp)
else
  LLHTTP_SRC := /usr/share/llhttp
  PKG_CFLAGS += -isystem /usr/share/include/llhttp
  LLHTTP_OBJ := $(addprefix $(BUILD)/llhttp/,api.o http.o llhttp.o)
endif

GCC_WARNINGS := $(if $(findstring clang,$(CC)),,-Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wnull-dereference \
  -Wimplicit-fallthrough)
WARNINGS := -Wall -Wextra -Wformat=2 -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes \
  -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla -Wswitch-enum \
  $(GCC_WARNINGS) $(if $(WERROR),-Werror)
HARDENING := -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
  $(if $(findstring clang,$(CC)),,-ftrivial-auto-var-init=zero) -fno-strict-aliasing -fno-strict-overflow -fno-delete-null-pointer-checks
ifneq ($(SANITIZE),)
  OPTIMISE := -O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
else
  OPTIMISE := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
endif
# FAULTS=1 compiles the fault points in (test builds only, see common/fault.h).
ALL_CPPFLAGS := -D_GNU_SOURCE -DAGENTPOOL_VERSION='"$(VERSION)"' -DAGENTPOOL_SYSCONFDIR='"$(SYSCONFDIR)"' $(if $(FAULTS),-DAGENTPOOL_FAULTS=1) -I. $(PKG_CFLAGS) $(CPPFLAGS)
ALL_CFLAGS := -std=c17 -g $(OPTIMISE) -fno-common -fPIE -ffile-prefix-map=$(CURDIR)=. $(HARDENING) $(WARNINGS) $(CFLAGS)
ALL_LDFLAGS := -pie $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(LDFLAGS)
ALL_LIBS := $(PKG_LIBS) -lpthread -ldl

# V=1 shows the commands.
ifeq ($(V),)
  Q := @
  SAY = @printf '%-5s %s\n' "$(1)" "$(patsubst $(CURDIR)/%,%,$@)"
else
  SAY = @:
endif

sources = $(sort $(wildcard $(addsuffix /*.c,$(1))))
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
# Everything but the two mains: what the programs and the tests link.
ROOMS    := common common/json registry/protocol registry/core registry/redis sql worker worker/runtime \
  master $(addprefix master/,boot forker http config control api life)
CORE_SRC := $(filter-out master/main.c,$(call sources,$(ROOMS)))
CORE_OBJ := $(call objects,$(CORE_SRC)) $(LLHTTP_OBJ)
CLI_SRC  := $(call sources,cli cli/client)
TEST_SRC := $(wildcard test/unit/test_*.c)
SIM_SRC  := $(wildcard test/sim/*.c)
TESTS    := $(patsubst test/unit/%.c,$(BUILD)/test/unit/%,$(TEST_SRC))

PROGRAMS := $(BUILD)/agentpoold $(BUILD)/agentpool
EXAMPLES := $(BUILD)/example-agent $(BUILD)/example-module.so
TOOLS    := $(BUILD)/loadgen $(BUILD)/malloc-fail.so

.PHONY: all check check-asan check-valgrind model mutate soak lint lint-flags fuzz fuzz-programs man install uninstall version bench clean tests help compdb
all: $(PROGRAMS) $(EXAMPLES) $(TOOLS) ## everything, release with debug info
tests: all $(TESTS) $(BUILD)/sim ## … and what tests need
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
compdb: ## compile_commands.json, for editors and clang tools
	$(Q)$(MAKE) --no-print-directory -Bn V=1 tests | scripts/compdb >compile_commands.json

$(BUILD)/libagentpool.a: $(CORE_OBJ)
	$(Q)rm -f $@
	$(call SAY,AR)
	$(Q)$(AR) rcsD $@ $^

$(BUILD)/agentpoold: $(BUILD)/master/main.o $(BUILD)/libagentpool.a
	$(call SAY,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LIBS)
$(BUILD)/agentpool: $(call objects,$(CLI_SRC)) $(BUILD)/libagentpool.a
	$(call SAY,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libcurl) $(ALL_LIBS)
$(BUILD)/example-agent: $(BUILD)/etc/examples/agent.o
	$(call SAY,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libcjson)
$(BUILD)/example-module.so: etc/examples/module.c worker/agentpool_module.h
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(filter-out -fPIE -pie,$(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)) -fPIC -iquote worker -shared -o $@ $<
$(BUILD)/loadgen: $(call objects,$(wildcard test/load/*.c)) $(BUILD)/libagentpool.a
	$(call SAY,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LIBS)
$(BUILD)/malloc-fail.so: test/faults/malloc_fail.c
	@mkdir -p $(@D)
	$(call SAY,CC)
	$(Q)$(CC) $(WARNINGS) -D_GNU_SOURCE -O2 -g -fPIC -shared -o $@ $<
# Some compare with the simulator's model of the registry.
$(BUILD)/test/unit/%: $(BUILD)/test/unit/%.o $(BUILD)/test/sim/registry_memory.o $(BUILD)/libagentpool.a
	$(call SAY,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs check) $(ALL_LIBS)
$(BUILD)/sim: $(call objects,$(SIM_SRC)) $(BUILD)/libagentpool.a
	$(call SAY,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LIBS)

$(BUILD)/llhttp/%.o: $(LLHTTP_SRC)/%.c
	@mkdir -p $(@D)
	$(call SAY,CC)
	$(Q)$(CC) $(PKG_CFLAGS) -O2 -g -ffile-prefix-map=$(CURDIR)=. -fPIE $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(HARDENING) -c -o $@ $<
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call SAY,CC)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
# .incbin leaves no trace in the dependency files (common/embed.h).
$(BUILD)/master/api/openapi.o: etc/openapi.json
$(BUILD)/registry/redis/scripts.o: $(wildcard registry/redis/scripts/*.lua)
$(BUILD)/sql/migrations.o: $(wildcard sql/migrations/*.sql sql/migrations/*/*.sql)

check: tests ## unit tests and the simulator
	scripts/check-units $(BUILD)
check-asan: ## the same under ASan and UBSan
	$(MAKE) SANITIZE=address,undefined check
check-valgrind: tests ## unit tests under valgrind
	VALGRIND=1 scripts/check-units $(BUILD)
model: ## spin searches the protocol
	scripts/model
mutate: tests ## the simulator sees deliberate breaks
	scripts/mutate
soak: all ## 50,000 cycles with faults
	scripts/soak
lint: ## static analysis, the rooms
	scripts/lint
lint-flags: # what scripts/lint compiles with, quoted for a shell
	$(info $(ALL_CPPFLAGS) -iquote worker)
	@:
FUZZ_DIR ?= $(BUILD)/fuzz
# libFuzzer wants clang and every source instrumented: CORE_SRC is compiled again below $(BUILD)/fuzz/obj.
fuzz: ## build the fuzzers (clang)
	$(MAKE) BUILD=$(BUILD)/fuzz/obj CC=clang SANITIZE=fuzzer-no-link,address,undefined FUZZ_DIR=$(BUILD)/fuzz fuzz-programs
fuzz-programs: $(patsubst test/fuzz/%.c,$(FUZZ_DIR)/%,$(wildcard test/fuzz/fuzz_*.c))
$(FUZZ_DIR)/fuzz_%: $(BUILD)/test/fuzz/fuzz_%.o $(BUILD)/libagentpool.a
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(ALL_LIBS)
bench: all ## measure this build, see scripts/bench
	scripts/bench

# ---- installing ----

LIBDIR      ?= $(PREFIX)/lib/agentpool
DOCDIR      ?= $(PREFIX)/share/doc/agentpool
MANDIR      ?= $(PREFIX)/share/man
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
PKGCONFIGDIR  ?= $(PREFIX)/share/pkgconfig
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
# Debian's zsh looks for those of packages elsewhere than for those of /usr/local.
ZSHDIR      ?= $(PREFIX)/share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)
FISHDIR     ?= $(PREFIX)/share/fish/vendor_completions.d
CONFIG      := $(SYSCONFDIR)/agentpool/agentpool.json
MANUALS     := $(patsubst etc/man/%,$(BUILD)/man/%,$(wildcard etc/man/*.[1-8]))
PLACE       := sed -e 's|/usr/sbin/|$(PREFIX)/sbin/|' -e 's|/etc/|$(SYSCONFDIR)/|' -e 's|/usr/lib/agentpool/|$(LIBDIR)/|' -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|'

man: $(MANUALS) ## the manual pages
$(BUILD)/man/%: etc/man/% $(wildcard etc/man/*.md) scripts/man $(BUILD)/agentpool
	@mkdir -p $(@D)
	$(call SAY,MAN)
	$(Q)scripts/man $< $(BUILD)/agentpool >$@.new && mv $@.new $@
# MODE:FILE:WHERE; a + before the mode: with the directories of this installation put in.
INSTALLED := 755:$(BUILD)/agentpoold:$(PREFIX)/sbin/agentpoold 755:$(BUILD)/agentpool:$(PREFIX)/bin/agentpool \
  755:$(BUILD)/example-agent:$(LIBDIR)/example-agent 644:$(BUILD)/example-module.so:$(LIBDIR)/example-module.so \
  755:test/check.py:$(LIBDIR)/check \
  644:worker/agentpool_module.h:$(PREFIX)/include/agentpool/agentpool_module.h \
  +644:etc/agentpool-module.pc:$(PKGCONFIGDIR)/agentpool-module.pc \
  +644:etc/systemd/agentpoold.service:$(UNITDIR)/agentpoold.service \
  644:etc/systemd/agentpoold.socket:$(UNITDIR)/agentpoold.socket \
  644:etc/systemd/agentpool.sysusers:$(SYSUSERSDIR)/agentpool.conf \
  +644:etc/systemd/agentpool.tmpfiles:$(TMPFILESDIR)/agentpool.conf \
  644:etc/agentpool.logrotate:$(SYSCONFDIR)/logrotate.d/agentpool \
  $(foreach f,$(MANUALS),644:$(f):$(MANDIR)/man$(subst .,,$(suffix $(f)))/$(notdir $(f))) \
  644:etc/completion/agentpool.bash:$(COMPLETIONDIR)/agentpool 644:etc/completion/agentpool.zsh:$(ZSHDIR)/_agentpool \
  644:etc/completion/agentpool.fish:$(FISHDIR)/agentpool.fish \
  $(foreach f,README.md MULTIPROCESSING.md CONTRIBUTING.md LICENSE $(wildcard etc/man/*.md) etc/agentpool.svg,644:$(f):$(DOCDIR)/$(f)) \
  $(foreach f,$(wildcard etc/examples/* etc/prometheus/* etc/grafana/* etc/systemd/*.conf),644:$(f):$(DOCDIR)/$(f:etc/%=%))
each_installed = for entry in $(INSTALLED); do IFS=: read -r mode file where <<<"$$entry"; $(1) || exit 1; done

install uninstall: SHELL := /bin/bash
install: all man ## DESTDIR= PREFIX= SYSCONFDIR= UNITDIR=
	$(Q)$(call each_installed,install -D -m "$${mode#+}" "$$file" "$(DESTDIR)$$where" && \
	  { [[ $$mode != +* ]] || $(PLACE) "$$file" >"$(DESTDIR)$$where"; })
	$(Q)[ -e $(DESTDIR)$(CONFIG) ] || { install -D -m 0640 etc/agentpool.json $(DESTDIR)$(CONFIG) && \
	  $(PLACE) etc/agentpool.json >$(DESTDIR)$(CONFIG); }
uninstall: ## the same directories; a changed configuration stays
	$(Q)$(call each_installed,rm -f "$(DESTDIR)$$where")
	$(Q)! $(PLACE) etc/agentpool.json | cmp -s - $(DESTDIR)$(CONFIG) || rm -f $(DESTDIR)$(CONFIG)
	$(Q)for directory in $(LIBDIR) $(PREFIX)/include/agentpool $(DOCDIR) $(SYSCONFDIR)/agentpool; do \
	  [ ! -d $(DESTDIR)$$directory ] || find $(DESTDIR)$$directory -depth -type d -empty -delete; done
version:
	@echo $(VERSION)
clean: ## remove what was built
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
