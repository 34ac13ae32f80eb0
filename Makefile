# Entry points of wsaed: `make help` lists them. For GNU Make 3.81 or newer, any POSIX userland.
# make only orders: the cache of runs decides what trains, a digest in .build/ what is rendered.
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help env tables reproduce-tables evidence restamp notebooks workshop check-results test \
  lint lab data site bench clean force

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo '  make results/laptop/secost/table_2.md   one result; the profile is in the path'
	@echo '  PROFILE=smoke|laptop|evidence|gpu|paper  JOBS=cores  DEVICE=cpu|cuda|mps  CACHE=folder'
	@echo '  REPLICATES=number, in place of the profile'"'"'s; five of evidence on a BANK'
	@echo '  BANK=folder of recordings  DESED= AUDIOSET= URBAN_SED=folder  DASK=tcp://host:8786'
	@echo '  PANNS=file of the published Cnn14_emb128: mixed_tsd then trains no conditional network'

env: ## the environment (.venv, or the active conda environment `wsaed`)

# ---- tables and figures: train what is missing, run the notebooks that show it, then the report;
# what fails is said, and all else is made
results = @shown=$$($(PY) -m wsaed.runs $(CHOSEN) $(ANEW) $(1)); ended=$$?; \
  [ -z "$$shown" ] || { $(PY) -m wsaed.render $(CHOSEN) $$shown || ended=$$?; $(2) }; exit $$ended
report = $(PY) -m wsaed.pages || ended=$$?;

tables: env ## all tables and figures from the committed records; trains what is missing
	$(call results,,$(report))

reproduce-tables: ANEW := --anew
reproduce-tables: tables ## the same, all of it trained anew

evidence: tables ## the claims' evidence: `tables` with PROFILE=evidence

results/%: env force
	$(call results,$(basename $(@:results/$(DIR)/%=%)))
	@test -e $@ || { echo "$@: its notebook does not write it" >&2; exit 1; }

check-results: env ## hold the committed results against the code that made them
	@$(PY) -m wsaed.pages --check

restamp: env ## after a refactoring: renew digests where the laptop's runs are equal to the bit
	@$(PY) -m wsaed.restamp --against $(or $(AGAINST),HEAD)
	@$(PY) -m wsaed.pages --check

