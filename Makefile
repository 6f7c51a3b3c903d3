# Each target mirrors a `shoprank` command; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/shoprank
DATA ?= data
MODELS ?= model_repository
SOURCE ?= completejourney
TEST_CUTOFF ?= 2017-12-04
STORE := --data $(DATA) --model-repository $(MODELS)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "shoprank needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Install everything into a local virtual environment

.PHONY: demo
demo: install ## Train on the packaged data, serve, and rank for three households
	$(RUN) demo $(STORE)

.PHONY: test
test: install ## Run the tests
	$(RUN) test

.PHONY: lint
lint: install ## Check style (ruff) and types (mypy, strict)
	$(RUN) lint

.PHONY: audit
audit: install ## Check pins, hashes and licences of all dependencies
	$(RUN) audit

.PHONY: check-install
check-install: install ## Install the server as its image does, from locks and a wheel, serve and ask it
	$(RUN) check-install $(STORE)

.PHONY: data
data: install ## Ingest and clean the events, and write the weekly features
	$(RUN) ingest --source $(SOURCE) --data $(DATA)
	$(RUN) features --data $(DATA) --test-cutoff $(TEST_CUTOFF)
	$(RUN) apply $(STORE)

.PHONY: train
train: data ## Build the training set and train, calibrate and export the model
	$(RUN) dataset --data $(DATA)
	$(RUN) train $(STORE)
	$(RUN) apply $(STORE)

.PHONY: sources
sources: install ## Give the active model sources of candidates fitted on the newest purchases
	$(RUN) sources $(STORE)
	$(RUN) apply $(STORE)

.PHONY: evaluate
evaluate: install ## Hold the model against its baselines on the test week
	$(RUN) evaluate $(STORE) --out benchmarks/results/evaluation

.PHONY: evaluate-ranking
evaluate-ranking: install ## Hold retrieval and ranking against tuned baselines on three test weeks
	$(RUN) evaluate-ranking --data $(DATA) --out benchmarks/results/ranking
	$(RUN) ranking-page

.PHONY: evaluate-served
evaluate-served: install ## Train on what was known at the test cutoff, serve it, and judge the server's slates
	$(RUN) evaluate-served --data $(DATA) --out benchmarks/results/served --learned-source als --learned-source two-tower
	$(RUN) served-page

.PHONY: validate-rankers
validate-rankers: install ## Try rankers and settings of baselines on weeks before the tests'
	$(RUN) validate-rankers --data $(DATA)
	$(RUN) validate-rankers --data $(DATA) --record grown
	$(RUN) validate-rankers --data $(DATA) --record crossed

.PHONY: evaluate-cold-start
evaluate-cold-start: install ## Measure slates for unknown users and those of few trips, and content among new items
	$(RUN) evaluate-cold-start --data $(DATA) --out benchmarks/results/cold-start
	$(RUN) cold-start-page

.PHONY: evaluate-retrievers
evaluate-retrievers: install ## Recall of two towers beside other retrievers, on the week before the tests
	$(RUN) evaluate-retrievers --data $(DATA)
	$(RUN) retrievers-page

.PHONY: study-movielens study-clickstream
study-movielens: install ## Blend and ranker beside baselines tuned for MovieLens-100k
study-clickstream: install ## Blend and ranker beside baselines tuned for a seeded clickstream
study-movielens study-clickstream: study-%:
	$(RUN) ingest --source $* --data $(DATA)/$*
	$(RUN) features --data $(DATA)/$* --train-weeks 40
	$(RUN) apply --data $(DATA)/$* --model-repository $(MODELS)
	$(RUN) evaluate-study --study $* --data $(DATA)/$* --out benchmarks/results/study-$*
	$(RUN) study-page --study $*

.PHONY: materialize
materialize: install ## Load the newest features into the online store
	$(RUN) materialize --data $(DATA)

.PHONY: serve
serve: install ## Serve the active model over gRPC, at the time of the newest features
	$(RUN) serve $(STORE) --clock snapshot

.PHONY: bench
bench: install ## Measure the server beside an empty gRPC handler; needs h2load and redis-server
	$(RUN) bench serving $(STORE)

.PHONY: bench-phases
bench-phases: install ## Measure where the time of a request goes, in process
	$(RUN) bench phases $(STORE)

.PHONY: bench-open
bench-open: install ## Measure latency when calls come on a schedule; needs h2load
	$(RUN) bench open $(STORE)

.PHONY: bench-workers
bench-workers: install ## Measure what a second worker brings; needs h2load
	$(RUN) bench workers $(STORE)

.PHONY: bench-peers
bench-peers: install ## Measure Feast, MLServer and TensorFlow doing the same; needs redis-server
	$(RUN) bench peers $(STORE)

.PHONY: bench-report
bench-report: install ## Write the tables of docs/benchmarks.md from the last results
	$(RUN) bench report

.PHONY: bench-batch
bench-batch: install ## Measure batch scoring and streams beside a raw ONNX Runtime loop
	$(RUN) bench batch $(STORE)

.PHONY: bench-recommend
bench-recommend: install ## Measure slates beside rankings of 100 candidates
	$(RUN) bench recommend $(STORE)

.PHONY: parity
parity: install ## Hold the features of training against those served, bit for bit
	$(RUN) bench parity --data $(DATA)

.PHONY: bench-demo
bench-demo: install ## Measure time and memory of the demo, from nothing and again
	$(RUN) bench demo

.PHONY: bench-features
bench-features: install ## Measure the online store beside Feast's own; needs redis-server
	$(RUN) bench features

.PHONY: bench-security
bench-security: install ## Measure what authentication adds to a call
	$(RUN) bench security

.PHONY: bench-telemetry
bench-telemetry: install ## Measure what metrics add to a call
	$(RUN) bench telemetry

.PHONY: bench-ingest
bench-ingest: install ## Measure time and memory of ingest and features on 8,000,000 events
	$(RUN) bench ingest

.PHONY: bench-swaps
bench-swaps: install ## Change the active version 200 times under load and check every reply
	$(RUN) bench swaps $(STORE)

.PHONY: bench-overload
bench-overload: install ## Ask a server for twice what it can, and see what it still answers
	$(RUN) bench overload $(STORE)

.PHONY: bench-transport
bench-transport: install ## Measure ways to serve gRPC: threads, asyncio, uvloop; how connections spread
	$(RUN) bench transport
	$(RUN) bench spread

.PHONY: soak
soak: install ## Keep a server busy for 20 minutes; fails if its memory grows
	$(RUN) bench soak $(STORE)

.PHONY: fuzz
fuzz: install ## Send a server 100,000 malformed messages; fails unless it goes on as before
	$(RUN) bench fuzz $(STORE)

.PHONY: protos
protos: install ## Generate the gRPC stubs from protos/
	$(RUN) protos

.PHONY: clean
clean: ## Remove what the jobs made (data, models, caches); keeps the virtual environment
	rm -rf $(DATA) $(MODELS) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
