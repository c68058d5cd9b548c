# Everything a contributor types. All set-up happens under .build/ and target/; nothing else of the machine is touched.
# Needs: a Rust toolchain, a C compiler, CPython 3.11 or newer with pip. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BUILD := .build
VENV := $(BUILD)/venv
BIN := $(VENV)/bin
DIST := $(BUILD)/dist
SOURCES := $(shell find src shim python build.rs Cargo.toml Cargo.lock pyproject.toml README.md -type f \
	-not -name '*.pyc' -not -path '*/__pycache__/*' 2>/dev/null)
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 10
ROUNDS ?= 1

# pip of the interpreter at hand, working on the environment under .build/ (which needs no pip of its own).
PIP := $(PYTHON) -m pip --python $(BIN)/python

.PHONY: help demo test test-rust test-python test-browser test-servers test-sql test-clusters test-allocators test-root test-ordinary ordinary test-limits test-memcheck test-strict fuzz environment print-python build dev lint fmt docs pictures check-wheel bench bench-quick accuracy clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: $(BUILD)/installed  ## profile examples/demo.py and show the table
	$(BIN)/rscalene run --quiet --output $(BUILD)/demo.json examples/demo.py
	$(BIN)/rscalene view $(BUILD)/demo.json

test: test-rust test-python  ## cargo tests, then pytest against the installed wheel

test-rust:  ## the Rust tests
	cargo test --workspace --exclude 'rscalene-shim*' --locked --no-fail-fast

test-python: $(BUILD)/installed  ## pytest against the installed wheel
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-browser: $(BUILD)/installed $(BUILD)/browser.stamp  ## drive the HTML report in headless Chromium
	tests/install-chromium
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/browser

test-servers: $(BUILD)/installed $(BUILD)/servers.stamp  ## real servers, workers and reloaders under the profiler
	$(BIN)/python -m pytest $(PYTEST_ARGS) --timeout 300 tests/servers

test-sql: $(BUILD)/wheel $(BUILD)/sql.stamp  ## queries by line: drivers, PostgreSQL, MariaDB, plugins of pytest (in an environment of their own)
	tests/install-databases
	$(PYTHON) -m pip --python $(BUILD)/venv-sql/bin/python install --quiet --force-reinstall --no-deps $(DIST)/*.whl
	$(BUILD)/venv-sql/bin/python -m pytest $(PYTEST_ARGS) -p no:asyncio --timeout 300 tests/sql

test-clusters: $(BUILD)/wheel $(BUILD)/clusters.stamp  ## Dask, Spark (needs Java 17), pools and queues (in an environment of their own)
	$(PYTHON) -m pip --python $(BUILD)/venv-clusters/bin/python install --quiet --force-reinstall --no-deps $(DIST)/*.whl
	$(BUILD)/venv-clusters/bin/python -m pytest $(PYTEST_ARGS) tests/clusters

test-allocators: $(BUILD)/installed  ## jemalloc, mimalloc and tcmalloc preloaded (fetched from Debian; needs a C++ compiler)
	tests/install-allocators
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/allocators

test-root: $(BUILD)/installed  ## odd disks, and death for want of memory (mounts, makes a cgroup: as root)
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/root

test-ordinary: $(BUILD)/installed $(BUILD)/ordinary.stamp  ## ordinary programs: does every view name the line that a person would name?
	$(BIN)/python -m pytest $(PYTEST_ARGS) --timeout 180 tests/ordinary

ordinary: $(BUILD)/installed $(BUILD)/ordinary.stamp  ## the same as a table; writes docs/ordinary-programs.md
	cd tests && ../$(BIN)/python -m ordinary.page

test-limits: $(BUILD)/installed  ## what the launcher takes of large programs (about two minutes)
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/limits

test-strict: $(BUILD)/installed  ## what is judged by a clock, ROUNDS times, with no second try; counts the failures
	$(BIN)/python tests/strict.py --rounds $(ROUNDS)

test-memcheck:  ## what reads untrusted bytes, and the rings, under valgrind's memcheck (needs valgrind)
	CARGO_TARGET_$(subst -,_,$(shell rustc -vV | sed -n 's/^host: //p' | tr a-z A-Z))_RUNNER="valgrind --quiet --error-exitcode=99" \
		RSCALENE_FUZZ_ROUNDS=2 cargo test --locked --test corpus_suite --test capture_file --test ring_protocol

fuzz:  ## fuzz what reads untrusted bytes, guided by coverage, FUZZ_SECONDS each target (needs a C++ compiler)
	tests/fuzz/run $(FUZZ_SECONDS)

build: $(BUILD)/wheel  ## the release wheel, in .build/dist

dev: $(BUILD)/venv.stamp  ## a debug build, installed in .build/venv
	rm -rf $(BUILD)/dev $(BUILD)/installed
	$(BIN)/maturin build --locked --out $(BUILD)/dev
	$(PIP) install --quiet --force-reinstall --no-deps $(BUILD)/dev/*.whl

lint: $(BUILD)/lint.stamp $(BUILD)/installed  ## rustfmt, clippy, ruff, mypy, stubtest
	cargo fmt --all --check
	cargo clippy --workspace --exclude 'rscalene-shim*' --all-targets --locked -- -D warnings
	cargo clippy --package rscalene --features python --locked -- -D warnings
	cargo clippy --package rscalene-shim --package rscalene-shim-cxx --profile shim --locked -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest rscalene --mypy-config-file pyproject.toml \
		--allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist

fmt: $(BUILD)/lint.stamp  ## format everything
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(BUILD)/docs.stamp  ## the documentation site, in .build/site; every warning is an error
	NO_MKDOCS_2_WARNING=1 $(BUILD)/docs/bin/mkdocs build --strict --quiet
	@echo "the site is $(BUILD)/site/index.html"

pictures: $(BUILD)/installed $(BUILD)/browser.stamp  ## the pictures of the documentation, in docs/images
	tests/install-chromium
	$(BIN)/python tests/browser/pictures.py

check-wheel: $(BUILD)/docs.stamp $(BUILD)/wheel  ## the wheel as an index would show it
	$(BUILD)/docs/bin/twine check --strict $(DIST)/*.whl

bench: $(BUILD)/installed  ## every benchmark, beside the other profilers; writes docs/performance.md; takes long
	RSCALENE_SHIM=$$(realpath $(VENV)/lib/python*/site-packages/rscalene/librscalene_shim.so) cargo bench --locked
	$(BIN)/python benches/overhead.py --rounds 3 --together --contender "rscalene --cpu-only" rscalene \
		--output benches/results/overhead.json
	$(BIN)/python benches/overhead.py --only nothing --contender ours --output benches/results/overhead-start.json
	$(BIN)/python benches/overhead.py --rounds 1 --shorter 4 --contender others \
		--output benches/results/overhead-others.json
	$(BIN)/python benches/overhead.py --rounds 1 --shorter 4 --contender "rscalene --memory exact" \
		"memray --trace-python-allocators" --output benches/results/overhead-exact.json
	$(BIN)/python benches/scale.py --output benches/results/scale.json
	$(PIP) install --quiet -r benches/requirements-lines.txt
	$(BIN)/python benches/line_cost.py --json >benches/results/lines.json
	$(BIN)/python benches/page.py

