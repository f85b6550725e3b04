# Everything a fresh machine needs: `make demo` and `make test` install what is missing first.
#
#   make demo      the whole journey on built-in phantoms      make lint    style, formatting, types, the commit guard
#   make test      every test, slow ones included              make bench   measurements into benchmarks/results/
#   make coverage  every test, with branch coverage            make clean   caches and the demo, never your work
#   make venv      only the set-up
#   make full-fracatlas  (-hippocampus, -adrenal, -brain-mri)  a family's real experiments, on a GPU, MINUTES=25 at most

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Two test processes with one thread each; a training takes all cores.
TEST_PROCESSES ?= 2
# Of a full run, which goes on where it was stopped; PACK=fracatlas.pack trains without the raw dataset.
MINUTES ?= 25
PACK ?=
QUIET := HF_HUB_OFFLINE=1 NO_ALBUMENTATIONS_UPDATE=1
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help venv demo test coverage lint format bench clean full-fracatlas full-hippocampus full-adrenal full-brain-mri

help:
	@sed -n '2,8s/^# \{0,1\}//p' Makefile

venv: $(INSTALLED)

$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "heldout needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "cannot create .venv: install the venv module (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

demo: $(INSTALLED)
	$(QUIET) $(BIN)/python run.py demo

test: $(INSTALLED)
	$(QUIET) $(ONE_THREAD) $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadscope --durations 5

coverage: $(INSTALLED)
	$(BIN)/coverage erase
	-$(QUIET) $(ONE_THREAD) $(BIN)/coverage run -m pytest -q -n $(TEST_PROCESSES) --dist loadscope
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

full-fracatlas full-hippocampus full-adrenal full-brain-mri: $(INSTALLED)
	$(QUIET) $(BIN)/python run.py full $(@:full-%=%) --minutes $(MINUTES) $(if $(PACK),--pack $(PACK))

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/guard.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(QUIET) $(BIN)/python benchmarks/run_all.py

clean:
	rm -rf working/demo .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
	find src exps tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
