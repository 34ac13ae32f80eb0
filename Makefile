# Entry points of wsaed: `make help` lists them. For GNU Make 3.81 or newer, any POSIX userland.
# What make tracks are stamps under the ignored .build/, written last, one a notebook and profile.
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help env reproduce-tables evidence runs notebooks check-results restamp test lint lab data \
  bench clean force

PROFILE ?= laptop
REAL ?= ../shared/data
GOALS := $(patsubst ./%,%,$(MAKECMDGOALS))
RESULT_GOALS := $(filter results/%,$(GOALS))

# ---- settings: folders become absolute, because notebooks and workers run in other folders
absolute = $(shell p=$$(printf '%s' "$(1)" | sed "s|^~|$$HOME|"); \
  [ -z "$${p%%/*}" ] || p="$(CURDIR)/$$p"; if [ -d "$$p" ]; then cd "$$p" && pwd; else echo "$$p"; fi)
define make_absolute
ifneq ($$($(1)),)
override $(1) := $$(call absolute,$$($(1)))
export $(1)
endif
endef
$(foreach v,BANK DESED AUDIOSET URBAN_SED PANNS CACHE REAL,$(eval $(call make_absolute,$(v))))
$(foreach v,BANK DESED AUDIOSET URBAN_SED,$(if $($(v)),$(if $(shell [ -d "$($(v))" ] && echo yes),,\
  $(error $(v)=$($(v)): no such folder; give one that exists))))
ifneq ($(BANK),)
BANK_NAME := $(shell basename "$(BANK)" | tr -c 'A-Za-z0-9._\n-' '_')
endif

# ---- the profile: from the path of a wanted result file, else PROFILE
ifneq ($(RESULT_GOALS),)
FOLDERS := $(sort $(foreach g,$(RESULT_GOALS),$(word 2,$(subst /, ,$(g)))))
ifneq ($(words $(FOLDERS)),1)
$(error ask for the files of one results folder at a time, not of $(FOLDERS))
endif
override PROFILE := $(firstword $(subst -, ,$(FOLDERS)))
endif
ifneq ($(filter evidence,$(GOALS)),)
override PROFILE := evidence
endif
ifneq ($(filter evidence results/evidence/% results/evidence-%,$(GOALS)),)
RESUME := --resume
endif
ifneq ($(filter test notebooks,$(GOALS)),)
override PROFILE := smoke
endif
DIR := $(PROFILE)$(if $(BANK),-$(BANK_NAME))
ifneq ($(FOLDERS),)
ifneq ($(FOLDERS),$(DIR))
$(error results/$(FOLDERS) is not what these settings make, results/$(DIR) is: \
  $(if $(BANK),leave BANK out or correct the path,add BANK=folder))
endif
endif

ifneq ($(filter smoke laptop evidence,$(PROFILE)),)
DEVICE ?= cpu
endif
# a bank's folds take turns as test set, five as a rule: more replicates would hear them again
ifneq ($(and $(BANK),$(filter evidence,$(PROFILE))),)
REPLICATES ?= 5
endif
ifndef DEVICE
DEVICE := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
endif
ifndef JOBS
JOBS := $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
endif
export PROFILE DEVICE JOBS
# parallelism is over runs and notebooks: one thread each
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export VECLIB_MAXIMUM_THREADS := 1
export NUMEXPR_NUM_THREADS := 1
export JUPYTER_PREFER_ENV_PATH := 1
unexport MPLBACKEND RESULTS

# ---- the environment: the active conda environment if it is `wsaed`, else .venv
ifeq ($(CONDA_DEFAULT_ENV),wsaed)
ENVIRONMENT := conda environment wsaed
PY := $(CONDA_PREFIX)/bin/python
ENV := .build/env-conda.stamp
else
ENVIRONMENT := .venv
PY := .venv/bin/python
ENV := .build/env.stamp
endif
PYTHONS := python3.12 python3.11 python3.13 python3
IN_RANGE := import sys, ssl, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PIP := $(PY) -m pip install --disable-pip-version-check $(PIP_EXTRA)
REINSTALL := $(if $(filter env,$(GOALS)),$(TORCH_INDEX)$(PIP_EXTRA))

