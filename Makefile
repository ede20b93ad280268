# What one does daily. `make setup` is part of every target: a fresh clone needs nothing beforehand but Python and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The tests start hundreds of processes; without bytecode each of them compiles the package, for a second.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo dev test faults bench bench-large lint docs format clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.10 to 3.13 is needed: make PYTHON=python3.12 setup"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## the whole way on sample students, in the embedded database
	$(BIN)/snapshot-pipeline demo

dev: setup  ## the Dagster UI on http://127.0.0.1:3000
	$(BIN)/snapshot-pipeline dev

test: setup  ## all tests but those that break things, a file at a time on each processor
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --ignore snapshot_pipeline_tests/faults

faults: setup  ## breaks a whole installation in every way that is known, and prints what came of it
	$(BIN)/python -m pytest snapshot_pipeline_tests/faults

bench: setup  ## what it costs, beside other ways of computing the same; ten minutes, and as long for the data at first
	$(BIN)/python -m benchmarks all

bench-large: setup  ## the same with a million students as well
	$(BIN)/python -m benchmarks all --large

lint: setup  ## style, types, and that Dagster can load the definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	DAGSTER_HOME=$(CURDIR)/$(VENV) $(BIN)/dagster definitions validate  # no dagster.yaml there: no database is started

docs: setup  ## docs/tables.md, from the table definitions
	$(BIN)/python docs/make_tables.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## stops and deletes the embedded server, and removes all that was made here
	-test ! -x $(BIN)/snapshot-pipeline || env -u SNAPSHOT_DATABASE_URL $(BIN)/snapshot-pipeline db delete --yes
	-test ! -d .snapshot_pipeline/benchmarks || $(BIN)/python -m benchmarks delete
	rm -rf $(VENV) .snapshot_pipeline .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info logs .logs_queue .tmp_dagster_home_*
