# Every target sets up what it needs: a virtual environment in .venv with seedwise and its tools.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
STAMP  := $(VENV)/.installed
C      := src/seedwise/kernels/csrc/* tests/gpu/*.[ch]
# One thread a test worker: workers with two threads each would fight over the cores. A third worker of the fast suite
# computes while another waits for a process or a clock.
# Compiled bytecode is kept, whatever the environment says: hundreds of tests start a process that imports all of src.
TEST_ENV := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=

.PHONY: demo quick test test-slow coverage mutants soak check docs bench format clean

demo: $(STAMP)                     ## five seeds on embedded data, then the summary
	$(BIN)/seedwise train digits -r demo --seeds 5 -o runs/demo

quick: $(STAMP)                    ## the tests that need no tensors, while you write
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist worksteal -m "not slow and not tensors"

test: $(STAMP)                     ## the test suite
	$(TEST_ENV) $(BIN)/pytest -n 3 --dist worksteal -m "not slow" --durations 25

test-slow: $(STAMP)                ## the tests that take minutes
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist worksteal -m "slow and not alone" --durations 15
	$(TEST_ENV) $(BIN)/pytest -m "slow and alone" --durations 15

soak: $(STAMP)                     ## break it on purpose, for most of an hour; SOAK="--seed 7 --kills 100", or a part's name
	$(BIN)/python tests/soak $(SOAK)

check: $(STAMP)                    ## style, types, layers, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLW1514 src benchmarks docs hatch_build.py  # text without an encoding
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run -Werror $(C)
	$(BIN)/python tests/house.py

docs: $(STAMP)                     ## the documentation site in site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

coverage: $(STAMP)                 ## the test suite, and which lines it runs; less than fail_under in pyproject.toml fails
	$(TEST_ENV) $(BIN)/pytest -n 3 --dist worksteal -m "not slow" --durations 25 --cov --cov-report=term:skip-covered

mutants: $(STAMP)                  ## faults put into a copy of src, each of which the tests named for it have to notice; MUTANTS="--all"
	PYTHONDONTWRITEBYTECODE=1 $(BIN)/python tests/mutation/run.py $(MUTANTS)  # a fault may be as long as what it replaces

bench: $(STAMP)                    ## what is missing in benchmarks/results.json -> docs/performance.md; BENCH=--fresh: all
	$(BIN)/python benchmarks/suite.py $(BENCH)
	$(BIN)/python benchmarks/page.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C)

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[dev,docs]"
	touch $@
