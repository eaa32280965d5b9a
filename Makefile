# make run: set up, index the sample documents (or DOCS=folder), answer Q="…" or ask for questions
# make test: set up, check style and types, run the tests
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DOCS ?= samples
Q ?=
COLLECTION := .qianru/$(shell echo '$(abspath $(DOCS))' | cksum | cut -d' ' -f1)

.PHONY: setup setup-dev run test check bench clean

setup: .venv/.ready
setup-dev: .venv/.ready-dev

.venv/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Qianru needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv .venv

.venv/.ready: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.ready-dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch .venv/.ready $@

run: setup
	@$(BIN)/qianru index '$(DOCS)' --collection '$(COLLECTION)'
	@$(BIN)/qianru search --collection '$(COLLECTION)' $(if $(Q),'$(Q)',--ask)

test: setup-dev check
	$(BIN)/python -m pytest

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv .qianru .mypy_cache .ruff_cache .pytest_cache .hypothesis
