# `make demo` and `make test` need Python 3.11 or newer, and make; everything else goes into .venv.
#
#   PYTHON=python3.12     the Python that makes .venv
#   TORCH_INDEX=URL       a further package index for torch alone, for example PyTorch's own of CPU builds
#   DIALS="steps=800"     dials of the demo's dag
#   WORKERS=3             processes that run the tests; most of them wait for others

PYTHON ?= python3
TORCH_INDEX ?=
DIALS ?=
NAME ?=
WORKERS ?= 3
KILLS ?= 100
SEED ?= 0
BIN := .venv/bin
# Byte code is made at first use, since most modules of these packages are never imported; and kept, since many processes import the rest.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
INSTALL := install --no-compile -c constraints.txt
DEMO := .venv/.demo-installed
DEV := .venv/.dev-installed
MEASURED := PYTHONPATH="$(CURDIR):$(CURDIR)/tests/measure"

.PHONY: help demo test lint unit elsewhere bench chaos nodes rented constraints clean

help:
	@echo "make demo          set up, then raw pages to a model that answers ($(BIN)/corpusmill run quickstart)"
	@echo "make test          set up, then every check and test"
	@echo "make elsewhere     the tests on three nodes, on rented machines and under kills: CI runs them too"
	@echo "make lint          ruff, mypy and the import contracts"
	@echo "make bench NAME=…  one benchmark beside its peers; without NAME, their list"
	@echo "make chaos         kill -9 everywhere, KILLS=$(KILLS) times, drawn from SEED=$(SEED): every run ends in the same digests"
	@echo "make nodes         the demo on three machines in network namespaces (Linux, root), two of which are lost: the same digests"
	@echo "make rented        the demo here, on rented machines (our own servicer stands for Modal), and with one of them and the driver lost"
	@echo "make constraints   write constraints.txt from what .venv holds"
	@echo "make clean         remove .venv and the caches; the store .corpusmill stays"

demo: $(DEMO)
	@from=$$(date +%s); status=0; $(BIN)/corpusmill run quickstart $(DIALS) || status=$$?; \
	echo "run: $$(( $$(date +%s) - from )) s"; exit $$status

test: lint unit

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: $(DEV)
	@rm -f .coverage .coverage.*
	$(MEASURED) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not elsewhere" \
	--cov --cov-report=term:skip-covered --durations=10

elsewhere: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m elsewhere --durations=10

bench: $(DEV)
	@$(BIN)/python -m bench $(NAME)

chaos: $(DEV)
	@$(BIN)/python -m tests.chaos $(KILLS) $(SEED)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"error: Corpusmill needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 …")'
	@echo "install: creating .venv"
	@$(PYTHON) -m venv .venv || { echo "error: $(PYTHON) cannot create .venv; on Debian, install python3-venv"; rm -rf .venv; exit 1; }

# torch comes first and at its pin, so that nothing after it picks another build. TORCH_INDEX is asked for it and what it needs.
$(DEMO): pyproject.toml constraints.txt | .venv/bin/python
	@from=$$(date +%s); \
	echo "install 1/2: torch (the largest)" && \
	$(PIP) $(INSTALL) $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") torch setuptools && \
	echo "install 2/2: the other packages, pinned in constraints.txt" && \
	$(PIP) $(INSTALL) --no-build-isolation -e '.[all]' && \
	echo "install: $$(( $$(date +%s) - from )) s" && touch $@

$(DEV): $(DEMO) tests/skypilot.txt
	@echo "install: what the tests need" && \
	$(PIP) $(INSTALL) --no-build-isolation -e '.[all,dev]' && \
	$(PIP) install --no-compile --no-deps --upgrade --target .venv/skypilot -r tests/skypilot.txt && \
	{ $(BIN)/python -m tests.compiled >/dev/null 2>&1 || { echo "error: $(BIN)/python -m tests.compiled fails"; exit 1; }; } && touch $@

nodes: $(DEV)
	@$(BIN)/python -m tests.chaos.nodes $(DIALS)

rented: $(DEV)
	@$(BIN)/python -m tests.executors.rented $(DIALS)

constraints:
	@{ sed -n '/^#/p' constraints.txt; \
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+[a-z0-9.]*$$//' | LC_ALL=C sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov
