# fakehw: hardware that does not exist, for Kubernetes. `make` prints what there is.
#   the main job, no cluster:  make demo
#   before a commit:           make test lint
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What a shell or a CI system has set for the commands (NODE_NAME is anybody's) is not for those that are started here.
unexport NODE_NAME $(filter FAKEHW_%,$(.VARIABLES))

.DEFAULT_GOAL := help
.PHONY: bench scale help setup demo test test-lengthy test-faults test-wheel lint fmt proto verify-proto lock clean-venv reference pictures manifests \
	cluster build start status pods break mend stop clean e2e fidelity kubernetes-row image-size verify-image \
	faults soak fuzz mutants audit sbom

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Start here (Python 3.11+ and make are enough)

demo: $(VENV)/$(if $(filter dra,$(API)),.dev,.run) ## Play the whole story on this machine; PLAY=1 keeps it up, SPEC=gpu-server shows other nodes, API=dra by DRA
	@$(if $(filter dra,$(API)),$(BIN)/python hack/demo_dra.py,$(if $(SPEC),$(BIN)/python -m fakehw_fleet up $(SPEC),$(BIN)/python hack/demo.py $(if $(PLAY),--play)))

setup: $(VENV)/.dev ## Make the virtual environment with everything for development

##@ Check

test: $(VENV)/.dev ## Run all tests but those that need a cluster (TESTS="path -k word" for some, WORKERS=0 for one process)
	$(BIN)/python -m pytest --numprocesses $(or $(WORKERS),$(if $(TESTS),0,auto)) --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(TESTS)

test-lengthy: $(VENV)/.dev ## Test what takes long: manifests, the pages' samples, fleets, broken drivers, the kit's command, top, the gallery
	$(BIN)/python -m pytest -m lengthy --numprocesses auto --maxprocesses 8 --dist loadfile tests/integration tests/e2e

test-faults: $(VENV)/.dev ## Play every fault of `make faults` once, but those that take long
	$(BIN)/python -m pytest -m played --numprocesses 3 --dist load tests/integration/test_faults_played.py

test-wheel: $(VENV)/.dev ## Build the wheel and test what it brings, in an environment of its own
	$(BIN)/python -m pytest -m wheel --numprocesses 0 tests/e2e/test_wheel.py

ACTIONLINT ?= $(shell command -v actionlint)

lint: $(VENV)/.dev ## Style, types, import arrows, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck hack/*.sh
	$(if $(ACTIONLINT),$(ACTIONLINT) deploy/ci/*.yml,@echo "actionlint is missing: the workflows were not linted")
	hack/verify-proto.sh

fmt: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

##@ Generate

proto: $(VENV)/.dev ## Regenerate plugin/kubeletapi from proto/
	hack/update-proto.sh

verify-proto: $(VENV)/.dev ## Check that plugin/kubeletapi is what proto/ generates
	hack/verify-proto.sh

lock: $(VENV)/.dev ## Pin the newest allowed versions, with hashes (deploy/requirements.txt, hack/requirements-dev.txt)
	hack/update-lock.sh

manifests: ## Write what in deploy/ is another file in another form (alert rules as an object)
	@$(PYTHON) hack/manifests.py

##@ Docs

reference: $(VENV)/.dev ## Write docs/reference-flags.md from the commands
	$(BIN)/python hack/reference.py

pictures: $(VENV)/.dev ## Draw the pictures of the documentation anew (docs/pictures)
	$(BIN)/python hack/pictures.py

##@ Cluster (kind and Docker to make one; kubectl and any cluster for the rest: docs/deploy.md)

export NODE KUBELET_DIR CDI_DIR POD_IMAGE KUBELET_RESTART_WITH RUNTIME_SOCKET IMAGE CLUSTER KUBECONFIG ENGINE BASE BUILD_FLAGS OVERLAY NODE1 NODE2 DEV REASON TREES TIMEOUT KUBELET_RESTART PYTHON COMPONENTS TREE KUBELET_ROOT TOPOLOGY API PODS

cluster: ## Make a kind cluster with two workers (CLUSTER=kind)
	@hack/cluster.sh cluster

build: ## Build the image and load it into the kind cluster, if there is one (IMAGE=fakehw:dev)
	@hack/cluster.sh build

start: ## Build the tree and run the plugin on every node of the current context (OVERLAY=kind NODE1= NODE2= COMPONENTS= TREE= API=dra)
	@hack/cluster.sh start

status: ## Show capacity and allocatable of the nodes; with DRA, what is free too
	@hack/cluster.sh status

pods: ## Run the example pods dp1-1, dp1-2, dp1-3 (PODS=deploy/claims.yaml asks by claims)
	@hack/cluster.sh pods

break: $(VENV)/.run ## Make devices unhealthy (DEV='*/dev3/*' REASON="over temperature"; docs/kubectl-fakehw.md)
	@hack/cluster.sh break

mend: $(VENV)/.run ## Make them healthy again (DEV=node2/dev3/2)
	@hack/cluster.sh mend

stop: ## Remove the example pods and the plugin
	@hack/cluster.sh stop

clean: ## Delete the kind cluster; on any other, also empty the trees on the nodes
	@hack/cluster.sh clean

e2e: $(VENV)/.dev ## Drive the cluster through the whole story, with timings (API=dra KUBELET_RESTART="command {node}")
	@hack/cluster.sh e2e

fidelity: $(VENV)/.dev ## Try on a real kubelet what tests try on the fake one, as root on its node (API=dra; docs/fake-kubelet.md)
	@$(BIN)/python -m $(if $(filter dra,$(API)),pytest -m cluster --numprocesses 0 -o log_cli=false tests/fidelity_dra,hack.fidelity) $(TESTS)

kubernetes-row: $(VENV)/.dev ## Run e2e and fidelity on the cluster in KUBECONFIG and write its row into docs/fake-kubelet.md
	@$(BIN)/python -m hack.kubernetes_row $(TESTS)

image-size: ## Show what the image weighs, layer by layer
	@hack/cluster.sh image-size

verify-image: $(VENV)/.dev ## Run the image as the manifests say, against a fake kubelet (docker or podman, as root)
	@$(BIN)/python hack/verify_image.py

##@ Speed

bench: $(VENV)/.dev ## Measure the plugin and the floors of this machine; AGAINST='other command' compares
	$(BIN)/python -m hack.bench $(if $(AGAINST),--against '$(AGAINST)') $(BENCH)

scale: $(VENV)/.run ## Many nodes on this machine, NODES=500 as a rule
	@$(BIN)/python hack/scale.py --nodes $(or $(NODES),500)

##@ Prove (docs/reliability.md, docs/security.md)

faults: $(VENV)/.dev ## Play every fault and print the table; ONLY=words, TRIES=number, WRITE=1 (into docs/reliability.md)
	$(BIN)/python hack/faults.py --only '$(ONLY)' --tries $(or $(TRIES),0) $(if $(WRITE),--write)

soak: $(VENV)/.dev ## Random histories against an independent reading: MINUTES=10, SEED=number, ROUNDS=number
	$(BIN)/python hack/soak.py --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) --rounds $(or $(ROUNDS),0)

fuzz: $(VENV)/.dev ## Every property with 3,000 examples, not the few of `make test` (TESTS="path -k word")
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --hypothesis-profile thorough --timeout 3600 -m hypothesis $(TESTS)

mutants: $(VENV)/.dev ## Change the code in one place at a time and see whether a test notices (SAMPLE=300 SEED=1 ONLY=fakehw/tree STATE=directory)
	$(BIN)/python -m hack.mutants --sample $(or $(SAMPLE),300) --seed $(or $(SEED),1) $(if $(STATE),--state $(STATE)) --only '$(ONLY)'

audit: $(VENV)-prove/.done ## Known vulnerabilities of the locked versions (needs the network)
	@VENV=$(VENV)-prove hack/audit.sh

sbom: $(VENV)-prove/.done ## CycloneDX of what the image installs, from the lock: build/sbom.cdx.json
	@mkdir -p build
	@$(VENV)-prove/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.cdx.json deploy/requirements.txt
	@echo "build/sbom.cdx.json: $$(grep -c '"bom-ref"' build/sbom.cdx.json) components"

$(VENV)-prove/.done: hack/requirements-prove.txt | $(VENV)/bin/python
	@$(VENV)/bin/python -m venv $(VENV)-prove
	@$(VENV)-prove/bin/python -m pip --disable-pip-version-check --quiet install -r hack/requirements-prove.txt
	@touch $@

##@ Clean

clean-venv: ## Remove the virtual environments
	rm -rf $(VENV) $(VENV)-proto $(VENV)-lock $(VENV)-prove

# What runs (demo, image) and what develops are locked apart; each stamp is made again when its lock or the metadata changes.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fakehw needs Python 3.11 or newer; $$($(PYTHON) -V) is $(PYTHON): set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment (on Debian: install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.run: deploy/requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) (once) ..."
	@$(PIP) install --require-hashes -r deploy/requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@echo "$(CURDIR)/plugin" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/fakehw_packages.pth" # compat, which costs no start-up time, names the root alone
	@touch $@

$(VENV)/.dev: hack/requirements-dev.txt $(VENV)/.run
	@echo "setting up $(VENV) for development (once) ..."
	@$(PIP) install --require-hashes -r hack/requirements-dev.txt
	@touch $@
