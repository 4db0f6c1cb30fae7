# `make` alone lists the targets. Everything runs in .venv, which `make setup` makes.
#
# Names of folders may hold spaces and quotes: recipes read them from the environment
# ("$$DATA"), where make puts them, and the shell takes them as they are. What is not
# given is not passed on, so that a file of settings in ARGS keeps its say.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

DATA ?=
WEIGHTS ?=
PRESET ?= $(if $(DATA),fast,demo)
SEED ?=
OUTPUT ?= $(if $(DATA),output/run,output/demo)
ARGS ?=
URL ?=
BASE ?=
OTHER ?=
export DATA WEIGHTS PRESET SEED OUTPUT URL BASE OTHER

BIN := .venv/bin
# For commands with a folder of their own: nothing, unless the user names one.
GIVEN_OUTPUT := $(if $(filter file,$(origin OUTPUT)),,--output "$$OUTPUT")
# A seed draws phantoms of its own. In the recipes' shell, which takes it as it is.
PHANTOMS := output/phantoms$${SEED:+-$$SEED}
# A lock is made for its TFX: 1.16 has one Python, and needs glibc 2.28; 1.21 has several Pythons,
# from 3.11 to the one that `environments` in pyproject.toml ends at.
LOCK_FOR_1_16 := --python-version 3.10 --python-platform x86_64-manylinux_2_28
LOCK_FOR_1_21 := --python-version 3.11 --universal
COMPILE := .venv/uv/bin/uv pip compile --quiet --python $(BIN)/python --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
# --upgrade takes the newest versions; `make lock UPGRADE=` keeps those that still fit.
UPGRADE ?= --upgrade

.PHONY: help setup run study test test-changed test-long test-portable coverage lint format bench-beam bench-clinical bench-decoding bench-evaluation bench-export bench-featurizer bench-goals bench-heads bench-ingest bench-int8 bench-memory bench-recipes bench-report bench-run bench-scale bench-serving bench-serving-log bench-serving-start bench-serving-steady bench-signatures bench-startup bench-tables bench-training bench-watch conformance fuzz lock soak test-trixie clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@printf '%s\n' \
		'Variables of run: DATA (folder of images), WEIGHTS (folder of backbone weights),' \
		'PRESET (demo, fast, paper), OUTPUT (folder), SEED, ARGS (more options for "cxr run").' \
		'Variables of study: DATA, WEIGHTS, OUTPUT, ARGS (more options for "cxr study").' \
		'Variables of the tests: ARGS (files, or more options for pytest).'

setup: ## make .venv from the lock (instant when it is up to date)
	@scripts/setup.sh

run: setup ## train, evaluate and push: DATA=folder WEIGHTS=folder, or generated phantoms
ifeq ($(strip $(DATA)),)
	$(BIN)/cxr phantoms --out "$(PHANTOMS)" --per-class 36,60,48 --size 256 --seed "$${SEED:-0}"
	$(BIN)/cxr run --data "$(PHANTOMS)" --preset "$$PRESET" --output "$$OUTPUT" \
		$${SEED:+--seed "$$SEED"} $${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)
	@image=$$(find "$(PHANTOMS)" -name '*.png' | sort | sed -n 1p); \
		$(BIN)/cxr predict --model-dir "$$OUTPUT/serving" "$$image"
else
	$(BIN)/cxr run --data "$$DATA" --preset "$$PRESET" --output "$$OUTPUT" \
		$${SEED:+--seed "$$SEED"} $${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)
endif

study: setup ## train and test over ten seeds, against the paper: DATA=folder WEIGHTS=folder
	$(BIN)/cxr study --data "$$DATA" $(GIVEN_OUTPUT) $${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)

# Tests start some hundred processes, each of which would compile all modules again where Python
# was told not to write down what it compiles. Empty is as not set.
test test-changed test-long test-portable: export PYTHONDONTWRITEBYTECODE :=

# A file stays with one worker, and the files in the order of tests/conftest.py: the longest first.
TEST := $(BIN)/python -m pytest --numprocesses $$(nproc) --dist loadfile --no-loadscope-reorder

test: setup ## run the tests, a file at a time on each core
	$(TEST) -m 'not long' $(ARGS)

