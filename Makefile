# Everything here works on a fresh machine that has Python 3.11 or later, make and bash:
# each target installs what it needs first (uv, the locked dependencies, the Temporal CLI).
SHELL := /bin/bash
.DEFAULT_GOAL := help
# If it were set, each of the many processes that tests and benchmarks start would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

UV ?= scripts/uv
RUN := $(UV) run --no-sync
# `make demo ARGS="--issues 50"`, `make test ARGS="-k replay"`.
ARGS ?=
# The tests wait more than they work: four processes keep two cores busy. Each has a Temporal server of its own.
WORKERS ?= 4
# `make property EXAMPLES=1000`.
EXAMPLES ?= 100

# `uv sync` rewrites neither of the two files, so this stamp says when they were last installed.
SYNCED := .venv/.synced

.PHONY: help setup demo dev chaos bench peers property model test check format docs site picture lock temporal

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SYNCED) temporal ## Install everything: uv, dependencies, the Temporal CLI

$(SYNCED): pyproject.toml uv.lock
	@$(UV) sync --frozen --quiet
	@touch $@

temporal: $(SYNCED)
	@$(RUN) python -m issuebox.dev.temporal_server >/dev/null

demo: setup ## Show that the promise holds through duplicates, races and crashes
	@$(RUN) issuebox demo $(ARGS)

bench: setup ## Measure what the promise costs, and write docs/benchmarks.md
	@$(RUN) python -m bench.measure $(ARGS)

peers: setup ## Run other projects' get-or-create algorithms under the same faults [SEED=1] [ISSUES=200]
	@$(RUN) python -m proofs.peers $(if $(SEED),--seed $(SEED)) $(if $(ISSUES),--issues $(ISSUES)) $(ARGS)

dev: setup ## Run all parts on this machine, bound to loopback
	@$(RUN) issuebox dev $(ARGS)

chaos: setup ## Kill, freeze, cut off and fail every part by a seeded plan (SEED=, ISSUES=, MINUTES=)
	@$(RUN) python -m proofs.chaos $(if $(SEED),--seed $(SEED)) $(if $(ISSUES),--issues $(ISSUES)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

test: setup ## Run every test level, in four processes (WORKERS=0: in one)
	@$(RUN) pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

test-%: setup ## Run one level, such as make test-unit
	@$(RUN) pytest -q tests/$* $(ARGS)

property: setup ## Try random events, faults and crashes in random order (EXAMPLES=, SEED=)
	@seed=$${SEED:-$$RANDOM}; echo "make property EXAMPLES=$(EXAMPLES) SEED=$$seed"; \
	PROPERTY_EXAMPLES=$(EXAMPLES) $(RUN) pytest -q -s tests/property/test_stateful.py --hypothesis-seed=$$seed $(ARGS)

model: $(SYNCED) ## Check every interleaving up to a bound (STATES=… ends sooner, PLANT=… plants a mistake)
	@$(RUN) python -m proofs.model $(if $(STATES),--states $(STATES)) $(if $(PLANT),--plant $(PLANT))

check: $(SYNCED) ## Check lint, formatting, types, import contracts, workflows, generated pages, the site and its links
	@$(RUN) ruff check .
	@$(RUN) ruff format --check --quiet .
	@$(RUN) mypy
	@$(RUN) lint-imports
	@$(RUN) hadolint Dockerfile
	@$(RUN) shellcheck .ci/run scripts/uv scripts/actionlint scripts/client-tools scripts/agents scripts/promtool deploy/new-secrets deploy/*.sh
	@$(RUN) scripts/actionlint
	@$(RUN) zizmor --offline --quiet --pedantic .github
	@$(RUN) python -m scripts.reference --check
	@$(RUN) python -m scripts.observability --check
	@$(RUN) python -m bench.measure --render --check
	@$(RUN) python -m scripts.docs_site

format: $(SYNCED) ## Let ruff fix what it can
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

docs: $(SYNCED) ## Write the generated pages
	@$(RUN) python -m scripts.reference
	@$(RUN) python -m scripts.observability
	@$(RUN) python -m bench.measure --render

site: $(SYNCED) ## Build the documentation as a site, and serve it on loopback until Ctrl-C
	@$(RUN) python -m scripts.docs_site
	@$(RUN) python -m http.server --bind 127.0.0.1 --directory site $(or $(PORT),8000)

picture: setup ## Run the demo for its picture in the README
	@$(RUN) python -m scripts.demo_picture

lock: ## Resolve the dependencies anew within the bounds of pyproject.toml
	@$(UV) lock --upgrade
