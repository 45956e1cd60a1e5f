# `make help` lists what can be done. Works from any directory: make -C path/to/this/folder serve

PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --no-input
DATA ?= ../shared/data/artifact_mini
TASK ?= both
INIT ?= imagenet
VERSION ?= 0.1
ROUNDS ?=
FROM := $(PWD)

.PHONY: help serve ask token logs status stop test load bench archives train evaluate release clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12
	@echo
	@echo "Variables: PYTHON=$(PYTHON) DATA=$(DATA) TASK=$(TASK) INIT=$(INIT) VERSION=$(VERSION) ROUNDS=$(ROUNDS)"

serve: archives ## install, build the archives, start the server, ask about a photograph
	@$(PY) -m server start --demonstrate

ask: .venv/serving.stamp ## ask about a picture of your own: make ask PICTURE=path
	@test -n "$(PICTURE)" || { echo "Say which: make ask PICTURE=path/to/picture.jpg"; exit 2; }
	@$(PY) -m server ask "$(if $(filter /%,$(PICTURE)),$(PICTURE),$(FROM)/$(PICTURE))"

token: .venv/serving.stamp ## print the token that requests need
	@$(PY) -m server token

logs: ## follow the server's logs
	@tail -n 40 -F .server/logs/ts_log.log .server/logs/model_log.log

status: .venv/serving.stamp ## say whether the server runs
	@$(PY) -m server status

stop: ## stop the server
	@test ! -x $(PY) || $(PY) -m server stop

test: .venv/tests.stamp ## run the whole test suite
	@$(PY) -m pytest

load: .venv/loadtests.stamp ## let Locust's users loose on the running server for half a minute
	@IMAGETRUST_TOKEN=$$($(PY) -m server token) PYTHONPATH=. $(PY) -m locust -f loadtests/locustfile.py --headless \
	  --host http://127.0.0.1:8080 --users 8 --spawn-rate 4 --run-time 30s --stop-timeout 20 --only-summary

bench: .venv/benchmarks.stamp ## measure what an answer costs, here and with other servers (docs/benchmarks.md)
	@$(PY) -m benchmarks.compare

archives: .venv/serving.stamp ## build model_store/*.mar from the released weights
	@$(PY) -m archive_scripts.build

train: .venv/training.stamp ## train: make train DATA=root TASK=both|authenticity|generator_type INIT=imagenet|none|file
	@test -d "$(DATA)" || { echo "No data set at $(DATA). Training needs an ArtiFact root: make train DATA=path"; exit 2; }
	$(PY) -m training.train --data "$(DATA)" --task $(TASK) --init "$(INIT)" --out runs/$(TASK) --resume
	$(PY) -m training.refit --data "$(DATA)" --run runs/$(TASK)

evaluate: .venv/training.stamp ## score the released weights of TASK on the test split of DATA
	@test -d "$(DATA)" || { echo "No data set at $(DATA). Evaluation needs an ArtiFact root: make evaluate DATA=path"; exit 2; }
	@mkdir -p runs
	@for task in $(if $(filter both,$(TASK)),authenticity generator_type,$(TASK)); do \
	  $(PY) -m training.evaluate --data "$(DATA)" --weights model_store/released/$$task.safetensors \
	    --out runs/$$task.test.json || exit 1; \
	done

release: .venv/training.stamp ## calibrate, score and release the run of TASK as VERSION, with ROUNDS=runs/unseen
	$(PY) -m training.release --data "$(DATA)" --run runs/$(TASK)/refitted --version $(VERSION) \
	  $(if $(ROUNDS),--rounds "$(ROUNDS)")

clean: stop ## remove the environment, the archives and the server's folder; keep runs
	rm -rf .venv .server .tests .hypothesis .pytest_cache .ruff_cache model_store/*.mar

# The private environment. A stamp is touched when its packages are in; it is older than a requirement that changed.
.venv/created.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed, $(PYTHON) is older or missing. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making a private environment in .venv ..."
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/serving.stamp: requirements/serving.txt requirements/samples.txt requirements/constraints.txt .venv/created.stamp
	@echo "Installing the server (the README says how much; once) ..."
	@$(PIP) -r requirements/serving.txt
	@$(PIP) --no-deps -r requirements/samples.txt
	@touch $@

.venv/training.stamp: requirements/training.txt .venv/serving.stamp
	@echo "Installing what training needs ..."
	@$(PIP) -r requirements/training.txt
	@touch $@

.venv/loadtests.stamp: requirements/loadtests.txt .venv/serving.stamp
	@echo "Installing Locust ..."
	@$(PIP) -r requirements/loadtests.txt
	@touch $@

.venv/benchmarks.stamp: requirements/benchmarks.txt .venv/serving.stamp
	@echo "Installing the servers to compare with ..."
	@$(PIP) -r requirements/benchmarks.txt
	@touch $@

.venv/tests.stamp: requirements.txt requirements/loadtests.txt requirements/benchmarks.txt requirements/tests.txt .venv/training.stamp
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements.txt
	@touch $@
