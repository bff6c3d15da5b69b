# Each target works alone on a clean clone: it makes .venv and installs what it needs, at the versions in constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
KERNEL := CMakeLists.txt $(wildcard native/*)

.DEFAULT_GOAL := help
.PHONY: help demo test lint sanitize train clean

help:  ## show this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Inkhorn needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# The stamps say for which files an installation was made, so that a second call starts at once.
.venv/light: pyproject.toml constraints.txt $(KERNEL) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve]'
	@touch $@

.venv/full: pyproject.toml constraints.txt $(KERNEL) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/light

demo: .venv/light  ## write some Shakespeare with the shipped model
	@$(BIN)/inkhorn generate "ROMEO:" --words 120

lint: .venv/full  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## check style and types, and run every test
	$(BIN)/pytest

# Each is a build of its own. The driver sends the kernel random shapes and requests, and checks what it gives.
sanitize: $(BIN)/python  ## run the kernel under the sanitizers of addresses, undefined behaviour and threads
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt cmake ninja
	@for kind in address,undefined thread; do \
	  $(BIN)/cmake -S . -B build/sanitize-$$kind -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	    -DCMAKE_BUILD_TYPE=Debug -DINK_SANITIZE=$$kind > /dev/null && \
	  $(BIN)/cmake --build build/sanitize-$$kind && build/sanitize-$$kind/driver 300 || exit 1; \
	done

train: .venv/full  ## train a small model for half a minute
	$(BIN)/inkhorn train small

clean:  ## remove the installation and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
