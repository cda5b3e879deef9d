# Every target is one line; what it does stands in the script or command it calls.
JOB ?= entrypoints/cifar10/horovod.toml

.DEFAULT_GOAL := help
.PHONY: help local-train plan doctor image data test test-workloads check bench clean

help: ## these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 22

local-train: .venv/data image data ## run JOB on this machine: make local-train JOB=entrypoints/cifar10/horovod.toml
	@.venv/bin/homeport-local train $(JOB)

plan: .venv/data ## show what JOB would run here and what differs from the cloud; start nothing
	@.venv/bin/homeport-local plan $(JOB)

doctor: .venv/data ## show what this machine has
	@.venv/bin/homeport-local doctor

image: ## build homeport/tensorflow, starting an engine where none answers
	@docker/image.sh tensorflow

data: .venv/data ## make the CIFAR-10 data set, and a small one in COCO's form, on the local FSx
	@.venv/bin/python entrypoints/cifar10/prepare.py data/fsx/cifar10 && .venv/bin/python entrypoints/mask_rcnn/prepare.py data/fsx/coco --sample

test: .venv/dev image data ## run every test
	@.venv/bin/pytest -n 3 --dist loadfile

test-workloads: .venv/dev image ## run every training program, for the better part of an hour; make test runs a third
	@.venv/bin/pytest -m "nightly or not nightly" tests/workloads tests/container/test_toolkits.py

check: .venv/dev ## format, lint, types and layers
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports

bench: .venv/dev image ## measure starts, data and logs beside docker, boto3, tar and the SageMaker SDK
	@.venv/bin/python benchmarks/start.py && .venv/bin/python benchmarks/data.py && .venv/bin/python benchmarks/life.py

clean: ## remove what was made here, but for runs/ and data/
	@rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv/data: pyproject.toml bootstrap.sh
	@./bootstrap.sh data && touch $@

.venv/dev: pyproject.toml bootstrap.sh
	@./bootstrap.sh data dev && touch $@ .venv/data
