# Everything from a fresh clone to the paper's tables and figures. Run `make help` for the goals.

PROFILE := small
CORPUS := sim
DATA :=
JOBS :=
DEVICE :=
PYTHON :=
VENV := .venv
TORCH_INDEX :=
PUBLISHED :=

profiles := smoke small paper
corpora := sim multiemo meld-text nemo
obtained := multiemo meld-text nemo csv
devices := cpu cuda cuda-bfloat16
variables := PROFILE CORPUS DATA JOBS DEVICE PYTHON VENV TORCH_INDEX PUBLISHED

# Wrong settings are rejected here, before the environment is built, which takes minutes.
typed := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$v))
unknown := $(filter-out $(variables),$(typed))
$(if $(unknown),$(error Unknown variable: $(unknown). The variables are: $(variables)))

# A value is taken as it is typed: make does not expand it, and recipes see it only as a variable of
# the shell. So no quote, space or $ in it can become part of a command.
$(foreach v,$(variables),$(eval override $v := $$(value $v)))
export $(variables)

one_of = $(if $(and $(filter 1,$(words $($1))),$(filter $2,$($1))),,\
    $(error $1=$($1) is not valid. $1 is one of: $2))
$(call one_of,PROFILE,$(profiles))
ifneq ($(filter data,$(MAKECMDGOALS)),)
$(if $(filter-out sim,$(CORPUS)),,$(error `make data` needs CORPUS=multiemo, meld-text or nemo to \
download, or CORPUS=csv to read your own table; CORPUS=sim generates its own data))
$(call one_of,CORPUS,$(obtained))
else
$(if $(filter csv,$(CORPUS)),$(error CORPUS=csv is for `make data`, which writes feature files. To \
train on them use CORPUS=multiemo with the same DATA))
$(call one_of,CORPUS,$(corpora))
endif
$(if $(DEVICE),$(call one_of,DEVICE,$(devices)))
$(if $(VENV),,$(error VENV is empty. Name a folder for the environment, or leave VENV out))
# A relative path gets ./ before it, so that no name is taken for an option.
override VENV := $(if $(filter /%,$(firstword $(VENV))),,./)$(VENV)
ifeq ($(CORPUS)$(if $(DATA)$(wildcard data/multiemo)$(filter data,$(MAKECMDGOALS)),,-),multiemo-)
$(error CORPUS=multiemo needs DATA=DIR, the folder that contains MELD/, IEMOCAP/ or both; or run \
`make data CORPUS=multiemo` first)
endif
ifeq ($(CORPUS)$(if $(DATA),,-),csv-)
$(error `make data CORPUS=csv` needs DATA=DIR, the folder that contains utterances.csv)
endif
ifneq ($(filter check-data,$(MAKECMDGOALS)),)
$(if $(DATA),,$(error `make check-data` needs DATA=DIR: a folder MELD/ or IEMOCAP/, or their parent))
endif

# What `make data` needs beyond the lock.
extra = $(if $(filter meld-text,$(CORPUS)),text,$(if $(filter nemo,$(CORPUS)),voices))

python := "$$VENV/bin/python"
pip = $(python) -m pip --disable-pip-version-check
# Installs an extra beside what the lock holds.
add = $(pip) install --quiet $(index) --constraint requirements.lock --no-build-isolation \
  --editable '.[$1]'

# Keep the caller's own Python settings out of the environment and its kernels.
unexport PYTHONPATH PYTHONHOME JUPYTER_PATH
export PYTHONNOUSERSITE := 1
# Runs and notebooks use the cores by process. More threads would compete for the cores, and sums
# would depend on the number of threads.
export OMP_NUM_THREADS := 1
# glibc would give each step's memory back to the system and ask for it again: 5 % of a run's time.
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 4294967296
export JUPYTER_PREFER_ENV_PATH := 1

.DEFAULT_GOAL := help
.PHONY: help paper data check-data test bench lab exercises notebooks site lock clean environment

help: ## List the goals and variables
	@echo 'make GOAL [VARIABLE=value ...]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  PROFILE      $(profiles)  [$(PROFILE)]'
	@echo '  CORPUS       $(corpora), for data also csv  [$(CORPUS)]'
	@echo '  DATA         folder of feature files  [data/CORPUS]'
	@echo '  JOBS         number of parallel runs, or a Dask scheduler: tcp://host:8786  [one per core]'
	@echo '  DEVICE       $(devices)  [for profile paper a GPU, if there is one]'
	@echo '  PYTHON       the Python that builds the environment, 3.11 or later'
	@echo '  VENV         folder of the environment  [.venv]'
	@echo '  TORCH_INDEX  an additional package index, e.g. one with CPU-only builds of torch'
	@echo '  PUBLISHED    for bench: a checkout of the published MultiEMO, to be timed beside ours'

paper: environment ## Train, run the notebooks, write all tables and figures
	$(python) -m mlsan paper --profile="$$PROFILE" --corpus="$$CORPUS" \
	  $${DATA:+--data="$$DATA"} $${JOBS:+--jobs="$$JOBS"} $${DEVICE:+--device="$$DEVICE"}