test-changed: setup ## run the tests that a change touches, by the import graph: BASE=commit, ARGS
	@files=$$($(BIN)/python scripts/changed_tests.py $${BASE:+"$$BASE"}); \
		[ -n "$$files" ] || { echo 'test-changed: no test is touched'; exit 0; }; \
		printf 'test-changed: %s\n' $$files; \
		$(TEST) -m 'not long' $$files $(ARGS) || [ $$? = 5 ]

# In ARGS may be files without tests of the one kind or the other: pytest's exit status 5.
test-long: setup ## run whole pipelines, real networks, load, browser: what takes long
	$(TEST) -m 'long and not alone' $(ARGS) || [ $$? = 5 ]
	$(BIN)/python -m pytest -m 'long and alone' $(ARGS) || [ $$? = 5 ]

# prism.sh gives 3 and a reason where there is no Go.
test-portable: setup ## the pipeline on Prism, Beam's runner in Go, with faults (root, Go): ARGS
	@prism=$$(scripts/prism.sh $(BIN)/python) || { [ $$? = 3 ] && exit 0; exit 1; }; \
		CXR_PRISM="$$prism" $(BIN)/python -m pytest tests/pipeline/test_prism.py $(ARGS)

# The processes that tests start count, too; so does the golden run, which is made anew.
coverage: setup ## lines and branches that the tests go through, by room: ARGS
	rm -rf output/coverage output/golden && mkdir -p output/coverage
	$(BIN)/python -m coverage run -m pytest --numprocesses $$(nproc) --dist loadfile \
		--no-loadscope-reorder -m 'not long' $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage json --quiet
	$(BIN)/python scripts/coverage_by_room.py output/coverage/coverage.json

# No `setup`: what it tries is the set-up of a fresh clone, inside.
test-trixie: export CXR_TEST_ARGS := $(ARGS)
test-trixie: ## the tests and `make run` in a Debian 13 of its own, with TFX 1.21 (root, debootstrap)
	@scripts/trixie.sh

lint: setup ## check style, types, the tree's contents and the environment; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python scripts/check_tree.py
	$(BIN)/python -m pip check

format: setup ## rewrite the code in the project's style
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

bench-ingest: setup ## time reading and writing examples: PNG, JPEG, DICOM; stored, gzip, plain copy
	$(BIN)/python -m benchmarks.ingest $(ARGS)

bench-decoding: setup ## a request's bytes before the network, in CPU milliseconds: DATA=folder, or drawn images
	$(BIN)/python -m benchmarks.decoding $${DATA:+--data "$$DATA"} $(ARGS)

bench-featurizer: setup ## time the backbones' forward pass: DATA=folder WEIGHTS=folder, or neither
	$(BIN)/python -m benchmarks.featurizer $${DATA:+--data "$$DATA"} \
		$${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)

bench-evaluation: setup ## a model judged with its network in TFMA, and on cached answers: OUTPUT of a run, ARGS
	$(BIN)/python -m benchmarks.evaluation "$$OUTPUT" $(ARGS)

bench-clinical: setup ## what laboratory values add to the image: DATA=folder WEIGHTS=folder ARGS
	$(BIN)/python -m benchmarks.clinical --data "$$DATA" --weights-dir "$$WEIGHTS" $(ARGS)

bench-export: setup ## CPU seconds of the nodes that export models, with random weights
	$(BIN)/python -m benchmarks.export $(ARGS)

bench-goals: setup ## a study beside this project's goals: OUTPUT of `make study`
	$(BIN)/python -m benchmarks.goals "$$OUTPUT/study.json"

bench-heads: setup ## a regularised head fitted by L-BFGS and by Keras
	$(BIN)/python -m benchmarks.heads $(ARGS)

bench-int8: setup ## int8 beside bf16 and f32, with what is unsure asked again: OUTPUT of a run, ARGS
	$(BIN)/python -m benchmarks.int8 "$$OUTPUT" $(ARGS)

bench-memory: setup ## peak memory up to Transform for growing numbers of images
	$(BIN)/python -m benchmarks.memory $(ARGS)

bench-beam: setup ## ExampleGen and Transform on Beam in one process and in several
	$(BIN)/python -m benchmarks.beam $(ARGS)

bench-scale: setup ## cost up to Featurizer for 300 to 10,000 images: WEIGHTS=folder, or random ones
	$(BIN)/python -m benchmarks.scale $(GIVEN_OUTPUT) $${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)

