# Everything that a checkout needs is Python 3.11 or newer, with its venv module, and make.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test suite check format docs chaos chaos-long side-by-side second-opinion requirements clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed  ## a bridge on this machine, with a pretended Twilio and agent: needs no account (PORT=8010)
	$(BIN)/bridge demo $(if $(PORT),--port $(PORT))

test: check suite  ## check, and run every test

suite: $(VENV)/installed-dev  ## every test, without the checks
	$(BIN)/pytest --numprocesses 5 --dist loadscope --no-loadscope-reorder

check: $(VENV)/installed-dev  ## lint, format, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-dev  ## mend what can be mended by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/installed-dev  ## these documents as a site, in site/; every link must lead somewhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

SETUP ?= postgres-redis
SEED ?= 1
AGENT ?= retell
LONG := --texts 10000 --faults 1250 --phones 500 --rate 8 --disaster-every 10

chaos: $(VENV)/installed-dev  ## a minute of load with every fault: nothing lost, nothing twice (SETUP=postgres-rabbitmq, up-sqlite; AGENT=uponai, both; SEED=2)
	$(BIN)/python -m bench.chaos --setup $(SETUP) --agent $(AGENT) --seed $(SEED) --operators

chaos-long: $(VENV)/installed-dev  ## the same with 10,000 texts and more than 1,000 faults
	$(BIN)/python -m bench.chaos --setup $(SETUP) --agent $(AGENT) --seed $(SEED) --operators $(LONG)

side-by-side: $(VENV)/installed-dev bench/peer/node_modules  ## the peer, the tutorial's bridge and ours, measured (ARGS=…); see bench/README.md
	$(BIN)/python -m bench.side_by_side $(ARGS)

bench/peer/node_modules: bench/peer/package.json
	$(NPM) install --prefix bench/peer --no-package-lock --ignore-scripts
	@touch $@

SECOND := .second-opinion

second-opinion: $(VENV)/installed-dev $(SECOND)/installed  ## the bridge against what others wrote about its vendors; needs node and npm
	BRIDGE_TEST_SECOND_OPINION=$(SECOND) $(BIN)/pytest tests/second_opinion

requirements: $(VENV)/installed-dev  ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv --quiet pip compile pyproject.toml --upgrade --universal --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --output-file requirements.txt

clean:  ## remove the environment and what the tools left behind
	rm -rf $(VENV) $(SECOND) site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# What runs in production is installed first, pinned and checked by its hash; the tools come on top of it. An environment
# that is there keeps its Python: with another one, half of it would not load.
$(VENV)/installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes --requirement requirements.txt
	$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --editable '.[dev,docs]'
	@touch $@

# Twilio's command line is there for the OpenAPI document that it carries along; its hash is in the tests. What these
# packages need is taken as it was on that day, and nothing of it may run a script while it is installed.
EMULATE := emulate@0.11.2
PRISM := @stoplight/prism-cli@5.14.2
TWILIO_CLI := @twilio/cli-core@9.0.0
AS_OF := 2026-11-21

NPM := npm --loglevel error --no-audit --no-fund

$(SECOND)/installed: Makefile
	@command -v npm >/dev/null || { echo 'make second-opinion needs npm, and node 20 or newer' >&2; exit 1; }
	rm -rf $(SECOND)
	mkdir $(SECOND)
	$(NPM) install --prefix $(SECOND) --no-save --ignore-scripts --before $(AS_OF) $(EMULATE) $(PRISM)
	$(NPM) pack --pack-destination $(SECOND) $(TWILIO_CLI)
	tar -xzf $(SECOND)/twilio-cli-core-*.tgz -C $(SECOND)
	@touch $@
