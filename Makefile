# Each target works alone in a fresh clone. It creates .venv and installs what it needs, at the versions in constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
KERNEL := CMakeLists.txt $(wildcard native/*)
CXX_FILES := $(wildcard native/*.h native/*.hpp native/*.cpp native/*/*.hpp native/*/*.cpp)
NOT_IN_TEST := slow or ray or notebook or fuzz or qemu
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo docs lint lint-js format test test-all sanitize cross wheels wasm course train clean

help:  ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Inkhorn needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# An older pip knows no --group. The stamps record which files an installation was made from, so that a second call starts at once.
.venv/serve: pyproject.toml constraints.txt $(KERNEL) | $(BIN)/python
	@echo "Installing into .venv, without torch: about a minute"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[serve]'
	@touch $@

.venv/dev: pyproject.toml constraints.txt $(KERNEL) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	@echo "Installing everything into .venv, torch included: some minutes"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[all]' --group dev
	@touch $@ .venv/serve

.venv/test-all: .venv/dev
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt --group test-all
	@touch $@

.venv/docs: pyproject.toml constraints.txt $(KERNEL) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[serve]' --group docs
	@touch $@ .venv/serve

demo: .venv/serve  ## generate some Shakespeare with the shipped model; installs no torch
	@$(BIN)/inkhorn generate "ROMEO:" --words 120

lint: .venv/dev  ## check style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/codespell

node_modules/.installed: package.json package-lock.json
	npm ci --silent --no-audit --no-fund
	@touch $@

lint-js: node_modules/.installed  ## check the web page's JavaScript: types and style; needs Node
	node_modules/.bin/tsc --project jsconfig.json
	node_modules/.bin/biome check --error-on-warnings

format: .venv/dev  ## format the Python and C++ sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

test: lint  ## lint, then run the tests that finish in minutes
	$(BIN)/pytest -n auto --dist loadfile -m 'not ($(NOT_IN_TEST))' $(PYTEST_ARGS)

test-all: lint .venv/test-all  ## lint, then run every test
	$(BIN)/pytest -n auto --dist loadfile $(PYTEST_ARGS)

# Separate builds. The fuzzer calls the kernel with random shapes and requests and checks the results.
sanitize: $(BIN)/python  ## run the kernel under the address, undefined-behaviour and thread sanitizers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt cmake ninja
	@for kind in address,undefined thread; do \
	  $(BIN)/cmake -S . -B build/sanitize-$$kind -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	    -DCMAKE_BUILD_TYPE=Debug -DINK_SANITIZE=$$kind > /dev/null && \
	  $(BIN)/cmake --build build/sanitize-$$kind && build/sanitize-$$kind/fuzz 300 || exit 1; \
	done

cross: $(BIN)/python  ## cross-compile the kernel for Linux, macOS and Windows and check the exported symbols
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt cmake ninja --group cross
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python release/cross.py

wheels: cross  ## build a wheel for every platform in dist/, on this machine
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python release/wheels.py

wasm: $(BIN)/python  ## compile the kernel to WebAssembly for the static web page; commit the result
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group cross
	$(BIN)/python native/web/build.py

docs: .venv/docs  ## build the documentation site and the playground into build/site; installs no torch
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

course: .venv/dev  ## run the chapters of docs/course and write their pages; commit the result
	$(BIN)/python docs/course/build.py --run

train: .venv/dev  ## train a small model in half a minute
	$(BIN)/inkhorn train small

clean:  ## remove the installation and all caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist node_modules