data: environment ## Provide real data and verify it: CORPUS=multiemo, meld-text, nemo or csv
	$(if $(extra),$(call add,$(extra)))
	$(python) -m mlsan data --corpus="$$CORPUS" $${DATA:+--data="$$DATA"}

check-data: environment ## Check the feature files in DATA and report how they are used
	$(python) -m mlsan check-data --data="$$DATA"

test: environment ## Lint, unit tests, notebooks (outputs that do not depend on training are compared)
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m pytest -n 2 --dist loadfile
	PROFILE=smoke CORPUS=sim DATA= JOBS= DEVICE= $(python) -m pytest -o addopts= -o filterwarnings=default \
	  --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg \
	  --nbval-cell-timeout 480 -n 2 --dist loadfile notebooks/*.ipynb

bench: environment ## Time a training step of every model and write build/bench-PROFILE.csv
	$(python) -m mlsan.bench --profile="$$PROFILE" $${PUBLISHED:+--published="$$PUBLISHED"}

lab: environment ## Open the notebooks in JupyterLab
	$(python) -m jupyterlab notebooks

exercises: environment ## Write the exercises as notebooks; keep those that you have changed
	$(python) -m mlsan.report.exercises notebooks/exercises/*.py

notebooks: environment ## Execute the notebook sources and write the committed .ipynb
	$(python) -m mlsan.report.exercises --sections notebooks/exercises/*.py
	PROFILE=small CORPUS=sim DATA= JOBS= DEVICE= $(python) -m mlsan.report.notebooks notebooks/*.py

site: environment ## Build the book from the committed notebooks in build/site, without network
	$(call add,site)
	$(python) notebooks/site/build.py

lock: ## Rewrite requirements.lock from the pins in pyproject.toml
	@$(find_python); scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; set -e; \
	"$$found" -c "$$list_pins" > "$$scratch/pins"; \
	"$$found" -m venv "$$scratch/env"; \
	"$$scratch/env/bin/python" -m pip --disable-pip-version-check install $(index) -r "$$scratch/pins"; \
	{ echo '# Every package of the environment, exactly. Written by `make lock` from pyproject.toml'; \
	  echo '# with Python 3.11 on Linux. CUDA libraries are left to torch, which pins its own.'; \
	  "$$scratch/env/bin/python" -m pip freeze --all --exclude pip \
	    | grep -vE '^(nvidia|cuda|triton)' | sed 's/+[a-z0-9.]*$$//'; } > "$$scratch/lock"; \
	mv "$$scratch/lock" requirements.lock

clean: ## Remove what was built, but no data and no committed figures
	rm -rf build mlsan.egg-info .pytest_cache .ruff_cache
	find mlsan tests notebooks -name __pycache__ -prune -exec rm -rf {} +
	@set -e; $(remove_venv)

# .complete is written last, so that an interrupted installation is not taken as complete. It gets
# the time at which the installation began: pins that change meanwhile are then installed too.
environment:
	@set -e; complete=$$VENV/.complete; \
	if test -f "$$complete" && ! test requirements.lock -nt "$$complete" \
	  && ! test pyproject.toml -nt "$$complete"; then exit 0; fi; \
	$(find_python); $(remove_venv); \
	echo "Building $$VENV with $$("$$found" --version); this takes a few minutes, once"; \
	mkdir -p -- "$$VENV"; \
	touch -- "$$VENV/.building"; \
	"$$found" -m venv "$$VENV"; \
	$(pip) install $(index) -r requirements.lock; \
	$(pip) install --quiet --no-deps --no-build-isolation --editable .; \
	mv -- "$$VENV/.building" "$$complete"

index := $${TORCH_INDEX:+--extra-index-url="$$TORCH_INDEX"}

# Removes the environment if make built it. A missing or empty folder is left to be built in, and
# anything else is somebody else's.
define remove_venv
refuse() { echo "VENV=$$VENV $$1, so it is left as it is. Name another folder with VENV, or leave" \
  'VENV out.' >&2; exit 1; }; \
if test -d "$$VENV"; then \
  inside=$$(cd -- "$$VENV" && pwd -P); \
  case $$(pwd -P)/ in "$${inside%/}"/*) refuse 'contains this checkout' ;; esac; \
  if test -f "$$VENV/.building" || \
    { test -f "$$VENV/.complete" && test -f "$$VENV/pyvenv.cfg"; }; then rm -rf -- "$$VENV"; \
  elif test -n "$$(ls -A -- "$$VENV")"; then refuse 'was not built by make'; fi; \
elif test -e "$$VENV" || test -L "$$VENV"; then refuse 'is not a folder'; fi
endef

# The Python that the lock was written with comes first. Debian's Python can lack ensurepip.
define find_python
if test -n "$$PYTHON"; then set -- "$$PYTHON"; \
else set -- python3.11 python3.12 python3.13 python3.14 python3; fi; \
found=; for each; do \
  if "$$each" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
  then found=$$each; break; fi; done; \
test -n "$$found" || { echo "No Python 3.11 or later with venv was found$${PYTHON:+, at $$PYTHON}:" \
  'install one (on Debian also python3-venv) or name it with PYTHON=/path/to/python3.' >&2; exit 1; }
endef

define list_pins
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")
endef
export list_pins