# ---- notebooks, tests
SESSIONS := $(wildcard notebooks/workshop/*.ipynb)
COMPARED := $(wildcard notebooks/*.ipynb notebooks/*/method*.ipynb) $(SESSIONS)
TABLES := $(filter-out $(COMPARED),$(wildcard notebooks/*/*.ipynb))
ALONE = env -u BANK -u DESED -u AUDIOSET -u URBAN_SED -u PANNS -u DASK -u TEST_FOLD \
  DEVICE=cpu HEADLESS=1 $(PY)
PYTEST = $(ALONE) -m pytest -p no:cacheprovider
NBVAL = $(PYTEST) -n 2 --dist loadscope --nbval-current-env --nbval-cell-timeout 300

notebooks: env ## run start_here, claims, leaderboard, methods, sessions in place, at smoke size
	@$(PY) -m wsaed.render --in-place --profile smoke $(COMPARED)

workshop: env ## the learners' pages of notebooks/workshop, from the sessions as they stand there
	@$(PY) -m wsaed.render --learners $(SESSIONS)

test: lint ## ruff, import contracts, unit tests, then every notebook under nbval
	@MPLBACKEND=Agg $(PYTEST) -n 2 --dist loadscope tests
	@rm -f .build/smoke/*/*.csv .build/smoke/*/*.png
	@$(ALONE) -m wsaed.runs --profile smoke --results .build/smoke >/dev/null
	@$(if $(COMPARED),$(NBVAL) --nbval $(COMPARED),echo "no notebook to compare")
	@$(if $(TABLES),$(NBVAL) --nbval-lax $(TABLES),echo "no tables")
	@SMOKE=.build/smoke $(PYTEST) tests/test_notebooks.py -k smoke

lint: env ## ruff: errors and format; import-linter: which module may import which
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(dir $(PY))lint-imports --no-logo --no-cache

bench: env ## speed of the parts beside a reference, in one table
	@$(PY) tests/bench.py

lab: env ## JupyterLab on the notebooks (LAB_ARGS for more options)
	@$(PY) -m jupyter lab --LabApp.news_url=None $(or $(wildcard notebooks/start_here.ipynb),notebooks) \
	  $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS) \
	  $(shell [ "$$(uname)" = Darwin ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || echo --no-browser)

site: env ## the companion as web pages, into .build/site/html
	@$(PIP) -q -e '.[site]' && $(PY) -m wsaed.site

data: env ## where the corpora are published, and what to fetch
	@$(PY) -m wsaed.corpora

clean: ## forget digests, logs and failed notebooks; keep environment, trained runs and results
	@[ ! -d .build ] || find .build -mindepth 1 -maxdepth 1 ! -name 'env*.stamp' -exec rm -rf {} +
	@echo "kept: .venv (environment), .cache (trained runs and features), results"

# ---- settings: folders become absolute, because notebooks and workers run in other folders; they
# are quoted, and never expanded, because any character may stand in a path
quoted = '$(subst ','\'',$(1))'
absolute = $(shell p=$$(printf '%s' $(call quoted,$(1)) | sed "s|^~|$$HOME|"); \
  [ -z "$${p%%/*}" ] || p=$(call quoted,$(CURDIR))/$$p; \
  if [ -d "$$p" ]; then cd "$$p" && pwd; else printf '%s' "$$p"; fi)
define make_absolute
ifneq ($$(value $(1)),)
override $(1) := $$(call absolute,$$(value $(1)))
export $(1)
endif
endef
REAL ?= ../shared/data
$(foreach v,BANK DESED AUDIOSET URBAN_SED PANNS CACHE REAL,$(eval $(call make_absolute,$(v))))
$(foreach v,BANK DESED AUDIOSET URBAN_SED,$(if $($(v)),$(if $(shell [ -d $(call quoted,$($(v))) ] && echo yes),,\
  $(error $(v)=$($(v)): no such folder; give one that exists))))

# The profile, from the goal where that says one; a bank's results have a folder of their own.
GOALS := $(patsubst ./%,%,$(MAKECMDGOALS))
FOLDERS := $(sort $(foreach g,$(filter results/%,$(GOALS)),$(word 2,$(subst /, ,$(g)))))
override PROFILE := $(or $(firstword $(subst -, ,$(FOLDERS))),$(filter evidence,$(GOALS)),\
  $(if $(filter test notebooks,$(GOALS)),smoke),$(PROFILE),laptop)
# what a shell or make would read becomes _: as in wsaed.files.folder_of
DIR := $(PROFILE)$(if $(BANK),-$(shell printf '%s' "$$(basename $(call quoted,$(BANK)))" | \
  LC_ALL=C tr '\001-\054/:-@[-^`{-\177' '_'))
ifneq ($(or $(FOLDERS),$(DIR)),$(DIR))
$(error results/$(FOLDERS) is not what these settings make, results/$(DIR) is: \
  one folder at a time, $(if $(BANK),without BANK or with its path,with BANK=folder))
endif
# a bank's folds take turns as test set, five as a rule: more replicates would hear them again
REPLICATES ?= $(if $(and $(BANK),$(filter evidence,$(PROFILE))),5)
CHOSEN = --profile $(PROFILE) --results results/$(DIR) $(REPLICATES:%=--replicates %)

# Parallelism is over runs and notebooks, one thread each; the small profiles are the CPU's.
DEVICE ?= $(if $(filter smoke laptop evidence,$(PROFILE)),cpu,$(shell \
  command -v nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu))
JOBS ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
export PROFILE DEVICE JOBS REPLICATES
$(foreach v,OMP_NUM OPENBLAS_NUM MKL_NUM NUMEXPR_NUM VECLIB_MAXIMUM,$(eval export $(v)_THREADS := 1))
export JUPYTER_PREFER_ENV_PATH := 1
unexport MPLBACKEND RESULTS

# ---- the environment: the active conda environment if it is `wsaed`, else .venv
CONDA := $(filter wsaed,$(CONDA_DEFAULT_ENV))
PY := $(if $(CONDA),$(CONDA_PREFIX),.venv)/bin/python
ENV := .build/env$(if $(CONDA),-conda).stamp
ifeq ($(filter help,$(or $(GOALS),help)),)
$(info wsaed: environment $(if $(CONDA),conda environment wsaed,.venv), profile $(PROFILE)$(if \
  $(BANK), on $(DIR:$(PROFILE)-%=%)), device $(DEVICE), jobs $(JOBS))
endif

IN_RANGE := import sys, ssl, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PIP := $(PY) -m pip install --disable-pip-version-check $(PIP_EXTRA)

env: $(ENV)

$(ENV): requirements.lock pyproject.toml $(if $(wildcard $(PY)),,force) \
  $(if $(filter env,$(GOALS)),$(if $(TORCH_INDEX)$(PIP_EXTRA),force))
	@mkdir -p .build/logs
	@$(if $(CONDA),:,if ! .venv/bin/python -c '$(IN_RANGE)' 2>/dev/null; then \
	  for python in python3.12 python3.11 python3.13 python3; do \
	    $$python -c '$(IN_RANGE)' >/dev/null 2>&1 && $$python -m venv --clear .venv >/dev/null \
	      && echo "made .venv from $$python" && exit 0; \
	  done; \
	  echo "no Python 3.11 to 3.13 that can make a venv: install one (with Debian also" \
	    "python3-venv), or use conda env create -f environment.yml" >&2; exit 1; \
	fi)
	@set -o pipefail; \
	{ $(if $(TORCH_INDEX),$(PIP) --force-reinstall --no-deps --index-url $(TORCH_INDEX) \
	    $$(sed -n -E 's/^(torch(audio)?==[0-9.]+).*/\1/p' requirements.lock) &&) \
	  $(PIP) -r requirements.lock && $(PIP) --no-deps --no-build-isolation -e . ; } 2>&1 \
	  | tee .build/logs/env.log | awk '!/already satisfied|^Ignoring / {print; fflush()}' \
	  || { echo "the environment failed, see .build/logs/env.log" >&2; exit 1; }
	@$(PIP) -q -e '.[psds]' >>.build/logs/env.log 2>&1 \
	  || echo "without sed_scores_eval and sebbs (no C compiler?): only PSDS and boxes need them"
	@touch $@
