# What there is to do, a word each. CMake does the work: CMakeLists.txt, CMakePresets.json.
BUILD ?= build/release
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
# Warnings stop only those who change the code: a newer compiler may know some that are not known here.
WERROR ?= OFF
CLANG_FORMAT ?= clang-format
FUZZ_SECONDS ?= 20
TSAN_TESTS ?= ^(merge|base|tensor_source|examples)

CONFIGURE = cmake -S . -DMC_WERROR=$(WERROR)
CTEST = ctest --output-on-failure --no-tests=error -j $(JOBS)
SOURCES = $(shell git ls-files '*.c' '*.h')

.PHONY: all
all: build

.PHONY: build
build: ## build the library and the command into build/release
	@$(CONFIGURE) --preset release -B $(BUILD)
	@cmake --build $(BUILD) -j $(JOBS)

.PHONY: deps
deps: ## install what is missing to build (Debian, Ubuntu)
	@tools/deps.sh

.PHONY: demo
demo: deps build ## merge the five bundled fine-tunes by median into demo-output/
	@examples/demo.sh $(abspath $(BUILD)) demo-output

.PHONY: check
check: deps build ## run the tests
	@$(CTEST) --test-dir $(BUILD) -LE long

.PHONY: check-long
check-long: deps build ## run the tests, also those that take minutes
	@$(CTEST) --test-dir $(BUILD)

.PHONY: check-asan
check-asan: deps ## run the tests with the address and undefined-behaviour sanitizers
	@$(CONFIGURE) --preset asan
	@cmake --build build/asan -j $(JOBS)
	@UBSAN_OPTIONS=print_stacktrace=1 $(CTEST) --test-dir build/asan -LE 'long|house'

.PHONY: check-tsan
check-tsan: deps ## run the tests of what has threads with the thread sanitizer
	@$(CONFIGURE) --preset tsan
	@cmake --build build/tsan -j $(JOBS)
	@$(CTEST) --test-dir build/tsan -LE 'long|house' -R '$(TSAN_TESTS)'

.PHONY: bench
bench: deps build ## measure methods and conversions on tiles (bench/merge.py: whole merges)
	@$(BUILD)/bench/bench_methods

.PHONY: install
install: build ## install below PREFIX (/usr/local), inside DESTDIR if it is set
	@DESTDIR='$(DESTDIR)' cmake --install $(BUILD) --prefix '$(PREFIX)'

.PHONY: fuzz
fuzz: ## fuzz every reader for FUZZ_SECONDS (20) each; needs clang
	@$(CONFIGURE) --preset fuzz
	@cmake --build build/fuzz -j $(JOBS)
	@tools/fuzz.sh build/fuzz/fuzz $(FUZZ_SECONDS)

.PHONY: docs
docs: build ## write docs/methods.md anew, from the methods themselves
	@$(BUILD)/tools/make_methods_doc > docs/methods.md

.PHONY: format
format: ## format the C files
	@$(CLANG_FORMAT) -i $(SOURCES)

.PHONY: check-format
check-format: ## say which C files are not formatted
	@$(CLANG_FORMAT) --dry-run -Werror $(SOURCES)

.PHONY: clean
clean: ## remove what was built, and what the demo wrote
	@rm -rf build demo-output

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
