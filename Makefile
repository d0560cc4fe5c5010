# Set-up, scoring, tests and benchmarks. All else is a verb of the command `asset`: .venv/dev/bin/asset --help.
# One environment cannot hold both the inference server and the Azure SDK, so .venv/serving has what the serving image has,
# and .venv/dev has the command `asset`, tests, training and the Azure SDK. Jobs run in what their images have: .venv/batch,
# .venv/evaluation and .venv/finetune. The benchmark has two more, and .venv/serving-gpu is for a GPU; see pyproject.toml.
# Each target sets up the environments that it needs, and again only after their pins have changed.

.DEFAULT_GOAL := help

# The interpreter to make environments with: the first of these that is 3.11 or 3.12.
PYTHON ?= python3.11 python3.12 python3
# The environments that `make setup` installs; the default is all that `asset` needs.
SETS ?= dev serving batch evaluation finetune
# For `make score` and `make serve`: a model folder; for `make serve`: a port.
MODEL ?=
PORT ?=
# For `make bench` and `make torture`: their options, such as ARGS="--quick --only http".
ARGS ?=
# GPU=1 serves from the environment for GPUs.
GPU ?=

serving = serving$(if $(GPU),-gpu)
server = .venv/$(serving)/bin/python -m asset.local.server

.PHONY: help setup score serve test torture lint bench lock

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(SETS:%=.venv/%/.installed)  ## Install every environment that `asset` needs (SETS="dev evaluation")

score: .venv/$(serving)/.installed  ## Answer sample_input.json once, through the inference server (MODEL=FOLDER)
	@$(server) score $(if $(MODEL),--model '$(MODEL)')

serve: .venv/$(serving)/.installed  ## Keep the inference server running on this machine (MODEL=FOLDER PORT=5001 GPU=1)
	@$(server) serve $(if $(MODEL),--model '$(MODEL)') $(if $(PORT),--port '$(PORT)')

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

bench: .venv/serving/.installed .venv/bench/.installed .venv/bench-azureml/.installed .venv/wrk/.installed  ## Time the engine beside the alternatives (ARGS="--help")
	@.venv/bench/bin/python -m benchmarks $(ARGS)

# The load generator, unpacked from Debian's packages without installing them, so root is not needed. If that fails, the
# benchmark uses its own load generator and says so.
.venv/wrk/.installed:
	@mkdir -p .venv/wrk && cd .venv/wrk && \
	{ command -v wrk || { apt-get download wrk libluajit-5.1-2 libluajit-5.1-common && \
		for package in *.deb; do dpkg -x "$$package" . || exit 1; done; }; } > apt.log 2>&1 || \
	echo "no wrk here (.venv/wrk/apt.log says why): the benchmark will use its own load generator" >&2; \
	touch .installed

# The serving environment is pinned by the hashes of its packages too. The others are not, because a torch of another index
# has other hashes. A CPU build of torch is called 2.13.0+cpu, which other machines cannot find; 2.13.0 fits every build.
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

# The stamp is written last, so a set-up that was cut short starts over. Only wheels are installed, so that nothing is compiled;
# DeepSpeed and fusepy have no wheels and are plain Python. The command `asset` is this checkout itself, installed into
# .venv/dev; it is installed again if pyproject.toml changes.
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
		echo "Python 3.11 or 3.12 is needed:$${found:- there is none of $(PYTHON);}" \
			"install one and name it, such as: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
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
