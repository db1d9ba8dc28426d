# make          the environment, then the default sweep, end to end, and results/report.html
# make test     the environment with the test tools, then pytest on all cores
# make test-all the same with the tests that take longest
# make check    format, lint, types, workflow lint
# make ui       the MLflow UI on the project's runs
# make clean    remove what was generated, but not .venv and results/records
# make lock     renew the lock files from pyproject.toml
PYTHON ?= python3
PORT ?= 5000
CORES ?= all
BIN := .venv/bin
# pip would compile on one core; compileall takes all, and a file that does not compile is no error.
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --requirement

.PHONY: all environment test test-all check ui clean lock

all: environment
	$(BIN)/snakemake --cores $(CORES)
	@echo "Open results/report.html; make ui shows the runs in MLflow."

environment: .venv/.installed

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python " + sys.version.split()[0] + " is too old: Onewafer needs 3.11 or newer; say which with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.lock | .venv/bin/python
	@echo "Installing the environment into .venv (once; some minutes)"
	@$(INSTALL) requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@touch $@

.venv/.installed-test: requirements-test.lock .venv/.installed
	@echo "Installing the test tools into .venv (once)"
	@$(INSTALL) requirements-test.lock
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@touch $@

test: .venv/.installed-test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not long"

test-all: .venv/.installed-test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: .venv/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers auto
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

ui: environment
	@test -f results/mlflow.db || { echo "results/mlflow.db: no runs yet; make trains the default sweep"; exit 1; }
	@echo "Open http://127.0.0.1:$(PORT)/#/experiments/1/runs?workflowType=machine_learning"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --workers 1 --port $(PORT) \
	    --backend-store-uri sqlite:///$(CURDIR)/results/mlflow.db

clean:
	find results -mindepth 1 -maxdepth 1 ! -name records -exec rm -rf {} + 2>/dev/null || true
	rm -rf .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pipeline wse tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# torch's local version (+cpu) names a build, not a release: the lock takes the release.
COMPILE := $(BIN)/pip-compile --quiet --upgrade --strip-extras --allow-unsafe --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links pyproject.toml
lock: .venv/.installed-test
	$(COMPILE) --output-file requirements.lock
	sed -i 's/+cpu$$//' requirements.lock
	$(COMPILE) --extra test --constraint requirements.lock --output-file requirements-test.lock
	sed -i 's/+cpu$$//' requirements-test.lock
