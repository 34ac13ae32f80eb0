# Entry points of wsaed: `make help` lists them. For GNU Make 3.81 or newer, any POSIX userland.
# make only orders: the cache of runs decides what trains, a digest in .build/ what is rendered.
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.PHONY: help env tables reproduce-tables evidence restamp notebooks workshop check-results test \
  lint lab data site bundle bench clean force

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo '  make results/laptop/secost/table_2.md   one result; the profile is in the path'
	@echo '  PROFILE=smoke|laptop|evidence|gpu|paper  JOBS=cores  DEVICE=cpu|cuda|mps  CACHE=folder'
	@echo '  BANK=folder of recordings  DESED= AUDIOSET= URBAN_SED=folder  DASK=tcp://host:8786'
	@echo '  REPLICATES=number (evidence on a BANK: 5)  PANNS=file of Cnn14_emb128, for mixed_tsd'

env: ## the environment (.venv, or the active conda environment `wsaed`)

# ---- tables and figures: train what is missing, run the notebooks that show it, then the report;
# what fails is said, and all else is made
results = @shown=$$($(PY) -m wsaed.runs $(CHOSEN) $(ANEW) $(1)); ended=$$?; \
  [ -z "$$shown" ] || { $(PY) -m wsaed.render $(CHOSEN) $$shown || ended=$$?; $(2) }; exit $$ended

tables: env ## all tables and figures from the committed records; trains what is missing
	$(call results,,[ $$ended -eq 130 ] || $(PY) -m wsaed.pages || ended=$$?;)

reproduce-tables: ANEW := --anew
reproduce-tables: tables ## the same, all of it trained anew
evidence: tables ## the claims' evidence: `tables` with PROFILE=evidence

results/%: env force
	$(call results,$(basename $(@:results/$(FOLDER)/%=%)))
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

lab: env ## JupyterLab: what you save goes to saved/, LAB_ARGS takes its options
	@$(PY) -m wsaed.lab $(LAB_ARGS)

site: env ## the companion as web pages, into .build/site/html
	@$(PIP) -q -e '.[site]' && $(PY) -m wsaed.site

BUNDLE = .build/bundle
bundle: env ## all of it for a room without network and machines like this: .build/bundle.tar
	@rm -rf $(BUNDLE) && mkdir -p $(BUNDLE)/wheels && git archive HEAD | tar -xf - -C $(BUNDLE)
	@[ ! -d .build/site/html ] || cp -R .build/site/html $(BUNDLE)/site
	@$(PY) -m pip wheel -q --disable-pip-version-check -w $(BUNDLE)/wheels -r requirements.lock \
	  --extra-index-url $(or $(TORCH_INDEX),https://download.pytorch.org/whl/cpu)
	@printf '%s\n' '$(notdir $(realpath $(PY))) -m venv .venv' \
	  '.venv/bin/python -m pip install --no-index -f wheels -r requirements.lock -e .' \
	  '.venv/bin/python -m wsaed.preflight && .venv/bin/python -m wsaed.lab' >$(BUNDLE)/START.txt
	@tar -cf $(BUNDLE).tar -C .build bundle && du -h $(BUNDLE).tar

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
REAL ?= ../shared/data
$(foreach v,BANK DESED AUDIOSET URBAN_SED PANNS CACHE REAL,$(if $(value $v),$(eval \
  override $v := $$(call absolute,$$(value $v)))$(eval export $v)))
$(foreach v,BANK DESED AUDIOSET URBAN_SED,$(if $($(v)),$(if $(shell [ -d $(call quoted,$($(v))) ] && echo yes),,\
  $(error $(v)=$($(v)): no such folder; give one that exists))))

# The profile and the folder of results, from the goal where that says them
GOALS := $(patsubst ./%,%,$(MAKECMDGOALS))
FOLDER := $(sort $(foreach g,$(filter results/%,$(GOALS)),$(word 2,$(subst /, ,$(g)))))
$(if $(word 2,$(FOLDER)),$(error $(FOLDER:%=results/%): one folder at a time))
override PROFILE := $(or $(firstword $(subst -, ,$(FOLDER))),$(filter evidence,$(GOALS)),\
  $(if $(filter test notebooks,$(GOALS)),smoke),$(PROFILE),laptop)
# a bank's folds take turns as test set, five as a rule: more replicates would hear them again
REPLICATES ?= $(if $(and $(BANK),$(filter evidence,$(PROFILE))),5)
CHOSEN = --profile $(PROFILE) $(FOLDER:%=--results results/%) $(REPLICATES:%=--replicates %)

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
$(if $(filter help,$(or $(GOALS),help)),,$(info wsaed: environment $(if $(CONDA),conda's wsaed,.venv), \
  profile $(PROFILE)$(if $(BANK), on $(notdir $(BANK))), device $(DEVICE), jobs $(JOBS)))
IN_RANGE := import sys, ssl, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PIP := $(PY) -m pip install --disable-pip-version-check $(PIP_EXTRA)

env: $(ENV)
$(ENV): requirements.lock pyproject.toml $(if $(wildcard $(PY)),,force) \
  $(if $(filter env,$(GOALS)),$(if $(TORCH_INDEX)$(PIP_EXTRA),force))
	@mkdir -p .build/logs
	@$(if $(CONDA),:,.venv/bin/python -c '$(IN_RANGE)' 2>/dev/null || { \
	  for python in python3.12 python3.11 python3.13 python3; do \
	    $$python -c '$(IN_RANGE)' >/dev/null 2>&1 && $$python -m venv --clear .venv >/dev/null \
	      && echo "made .venv from $$python" && exit; \
	  done; \
	  echo "no Python 3.11 to 3.13 that can make a venv: install one (with Debian also" \
	    "python3-venv), or use conda env create -f environment.yml" >&2; exit 1; })
	@set -o pipefail; { $(PIP) $(TORCH_INDEX:%=--extra-index-url %) -r requirements.lock && \
	  $(PIP) --no-deps --no-build-isolation -e . ; } 2>&1 | tee .build/logs/env.log \
	  | awk '!/already satisfied|^Ignoring / {print; fflush()}' \
	  || { echo "the environment failed, see .build/logs/env.log" >&2; exit 1; }
	@$(PIP) -q -e '.[psds]' >>.build/logs/env.log 2>&1 \
	  || echo "without sed_scores_eval and sebbs (no C compiler?): only PSDS and boxes need them"
	@touch $@
