# A machine with Python 3.11 or newer, pip 22.3 or newer and make is enough: the virtual
# environment is made here, needs no ensurepip and is never activated.
PY ?= python3
VENV = .venv
BIN = $(VENV)/bin
PIP = $(PY) -m pip --disable-pip-version-check --python $(BIN)/python install -q
REPORT = reports/comparison.html
# The extra "peers", one by one: one that can't be installed here is a row that says so.
PEERS = ipyparallel joblib mpire numba ray
# Seconds of `make chaos`, its other long tests aside.
CHAOS_S = 180
# More than there are cores: most tests wait for processes to start.
JOBS = 3
# A test that hangs fails, and the others go on. pytest-xdist waits for ever once it has put
# another process in the place of one that died, so it may not; nor may the whole take longer
# than LIMIT_S (macOS has no command for that).
LIMIT_S = 2400
LIMIT = $(if $(shell command -v timeout),timeout --foreground -k 30 $(LIMIT_S))
PARALLEL = -n $(JOBS) --dist loadgroup --max-worker-restart 0 --timeout-method signal

# Tests start some thousand interpreters, each of which would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL = help
.PHONY: help compare test check format unit oldest chaos notebooks bench docs pictures clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

compare: $(VENV)/.data $(VENV)/.peers ## Compare all back ends on real data and write a report page
	@mkdir -p reports
	$(BIN)/daskkit compare flights landmask --backend all --report $(REPORT)

test: check unit oldest ## Run all checks: lint, types, tests, doctests, notebooks

check: $(VENV)/.dev ## Check style, types and spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

unit: $(VENV)/.dev ## Run the tests and doctests
	$(LIMIT) $(BIN)/python -m pytest -q $(PARALLEL)

oldest: $(VENV)/oldest/.made ## Compare apply with the oldest pandas that is supported
	@! test -x $(VENV)/oldest/bin/python || \
	  $(VENV)/oldest/bin/python -m pytest -q -m 'not slow' -W default tests/test_frames.py tests/test_lazy_frames.py

chaos: $(VENV)/.dev ## Kill, freeze and hold up workers at random for minutes
	DASKKIT_CHAOS=$(CHAOS_S) $(BIN)/python -m pytest -rA --tb=short tests/test_chaos.py tests/test_faults_size.py tests/test_faults_time.py tests/test_faults_verbs.py

notebooks: $(VENV)/.dev ## Execute the notebooks
	$(BIN)/python -m pytest -q tests/test_notebooks.py

bench: $(VENV)/.dev ## Run the benchmarks; prints ratios
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/.dev ## Check that the documents' links and examples hold
	$(BIN)/python -m pytest -q tests/test_docs.py

pictures: $(VENV)/.dev ## Take the pictures of docs/dashboard.md anew
	@mkdir -p docs/images
	$(BIN)/python -m tests.screenshots docs/images

clean: ## Remove everything that was made
	rm -rf $(VENV) reports dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made: Makefile
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "daskkit needs Python 3.11 or newer; say which: make PY=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PY) -m venv --without-pip $(VENV)
	@touch $@

# It has no wheels for Python 3.13. The little that is imported compiles then.
$(VENV)/oldest/.made: $(VENV)/.made pyproject.toml
	@mkdir -p $(@D)
	@if $(PY) -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
	  $(PY) -m venv --without-pip $(@D) && \
	  $(PY) -m pip --disable-pip-version-check --python $(@D)/bin/python install -q \
	    --no-compile -e . 'pandas==2.1.*' 'numpy==1.26.*' 'pyarrow<20' pytest pytest-timeout hypothesis; \
	else echo "pandas 2.1 is not tested: it has no wheels for this Python"; fi
	@touch $@

$(VENV)/.data: $(VENV)/.made pyproject.toml
	$(PIP) -e '.[data]'
	@touch $@

$(VENV)/.peers: $(VENV)/.data
	@$(PIP) -e '.[peers]' || for peer in $(PEERS); do $(PIP) $$peer || \
	  echo "$$peer can't be installed here; its rows will say so"; done
	@touch $@

# Compiled on all cores, and without the tests of other libraries, which are half of all
# files; pip would take another quarter of a minute.
$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(PIP) --no-compile -e '.[dev]'
	-@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib
	@touch $@ $(VENV)/.data $(VENV)/.peers
