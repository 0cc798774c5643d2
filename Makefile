# fakehw: hardware that does not exist, for Kubernetes. `make` prints what there is.
#   the main job, no cluster:  make demo
#   before a commit:           make test lint
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint fmt proto verify-proto lock clean-venv

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Start here (Python 3.11+ and make are enough)

demo: $(VENV)/.run ## Play the whole story on this machine; PLAY=1 keeps it up to break things by hand
	@$(BIN)/python hack/demo.py $(if $(PLAY),--play)

setup: $(VENV)/.dev ## Make the virtual environment with everything for development

##@ Check

test: $(VENV)/.dev ## Run all tests but those that need a cluster
	$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/.dev ## Style, types, import arrows, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	hack/verify-proto.sh

fmt: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

##@ Generate

proto: $(VENV)/.dev ## Regenerate plugin/api from proto/
	hack/update-proto.sh

lock: $(VENV)/.dev ## Pin the newest allowed versions, with hashes (deploy/requirements.txt, hack/requirements-dev.txt)
	hack/update-lock.sh

##@ Clean

clean-venv: ## Remove the virtual environments
	rm -rf $(VENV) $(VENV)-proto $(VENV)-lock

# What runs (demo, image) and what develops are locked apart; each stamp is made again when its lock or the metadata changes.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fakehw needs Python 3.11 or newer; $$($(PYTHON) -V) is $(PYTHON): set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment (on Debian: install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.run: deploy/requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) (once) ..."
	@$(PIP) install --require-hashes -r deploy/requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: hack/requirements-dev.txt $(VENV)/.run
	@echo "setting up $(VENV) for development (once) ..."
	@$(PIP) install --require-hashes -r hack/requirements-dev.txt
	@touch $@
