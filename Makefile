# Two commands do everything, set-up included: `make demo` runs the main job, `make test` every check.
# `make test-fast` runs every check, and the tests that are quick and start neither Ray nor vLLM.
PYTHON ?= python3
VENV ?= .venv
LOCK ?= requirements/cpu.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export RAY_AUTH_MODE ?= token

.PHONY: demo test test-fast quick-tests check docs lock clean

demo: $(READY)
	$(BIN)/kpod run configs/laptop.yaml

test: check quick-tests
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "ray or slow"

test-fast: $(READY)
	$(MAKE) --jobs=2 --output-sync check quick-tests

quick-tests: $(READY)
	$(BIN)/pytest --numprocesses 2 -m "not ray and not slow"

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zensical build --strict --clean

docs: $(READY)
	$(BIN)/python -m docs.reference
	$(BIN)/zensical build --strict --clean

# pip would compile on one core; like it, this passes over files that are no Python of this version.
$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes --no-compile -r $(LOCK)
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lock: $(READY)
	$(BIN)/pip install --quiet uv
	$(BIN)/python requirements/lock.py cpu
	$(BIN)/python requirements/lock.py gpu

clean:
	rm -rf $(VENV) site .cache .mypy_cache .ruff_cache .pytest_cache
