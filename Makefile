# Everything goes through a virtual environment in .venv, made at first use. `make help` lists the targets.

PYTHON  ?= python3
EXP     ?= quickstart
ARGS    ?=
CLUSTER ?= local
DATASET ?= cifar10
OUTPUT  ?= outputs
VENV    := .venv
BIN     := $(VENV)/bin
QUIET   := $(shell test -t 2 || echo --quiet)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup data sweep plan status figures report claims verify publish estimate test test-slow test-slurm lint \
	format docs wandb-sync lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  EXP=quickstart names an experiment of conf/experiment, CLUSTER=local where it runs, of conf/cluster;"
	@echo "  ARGS='seed=0,1 cluster.workers=1' overrides settings"

$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) is too old, 3.11 is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up $(VENV) (once; minutes where torch must be downloaded)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install $(QUIET) -r requirements.txt
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp requirements-dev.txt
	@$(BIN)/pip install $(QUIET) -r requirements-dev.txt
	@touch $@

setup: $(VENV)/run.stamp ## make the virtual environment

data: setup ## fetch and verify a data set: make data DATASET=cifar10
	@$(BIN)/python -m study.data.fetch $(DATASET)

CELLS = $(filter-out cluster.%,$(ARGS))
STATUS = make status EXP=$(EXP)$(if $(filter-out outputs,$(OUTPUT)), OUTPUT=$(OUTPUT))$(if $(CELLS), ARGS='$(strip $(CELLS))')

sweep: setup ## run an experiment, then its table and figure; again: only what is missing
	@$(BIN)/python -m study.train experiment=$(EXP) output=$(OUTPUT) cluster=$(CLUSTER) $(ARGS)
ifneq (,$(findstring cluster.wait=false,$(ARGS)))
	@echo "next: $(STATUS) tells how far it is; the same command, with cluster.wait=true, shows the results"
else
	@$(BIN)/python -m study.analysis --records $(OUTPUT)/records $(EXP)
	@echo "next: look at results/figures/$(EXP).png, or run one cell: $(BIN)/python -m study.train method=snip sparsity=0.99 seed=0"
endif

plan: setup ## what an experiment needs, what is done, how long the rest takes; runs nothing
	@$(BIN)/python -m study.train experiment=$(EXP) output=$(OUTPUT) cluster=$(CLUSTER) dry_run=true $(ARGS)

status: plan ## the same; of what was sent to Slurm, what is done, running, queued and failed

estimate: setup ## time, energy, CO2 and money of an experiment on GPUs and a laptop; runs nothing, needs no data
	@$(BIN)/python -m study.estimate $(EXP) $(ARGS)

figures: setup ## rebuild tables, figures and results/REPORT.md from the records, yours or else the published ones
	@$(BIN)/python -m study.analysis

report: setup ## all of that, and results/report.html: a page to sort and to filter, which needs no network
	@$(BIN)/python -m study.analysis --page

claims: setup ## the papers' claims and what the records say of each
	@$(BIN)/python -m study.analysis --claims

verify: setup ## rebuild everything from the published records elsewhere; fail on a difference from what is committed
	@$(BIN)/python -m study.analysis --records results/records --verify

wandb-sync: setup ## upload the W&B runs that were kept offline; ARGS=--dry-run shows them
	@WANDB_DIR=$(OUTPUT) $(BIN)/wandb sync --yes $(ARGS)

publish: setup ## copy an experiment's records, and the masks that figures need, to results/records, to be committed
	@$(BIN)/python -m study.publish --output $(OUTPUT) $(EXP)

test: $(VENV)/test.stamp ## run the tests
	@$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: $(VENV)/test.stamp ## run the tests with large networks, ImageNet's among them
	@$(BIN)/python -m pytest -n auto --dist load -m slow

test-slurm: $(VENV)/test.stamp ## run the tests on a real Slurm, which scripts/slurm_local.sh start has started
	@$(BIN)/python -m pytest -rs -m slurm

lint: $(VENV)/test.stamp ## ruff, mypy, the direction of imports, what nothing uses
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture

format: $(VENV)/test.stamp ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/test.stamp ## build the documentation into docs/build
	@$(BIN)/sphinx-build -q -W -n -b html docs docs/build
	@echo "next: open docs/build/index.html"

lock: $(VENV)/test.stamp ## pin all packages anew in requirements*.txt
	@$(BIN)/pip install --quiet pip-tools
	@for extra in "--output-file=requirements.txt" "--output-file=requirements-dev.txt --extra=dev --constraint=requirements.txt"; do \
		CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --strip-extras --no-annotate --no-emit-index-url \
			--no-emit-find-links --no-emit-trusted-host --upgrade-package torch==2.13.0 $$extra pyproject.toml; done
	@sed -i.old 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements.txt requirements-dev.txt && rm requirements*.old

clean: ## remove the environment, caches and built pages; never outputs, records or data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache docs/build