bench-recipes: setup ## recipes side by side, over several seeds: DATA=folder WEIGHTS=folder
	$(BIN)/python -m benchmarks.recipes --data "$$DATA" $(GIVEN_OUTPUT) \
		$${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)

bench-report: setup ## the seconds of Report and ShortcutAudit: OUTPUT of a run, or one is made
	$(BIN)/python -m benchmarks.report $(if $(filter file,$(origin OUTPUT)),,"$$OUTPUT") $(ARGS)

bench-run: setup ## runs, predictions and servers beside those of a commit: DATA, WEIGHTS, BASE, OUTPUT, ARGS
	$(BIN)/python -m benchmarks.side_by_side $${DATA:+--data "$$DATA"} \
		$${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(GIVEN_OUTPUT) $${BASE:+--base "$$BASE"} $(ARGS)

bench-training: setup ## paper's recipe, stock TFX, and this pipeline: DATA=folder WEIGHTS=folder
	$(BIN)/python -m benchmarks.training --data "$$DATA" $(GIVEN_OUTPUT) \
		$${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)

bench-serving: setup ## the embedded server beside TensorFlow alone: DATA=folder WEIGHTS=folder
	$(BIN)/python -m benchmarks.serving --data "$$DATA" $(GIVEN_OUTPUT) \
		$${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)

bench-serving-log: setup ## the server with its prediction log beside the same without: DATA=folder, ARGS
	$(BIN)/python -m benchmarks.serving.log $${DATA:+--data "$$DATA"} $(ARGS)

bench-serving-start: setup ## time `cxr serve` to /readyz, the first time and later, and its memory: ARGS
	$(BIN)/python -m benchmarks.serving.start $(ARGS)

bench-startup: setup ## time the help, one prediction and a run that computes nothing
	$(BIN)/python -m benchmarks.startup $(ARGS)

bench-tables: setup ## memory of a table of a million rows: read alone, in ExampleGen and in Transform
	$(BIN)/python -m benchmarks.tables $(ARGS)

bench-signatures: setup ## a TFMA job with and without Beam's remembered signatures
	$(BIN)/python -m benchmarks.signatures $(ARGS)

bench-watch: setup ## from how many images on cxr watch raises the alarm: DATA=folder OTHER=folder WEIGHTS=folder
	$(BIN)/python -m benchmarks.watch --data "$$DATA" --other "$$OTHER" $(GIVEN_OUTPUT) \
		$${WEIGHTS:+--weights-dir "$$WEIGHTS"} $(ARGS)

bench-serving-steady: setup ## minutes of requests to a pushed model: DATA=folder of images, ARGS
	$(BIN)/python -m benchmarks.serving.steady --images "$$DATA" $(ARGS)

soak: setup ## ten minutes of bad clients, versions and faults beside good clients: ARGS="--minutes 60"
	$(BIN)/python -m benchmarks.soak $(ARGS)

# atheris has binaries for some Pythons only, and is no part of the lock: a folder beside .venv.
fuzz: setup ## HTTP, JSON, gRPC and images by atheris, ten minutes each: ARGS="--target json --seconds 60"
	[ -d output/fuzz/atheris ] || $(BIN)/python -m pip install --quiet --no-deps \
		--only-binary :all: --target output/fuzz/atheris atheris
	PYTHONPATH=output/fuzz/atheris $(BIN)/python -m tests.fuzz $(ARGS)

conformance: setup ## TensorFlow Serving's REST contract, case by case: URL=server, or the embedded one
	$(BIN)/python -m serving.conformance $${URL:+--url "$$URL"} $(ARGS)

lock: setup ## renew the locks in requirements/ from the .in files
	@[ -x .venv/uv/bin/uv ] || { echo 'lock: needs uv, which setup could not install' >&2; exit 2; }
	$(COMPILE) $(UPGRADE) $(LOCK_FOR_1_16) requirements/bootstrap.in -o requirements/bootstrap.lock
	$(COMPILE) $(UPGRADE) $(LOCK_FOR_1_16) requirements/tfx-1.16.in requirements/dev.in -o requirements/tfx-1.16.lock
	$(COMPILE) $(UPGRADE) $(LOCK_FOR_1_21) requirements/tfx-1.21.in requirements/dev.in -o requirements/tfx-1.21.lock
	$(BIN)/python scripts/check_tree.py

clean: ## remove .venv, caches and builds; keeps output/
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './output/*' -prune -exec rm -rf {} +
