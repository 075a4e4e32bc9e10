# Everything on a fresh machine that has Python 3.11 or later, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := .venv-extras
DEMO ?= brain
REALDATA ?= ../shared/realdata
TABLES ?= $(REALDATA)/tables

# OpenVINO obeys the first, its oneDNN and torch's the second, torch's own kernels the third. The
# first two must agree: where they do not, some of OpenVINO's nodes compute nonsense.
OLDER := OV_CPU_MAX_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
TESTS_OF_ARITHMETIC := tests/export tests/cli/test_export.py tests/detector/test_precision.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-extras test-services test-sizes lint docs format lite embedded settings shots certainty suggested familiar picture vit-large memory arithmetic bench archive \
	serve-load stress sign-maps phantom-speed coverage searched comparison results results-pages realdata campaign clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(EXTRAS)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(EXTRAS)
	grep -v '^torch==' constraints.txt > $(EXTRAS)/constraints.txt
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(EXTRAS)/constraints.txt torch==2.14.1 torchvision==0.29.1
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(EXTRAS)/constraints.txt --editable '.[dev,openclip,timm,bgad]'
	@touch $@

demo: $(VENV)/installed  ## fit, judge and explain on phantoms (DEMO=brain|chest|oct|breast|thyroid|skin|fundus)
	$(BIN)/sdmad demo $(DEMO) --out demo --force

test: $(VENV)/installed  ## lint, types, tests and doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
	@if grep -qsE 'avx512|avx_vnni|amx' /proc/cpuinfo; then \
		echo 'exports and precision again, with the instructions of older processors'; \
		$(OLDER) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(TESTS_OF_ARITHMETIC); fi

test-extras: $(EXTRAS)/installed  ## tests of what needs torchvision, in an environment of 6 GB
	OMP_NUM_THREADS=1 $(EXTRAS)/bin/python -m pytest tests_extras

test-services: $(VENV)/installed  ## a PACS, validators, a browser: Debian's packages, installed as root where missing
	tests_services/install.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests_services

test-sizes: $(VENV)/installed  ## every system on towers of its published size, random weights (minutes, 12 GB)
	$(BIN)/python -m pytest tests_sizes

lint: $(VENV)/installed  ## ruff and mypy only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(VENV)/docs-installed  ## the documents as a site: site/index.html, a warning is an error
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs site

# The accessibility rules that the tests of the pages ask; for these tests alone, so not kept here.
AXE := axe-core-4.14.1.tgz
AXE_SHA256 := e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
.services/axe.min.js:
	mkdir -p .services
	cd .services && npm pack --silent axe-core@$(AXE:axe-core-%.tgz=%)
	cd .services && echo "$(AXE_SHA256)  $(AXE)" | sha256sum --check --quiet
	tar --extract --file .services/$(AXE) --directory .services --strip-components 1 package/axe.min.js
	@touch $@
test-services: .services/axe.min.js

format: $(VENV)/installed  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lite: $(VENV)/installed  ## pretrain the embedded backbone again (two hours; resumable)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pretraining --out src/sdmad/backbones/lite

embedded: $(VENV)/installed  ## the embedded backbone's figures in its card (REALDATA=DIR; resumable)
	$(BIN)/python -m benchmarks.embedded --data $(REALDATA)

settings: $(VENV)/installed  ## run the choice of settings on validation phantoms again
	$(BIN)/python -m benchmarks.choose --out out/settings --docs docs/settings.md

shots: $(VENV)/installed  ## docs/shots.md again: rivals against shots (REALDATA=DIR; hours; resumable)
	$(BIN)/python -m benchmarks.shots --data $(REALDATA) --out out/shots --docs docs/shots
	$(BIN)/python -m benchmarks.shots_page --docs docs

certainty: $(VENV)/installed  ## docs/certainty.md again: error rates of answers, calibration (resumable)
	$(BIN)/python -m benchmarks.certainty --out out/shots --docs docs/certainty.md

