# Everything a person or CI runs here. Two environments stand behind it, .venv/serving (what the serving image has)
# and .venv/dev (tests, training, the Azure SDK), because no single one can hold both. Jobs run in what their images have,
# .venv/batch, .venv/evaluation and .venv/finetune, and two more are behind the benchmark; see pyproject.toml. Another,
# .venv/serving-gpu, is there for those who have a GPU.
# Each target sets up the one it needs, and again only after its pins have changed.

.DEFAULT_GOAL := help

# The interpreter that the environments are made with: the first of these that is 3.11 or 3.12.
PYTHON ?= python3.11 python3.12 python3
# Given to `make score` and `make serve`: a model folder, and the port for `make serve`.
MODEL ?=
PORT ?=
# Given to `make bench`, `make soak`, `make torture`, `make evaluate` and `make finetune`: options, as in ARGS="--quick --only http" or ARGS="--set inputs.precision=fp32".
# Given to `make notebooks`: which, as in ARGS=sdk-example.
ARGS ?=
# GPU=1 serves from the environment for GPUs.
GPU ?=

serving = serving$(if $(GPU),-gpu)
server = .venv/$(serving)/bin/python -m asset.local.server

.PHONY: help score serve evaluate finetune notebooks test torture lint bench soak lock sbom

help:  ## Say what there is to run
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

score: .venv/$(serving)/.installed  ## Answer sample_input.json once, through the inference server (MODEL=FOLDER)
	@$(server) score $(if $(MODEL),--model '$(MODEL)')

serve: .venv/$(serving)/.installed  ## Keep the inference server running on this machine (MODEL=FOLDER PORT=5001 GPU=1)
	@$(server) serve $(if $(MODEL),--model '$(MODEL)') $(if $(PORT),--port '$(PORT)')

evaluate: .venv/dev/.installed .venv/evaluation/.installed  ## Run the fill-mask evaluation, on the embedded model (ARGS="--set …")
	@.venv/dev/bin/asset run -f evaluation/evaluate-model-fill-mask.yml $(ARGS)

finetune: .venv/dev/.installed .venv/finetune/.installed  ## Tune the embedded model on sample reviews, and say what to do with it (ARGS="--set …")
	@.venv/dev/bin/asset run -f finetune/finetune-sentiment.yml $(ARGS)

notebooks: .venv/dev/.installed .venv/serving/.installed .venv/evaluation/.installed .venv/finetune/.installed  ## Run every notebook here, from top to bottom (ARGS=NAME)
	@.venv/dev/bin/python -m asset.tools.notebooks $(ARGS)

test: .venv/serving/.installed .venv/batch/.installed .venv/evaluation/.installed .venv/finetune/.installed .venv/dev/.installed  ## Run every test
	@# Torch's threads of one process, spinning while they wait, would take the cores of the other.
	@OMP_WAIT_POLICY=PASSIVE .venv/dev/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --durations=10

torture: .venv/serving/.installed .venv/dev/.installed  ## Attack every boundary with 100,000 hostile requests, 5,000 model folders and 2,000 files (ARGS="--seed 7")
	@.venv/dev/bin/python -m tests.torture $(ARGS)

lint: .venv/dev/.installed  ## Check style, formatting and types
	@.venv/dev/bin/python -m ruff check .
	@.venv/dev/bin/python -m ruff format --check .
	@.venv/dev/bin/python -m mypy
	@.venv/dev/bin/clang-format --dry-run --Werror serving/native/*.[ch]
	@.venv/dev/bin/hadolint environment/*/Dockerfile

bench: .venv/serving/.installed .venv/bench/.installed .venv/bench-azureml/.installed .venv/wrk/.installed  ## Time it beside the alternatives (ARGS="--help")
	@.venv/bench/bin/python -m benchmarks $(ARGS)

soak: .venv/serving/.installed .venv/bench/.installed  ## Load it for a long time, also past what it can take (ARGS="--help")
	@.venv/bench/bin/python -m benchmarks.soak $(ARGS)

# The load generator, from Debian's packages and without installing them: nothing here needs root. Where that cannot be
# done, the benchmark uses its own and says so.
.venv/wrk/.installed:
	@mkdir -p .venv/wrk && cd .venv/wrk && \
	{ command -v wrk || { apt-get download wrk libluajit-5.1-2 libluajit-5.1-common && \
		for package in *.deb; do dpkg -x "$$package" . || exit 1; done; }; } > apt.log 2>&1 || \
	echo "no wrk here (.venv/wrk/apt.log says why): the benchmark will use its own load generator" >&2; \
	touch .installed

# What serves is pinned by the hashes of its packages too, of all platforms; a torch of another index has other hashes,
# so what trains is not. A CPU build of torch calls itself 2.13.0+cpu, which other machines cannot find; 2.13.0 fits
# every build.
lock: .venv/dev/.installed  ## Pin the newest packages that pyproject.toml allows, for each environment
	@for set in serving serving-gpu batch evaluation finetune dev bench bench-azureml; do \
		same=; \
		case $$set in \
			serving) same=--generate-hashes;; \
			serving-gpu) same="--constraint environment/serving/requirements.txt";; \
		esac; \
		CUSTOM_COMPILE_COMMAND="make lock" .venv/dev/bin/python -m piptools compile --quiet --upgrade \
			--strip-extras --unsafe-package pip --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
			--no-emit-options $$same --extra $$set --output-file environment/$$set/requirements.txt pyproject.toml && \
		sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' environment/$$set/requirements.txt || exit 1; \
	done

sbom: .venv/serving/.installed .venv/batch/.installed .venv/evaluation/.installed .venv/finetune/.installed .venv/dev/.installed  ## Write what each environment is made of, and the licenses
	@.venv/dev/bin/python -m asset.tools.sbom

# The stamp is written last, so a set-up that was cut short starts over. Wheels only, so that nothing is compiled here;
# DeepSpeed and fusepy alone have none: the one is Python that compiles what it needs when it runs, the other Python.
# The command `asset` is this checkout itself, installed with what the environment has.
# It is installed anew if pyproject.toml names other commands.
.venv/dev/.installed: pyproject.toml
itself = install --disable-pip-version-check --no-input --no-deps --no-build-isolation --editable .
.venv/%/.installed: environment/%/requirements.txt
	@python=; found=; \
	for candidate in $(PYTHON); do \
		version=$$($$candidate -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
		found="$$found $$candidate is $$version;"; \
		case $$version in 3.11|3.12) python=$$candidate; break;; esac; \
	done; \
	if [ -z "$$python" ]; then \
		echo "expected Python 3.11 or 3.12, found:$${found:- none of $(PYTHON);}" \
			"install one and name it, as in: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi; \
	echo "setting up .venv/$* with Python $$version (once; after a change of $< again)" >&2; \
	mkdir -p .venv && log=.venv/$*.log && \
	if { .venv/$*/bin/python -m pip --version || $$python -m venv --clear .venv/$*; } > $$log 2>&1 && \
		.venv/$*/bin/python -m pip install --disable-pip-version-check --no-input \
			--only-binary=:all: --no-binary=deepspeed,fusepy --requirement $< >> $$log 2>&1 \
		$(if $(filter dev,$*),&& .venv/$*/bin/python -m pip $(itself) >> $$log 2>&1); \
	then touch $@; \
	else \
		tail -n 20 $$log >&2; \
		echo "could not set up .venv/$*; the end of .venv/$*.log is above:" \
			"mend what it names (a network, a full disk) and run make again" >&2; \
		exit 1; \
	fi