bench-quick: $(BUILD)/installed  ## instructions of the hooks and error against known truth, held to their bounds (part of `test`)
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/test_hook_cost.py tests/accuracy

accuracy: $(BUILD)/installed  ## error against known truth, beside the other profilers; writes docs/accuracy.md
	$(BIN)/python benches/accuracy.py --output benches/results/accuracy.json
	$(BIN)/python benches/page.py

environment: $(patsubst tests/requirements-%.txt,$(BUILD)/%.stamp,$(wildcard tests/requirements-*.txt))  ## all that the tests need from PyPI

print-python:  # the interpreter that the others are counted from
	@echo "$(PYTHON)"

clean:  ## remove everything that was built
	rm -rf $(BUILD) target

$(BUILD)/venv.stamp: tests/requirements.txt tests/requirements-build.txt
	@test -n "$(PYTHON)" || { echo "no CPython 3.11 or newer with pip was found; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --without-pip --clear $(VENV)
	$(PIP) install --quiet -r tests/requirements.txt -r tests/requirements-build.txt
	touch $@

$(BUILD)/%.stamp: tests/requirements-%.txt $(BUILD)/venv.stamp
	$(PIP) install --quiet -r $<
	touch $@

# Plugins of pytest that change how pytest itself behaves stay out of the environment of the other tests.
$(BUILD)/sql.stamp: tests/requirements.txt tests/requirements-sql.txt
	$(PYTHON) -m venv --without-pip --clear $(BUILD)/venv-sql
	$(PYTHON) -m pip --python $(BUILD)/venv-sql/bin/python install --quiet -r tests/requirements.txt -r tests/requirements-sql.txt
	touch $@

$(BUILD)/clusters.stamp: tests/requirements-clusters.txt
	$(PYTHON) -m venv --without-pip --clear $(BUILD)/venv-clusters
	$(PYTHON) -m pip --python $(BUILD)/venv-clusters/bin/python install --quiet -r $<
	touch $@

$(BUILD)/docs.stamp: tests/requirements-docs.txt
	$(PYTHON) -m venv --without-pip --clear $(BUILD)/docs
	$(PYTHON) -m pip --python $(BUILD)/docs/bin/python install --quiet -r tests/requirements-docs.txt
	touch $@

$(BUILD)/wheel: $(BUILD)/venv.stamp $(SOURCES)
	rm -rf $(DIST)
	$(BIN)/maturin build --release --locked --out $(DIST)
	touch $@

$(BUILD)/installed: $(BUILD)/wheel
	$(PIP) install --quiet --force-reinstall --no-deps $(DIST)/*.whl
	touch $@