# ---- notebooks, and which of them the given corpora allow
COMPARED := $(wildcard notebooks/start_here.ipynb notebooks/claims.ipynb notebooks/*/method.ipynb)
ALL_TABLES := $(filter-out %/method,$(patsubst notebooks/%.ipynb,%,$(wildcard notebooks/*/*.ipynb)))
TABLES := $(ALL_TABLES)
PAPERS := $(sort $(patsubst %/,%,$(dir $(ALL_TABLES))))
NEEDS_secost := AUDIOSET
NEEDS_joint_at_aed := DESED
NEEDS_shallow_student := DESED
NEEDS_mixed_tsd := URBAN_SED AUDIOSET
lacks = $(strip $(foreach v,$(NEEDS_$(1)),$(if $($(v)),,$(v))))
RENDERS := $(filter reproduce-tables evidence runs results/%,$(GOALS))
ifneq ($(RENDERS),)
MAKEFLAGS += -j$(JOBS) # training is one command; the notebooks after it render side by side
ifeq ($(wildcard params/$(PROFILE)/*.yaml),)
$(error PROFILE=$(PROFILE): no params/$(PROFILE)/; there are $(notdir $(wildcard params/*)))
endif
ifeq ($(PROFILE),paper)
LEFT_OUT := $(foreach p,$(PAPERS),$(if $(call lacks,$(p)),$(p)))
TABLES := $(filter-out $(addsuffix /%,$(LEFT_OUT)),$(ALL_TABLES))
ifeq ($(TABLES),)
$(error PROFILE=paper needs the papers' corpora and none is given:\
  $(foreach p,$(PAPERS),$(p) needs $(addsuffix =folder,$(NEEDS_$(p)));))
endif
ARTEFACTS := $(if $(LEFT_OUT),$(TABLES))
endif
endif

ifeq ($(filter help,$(or $(GOALS),help)),)
$(info wsaed: environment $(ENVIRONMENT), profile $(PROFILE)$(if $(BANK), on $(BANK_NAME)), device \
$(DEVICE), jobs $(JOBS))
$(foreach p,$(LEFT_OUT),$(info left out: $(p), which needs $(addsuffix =folder,$(call lacks,$(p)))))
endif

# A stamp is older than an edit made while its work was running: it bears the time of the start.
start = @mkdir -p $(@D) && touch $@.started
finish = @mv $@.started $@

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo '  make results/laptop/secost/table_2.md   one result; the profile is in the path'
	@echo '  PROFILE=smoke|laptop|evidence|gpu|paper  JOBS=cores  DEVICE=cpu|cuda|mps  CACHE=folder'
	@echo '  REPLICATES=number, in place of the profile'"'"'s; five of evidence on a BANK'
	@echo '  BANK=folder of recordings  DESED= AUDIOSET= URBAN_SED=folder  DASK=tcp://host:8786'
	@echo '  PANNS=file of the published Cnn14_emb128: mixed_tsd then trains no conditional network'

env: $(ENV) ## the environment (.venv, or the active conda environment `wsaed`)

$(ENV): requirements.lock pyproject.toml $(if $(wildcard $(PY)),,force) $(if $(REINSTALL),force)
	@mkdir -p .build/logs
ifeq ($(ENVIRONMENT),.venv)
	@if ! .venv/bin/python -c '$(IN_RANGE)' 2>/dev/null; then \
	  for python in $(PYTHONS); do \
	    $$python -c '$(IN_RANGE)' >/dev/null 2>&1 && $$python -m venv --clear .venv >/dev/null \
	      && echo "made .venv from $$python" && exit 0; \
	  done; \
	  echo "no Python 3.11 to 3.13 that can make a venv: install one (with Debian also" \
	    "python3-venv), or use conda env create -f environment.yml" >&2; exit 1; \
	fi
endif
	@set -o pipefail; \
	{ $(if $(TORCH_INDEX),$(PIP) --force-reinstall --no-deps --index-url $(TORCH_INDEX) \
	    $$(sed -n -E 's/^(torch(audio)?==[0-9.]+).*/\1/p' requirements.lock) &&) \
	  $(PIP) -r requirements.lock && $(PIP) --no-deps --no-build-isolation -e . ; } 2>&1 \
	  | tee .build/logs/env.log | awk '!/already satisfied|^Ignoring / {print; fflush()}' \
	  || { echo "the environment failed, see .build/logs/env.log" >&2; exit 1; }
	@$(PIP) -q -e '.[psds]' >>.build/logs/env.log 2>&1 \
	  || echo "without sed_scores_eval (no C compiler?): only the PSDS comparison needs it"
	@touch $@

# ---- tables and figures: training, one pool; then a notebook each; then the report
SOURCES := $(shell find wsaed -name '*.py')
SETTINGS := .build/$(DIR)/settings
STAMPS := $(TABLES:%=.build/$(DIR)/%.stamp)
REPORT := .build/$(DIR)/README.stamp
TRAINED := .build/$(DIR)/runs.stamp
ifneq ($(RENDERS),)
NOW := $(DEVICE) $(REPLICATES) $(BANK) $(DESED) $(AUDIOSET) $(URBAN_SED) $(PANNS) $(TEST_FOLD)
# names and sizes in a user's folders; AudioSet's two million would take longer than all the rest
GIVEN := $(strip $(foreach v,BANK DESED URBAN_SED,$(if $($(v)),"$($(v))")))
NOW += $(if $(GIVEN),$(shell find -L $(GIVEN) -type f -exec ls -ln {} + | awk '{print $$5, $$NF}' \
  | sort | cksum))
$(shell mkdir -p .build/$(DIR); echo "$(NOW)" | cmp -s - $(SETTINGS) || echo "$(NOW)" >$(SETTINGS))
endif
# single results train only what they need, unless everything is trained already
WANTED := $(filter $(TABLES),$(basename $(RESULT_GOALS:results/$(DIR)/%=%)))
ifneq ($(WANTED),)
ifeq ($(filter reproduce-tables evidence runs results/$(DIR)/README.md,$(GOALS)),)
NEWER := $(shell [ -f $(TRAINED) ] && find $(SOURCES) params/$(PROFILE) $(SETTINGS) -type f \
  -newer $(TRAINED) || echo all)
ifneq ($(NEWER),)
ARTEFACTS := $(WANTED)
space := $() $()
TRAINED := .build/$(DIR)/runs-$(subst $(space),+,$(subst /,.,$(sort $(WANTED)))).stamp
endif
endif
endif

TRAIN = $(PY) -m wsaed.runs --profile $(PROFILE) --results results/$(DIR) $(RESUME) \
  $(REPLICATES:%=--replicates %) $(ARTEFACTS)

reproduce-tables: $(REPORT) ## every table and figure, and the report: results/<profile>/README.md
	@echo "up to date: results/$(DIR)/README.md"

evidence: $(REPORT) ## the claims' evidence; goes on from the committed records
	@echo "up to date: results/$(DIR)/README.md"

runs: $(ENV) ## train what is missing, render nothing
	@$(TRAIN)

$(TRAINED): $(SOURCES) $(wildcard params/$(PROFILE)/*.yaml) $(SETTINGS) | $(ENV)
	$(start)
	@$(TRAIN)
	$(finish)

ifneq ($(STAMPS),)
$(STAMPS): .build/$(DIR)/%.stamp: notebooks/%.ipynb $(SOURCES) $(SETTINGS) | $(TRAINED)
	$(start)
	@$(PY) -m wsaed.render $< --profile $(PROFILE) --results results/$(DIR) \
	  $(REPLICATES:%=--replicates %)
	$(finish)
endif

$(REPORT): $(STAMPS) $(SOURCES) $(if $(wildcard results/$(DIR)/README.md),,force) | $(TRAINED)
	$(start)
	@$(PY) -m wsaed.readme --profile $(PROFILE) --results results/$(DIR)
	$(finish)

# a notebook depends on its paper's parameters; a result that was deleted is made again
define artefact
.build/$(DIR)/$(1).stamp: params/$(PROFILE)/$(patsubst %/,%,$(dir $(1))).yaml \
  $(if $(wildcard results/$(DIR)/$(1).ipynb),,force)
$(2): .build/$(DIR)/$(1).stamp
	@test -e $$@ || { echo "$$@: notebooks/$(1).ipynb does not write it" >&2; exit 1; }
endef
$(foreach n,$(TABLES),$(eval $(call artefact,$(n),\
  $(foreach e,md csv ipynb png svg,results/$(DIR)/$(n).$(e)))))
$(foreach g,$(RESULT_GOALS),$(if $(wildcard $(g)),,$(if $(filter $(TABLES),\
  $(basename $(g:results/$(DIR)/%=%))),$(eval $(basename $(g:results/%=.build/%)).stamp: force))))
results/$(DIR)/README.md: $(REPORT)
	@:

params/%.yaml:
	@echo "$@ is missing: write one, or take another PROFILE" >&2; exit 1

check-results: $(ENV) ## hold the committed results against the code that made them
	@$(PY) -m wsaed.readme --check

restamp: $(ENV) ## after a refactoring: renew digests where one replicate gives equal records
	@$(PY) -m wsaed.restamp --against $(or $(AGAINST),HEAD)

# ---- the notebooks that are committed executed
notebooks: $(ENV) ## run start_here, method and claims notebooks in place, at smoke size
	@for n in $(COMPARED); do $(PY) -m wsaed.render $$n --in-place --profile smoke || exit 1; done

lab: $(ENV) ## JupyterLab on the notebooks (LAB_ARGS for more options)
	@$(PY) -m jupyter lab --LabApp.news_url=None $(firstword $(wildcard notebooks/start_here.ipynb) notebooks) \
	  $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS) \
	  $(shell [ "$$(uname)" = Darwin ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || echo --no-browser)

# ---- tests
PLAIN := env -u BANK -u DESED -u AUDIOSET -u URBAN_SED -u PANNS -u DASK -u TEST_FOLD DEVICE=cpu HEADLESS=1
PYTEST := $(PLAIN) $(PY) -m pytest -n 2 --dist loadscope -p no:cacheprovider
NBVAL := $(PYTEST) --nbval-current-env --nbval-cell-timeout 300

test: lint ## ruff, unit tests, then every notebook under nbval
	@MPLBACKEND=Agg $(PYTEST) tests
	@rm -f .build/smoke/*/*.csv .build/smoke/*/*.png
	@$(if $(COMPARED),$(NBVAL) --nbval $(COMPARED),echo "no notebook to compare")
	@$(if $(ALL_TABLES),$(NBVAL) --nbval-lax $(ALL_TABLES:%=notebooks/%.ipynb),echo "no tables")
	@SMOKE=.build/smoke $(PLAIN) $(PY) -m pytest -p no:cacheprovider tests/test_notebooks.py -k smoke

lint: $(ENV) ## ruff: errors and format
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

bench: $(ENV) ## speed of the parts beside a reference, in one table
	@$(PY) -m wsaed.bench

# ---- real corpora
AUDIOSET_URL := http://storage.googleapis.com/us_audioset/youtube_corpus
AUDIOSET_FILES := v1/csv/class_labels_indices.csv v1/csv/balanced_train_segments.csv \
  v1/csv/eval_segments.csv v1/csv/unbalanced_train_segments.csv \
  strong/audioset_train_strong.tsv strong/audioset_eval_strong.tsv strong/mid_to_display_name.tsv
DESED_URL := https://zenodo.org/record/4639776/files/audioset_metadata.tar.gz
fetch = curl -fsL --retry 2 -o $(1).partial '$(2)' && mv $(1).partial $(1) && echo "fetched $(1)" \
  || { rm -f $(1).partial; echo "could not fetch $(2): offline?" >&2; exit 1; }

data: ## where the corpora are published; FETCH=1 fetches the annotations that may be fetched
	@echo 'AudioSet (secost, mixed_tsd): https://research.google.com/audioset/download.html'
	@echo '  lists and labels CC BY 4.0, some 150 MB: FETCH=1; the audio is on YouTube, yours to get'
	@echo 'DESED (joint_at_aed, shallow_student): https://project.inria.fr/desed/'
	@echo '  annotations of the recorded part, a few MB: FETCH=1; its audio is on YouTube; the'
	@echo '  synthetic part and the public evaluation set are on Zenodo: see github.com/turpaultn/DESED'
	@echo 'URBAN-SED (mixed_tsd): https://zenodo.org/record/1324404, CC BY 4.0, audio included'
	@echo 'ESC-10 (a bank of real sounds): https://github.com/karolpiczak/ESC-50, subset ESC-10, CC BY'
ifeq ($(FETCH),1)
	@mkdir -p data/audioset data/desed
	@$(foreach f,$(AUDIOSET_FILES),$(call fetch,data/audioset/$(notdir $(f)),$(AUDIOSET_URL)/$(f));)
	@$(call fetch,data/desed/metadata.tar.gz,$(DESED_URL)); cd data/desed && tar xzf metadata.tar.gz
	@echo 'use them with AUDIOSET=data/audioset and DESED=data/desed, the audio beside them'
endif

clean: ## forget stamps, logs and failed notebooks; keep environment, trained runs and results
	@[ ! -d .build ] || find .build -mindepth 1 -maxdepth 1 ! -name 'env*.stamp' -exec rm -rf {} +
	@echo "kept: .venv (environment), .cache (trained runs and features), results"