suggested: $(VENV)/installed  ## docs/suggested.md again: AUROC against suggested labels (REALDATA=DIR)
	$(BIN)/python -m benchmarks.suggested --data $(REALDATA) --out out/shots --settings out/settings --docs docs

familiar: $(VENV)/installed  ## docs/unfamiliar.md again: are images of another kind told?
	$(BIN)/python -m benchmarks.familiar

picture: $(VENV)/installed  ## make docs/overview.png again
	$(BIN)/python -m benchmarks.overview --out docs/overview.png

vit-large: $(VENV)/installed  ## train and predict with a random ViT-L/14 at 240 px
	$(BIN)/python -m benchmarks.vit_large

memory: $(VENV)/installed  ## memory of a fit of ViT-L/14, by count and by measurement
	$(BIN)/python -m benchmarks.memory

bench: $(VENV)/installed  ## docs/performance.md again (an hour on a quiet machine; resumable)
	$(BIN)/python -m benchmarks.performance --out out/bench --docs docs/performance.md

serve-load: $(VENV)/installed  ## docs/serve-load.md again: 50 readers at once (minutes on a quiet machine)
	$(BIN)/python -m benchmarks.serve_load --docs docs/serve-load.md

archive: $(VENV)/installed  ## docs/archives.md again: archives on Ray (hours; resumable)
	$(BIN)/python -m benchmarks.archive --out out/archive --docs docs/archives.md

stress: $(VENV)/installed  ## docs/signs-stress.md again (resumable)
	$(BIN)/python -m benchmarks.stress --out out/stress --docs docs/signs-stress.md

sign-maps: $(VENV)/installed  ## docs/maps.md again (resumable)
	$(BIN)/python -m benchmarks.sign_maps --out out/sign-maps --docs docs/maps.md

campaign: $(VENV)/installed  ## docs/campaign.md again: damaged inputs, disturbed runs (an hour or more; resumable)
	$(BIN)/python -m benchmarks.campaign --out out/campaign --docs docs/campaign.md

arithmetic: $(VENV)/installed  ## the figures behind docs/reproduction.md (TABLES=DIR)
	$(BIN)/python -m benchmarks.arithmetic --tables $(TABLES)

phantom-speed: $(VENV)/installed  ## phantoms a second on one core
	$(BIN)/python -m benchmarks.phantom_speed

coverage: $(VENV)/installed  ## docs/coverage.md again: do the intervals hold? (20 minutes; resumable)
	$(BIN)/python -m benchmarks.coverage --out out/coverage --docs docs/coverage.md

searched: $(VENV)/installed  ## docs/searched.md again: settings of the compared systems (resumable)
	$(BIN)/python -m benchmarks.searched --out out/searched --docs docs/searched.md

comparison: $(VENV)/installed  ## docs/comparison.md again: every system (hours; resumable)
	$(BIN)/python -m benchmarks.comparison --out out/comparison --docs docs/comparison
	$(BIN)/python -m benchmarks.comparison_page --docs docs

results: $(VENV)/installed  ## run the study behind docs/results.md again (resumable)
	$(BIN)/python -m benchmarks.results --out out/results --docs docs/results
	$(BIN)/python -m benchmarks.results_page --docs docs

results-pages: $(VENV)/installed  ## pages of results, comparison and shots again, from their CSV files
	$(BIN)/python -m benchmarks.results_page --docs docs
	$(BIN)/python -m benchmarks.comparison_page --docs docs
	$(BIN)/python -m benchmarks.shots_page --docs docs

realdata: $(VENV)/installed  ## docs/realdata.md again: every system on small real sets (REALDATA=DIR; hours; resumable)
	$(BIN)/python -m benchmarks.realdata --data $(REALDATA) --out out/realdata --docs docs/realdata.md

clean:           ## remove what the targets made
	rm -rf $(VENV) $(EXTRAS) .services demo out site build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
