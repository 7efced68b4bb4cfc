# Each target does its own set-up: Python 3.11, make and a C compiler are all that a fresh machine needs.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= primum-demo
# Real medical data, where it is present: PRIMUM_DATA for the suites, PRIMUM_ORACLES for worked examples.
export PRIMUM_DATA ?= $(wildcard ../shared/data)
export PRIMUM_ORACLES ?= $(wildcard ../shared/oracles)

.PHONY: install demo test check format test-real bench bench-runtimes bench-batcher bench-serving coverage clean soak

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/primum demo --out $(OUT)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not real and not slow" -n 2 --dist worksteal

test-real: install
	$(BIN)/pytest -m "real or slow" -n 1

bench: install
	$(BIN)/python benchmarks/peers.py

bench-runtimes: install
	$(BIN)/python benchmarks/runtimes.py

bench-batcher: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/batcher.py

# Needs an idle machine and some 75 minutes; SERVING='--quick --only primum,floor' shows that it works.
bench-serving: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/serving/compare.py $(SERVING)

# A million requests with clients that leave, executors killed and artifacts replaced: some 10 minutes on two cores.
soak: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py

coverage: install
	$(BIN)/python benchmarks/coverage.py --jobs 2 $(foreach s,tango gate auroc select clustered power guard,--section $(s))
	$(BIN)/python benchmarks/coverage.py --jobs 2 --section patients --section means --out docs/coverage-patients.md

clean:
	rm -rf .venv build dist src/*.egg-info
