# Every target runs `make setup` first: a fresh clone needs only Python and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest

# The tests start hundreds of processes. Without bytecode files each of them would take a second to compile the package.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo dev test test-system faults bench bench-large lint docs format clean

setup: $(VENV)/.installed

# uv installs in seconds, pip in a minute; pip is the fallback for machines on which uv cannot reach the package index.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.10 to 3.13 is needed: make PYTHON=python3.12 setup"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || $(PIP_INSTALL) uv || true
	@PATH="$$PATH:$(CURDIR)/$(BIN)"; \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]' || \
	  { echo "uv could not install the dependencies; trying pip"; $(PIP_INSTALL) --editable '.[dev]'; } || \
	  { echo "error: the dependencies could not be installed; check the connection to the package index (pypi.org, or the one in pip's configuration), then run make setup again"; exit 1; }
	@touch $@

demo: setup  ## plays twelve weeks of sample students in the embedded database, with an incident to resolve
	$(BIN)/snapshot-pipeline demo

dev: setup  ## opens the Dagster UI on http://127.0.0.1:3000
	$(BIN)/snapshot-pipeline dev

# More workers than cores, because the tests often wait for databases and processes.
test: setup  ## runs the tests that need only PostgreSQL and Dagster
	$(PYTEST) -m 'not system' --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1))

test-system: setup  ## runs the other tests: browser, Celery, Dask clusters, a replica, running instances, faults, faked clocks
	$(PYTEST) -m system --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 2))

faults: setup  ## runs only the tests that break a whole installation, more often than test-system; prints a table of the injected faults
	SNAPSHOT_TEST_FAULTS=thorough $(BIN)/python -m pytest snapshot_pipeline_tests/faults

bench: setup  ## times the pipeline against other ways to compute the same; 10 minutes, 20 the first time
	$(BIN)/python -m benchmarks all

bench-large: setup  ## does the same, also with a million students
	$(BIN)/python -m benchmarks all --large

lint: setup  ## checks style, types, and that Dagster can load the definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	DAGSTER_HOME=$(CURDIR)/$(VENV) $(BIN)/dagster definitions validate  # without a dagster.yaml, so that no database is started

docs: setup  ## regenerates docs/tables.md from the table definitions
	$(BIN)/python docs/make_tables.py

format: setup  ## applies ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## stops the embedded server and deletes everything that the targets created
	-test ! -x $(BIN)/snapshot-pipeline || env -u SNAPSHOT_DATABASE_URL $(BIN)/snapshot-pipeline db delete --yes
	-test ! -d .snapshot_pipeline/benchmarks || $(BIN)/python -m benchmarks delete
	rm -rf $(VENV) .snapshot_pipeline .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info logs .logs_queue .tmp_dagster_home_*
