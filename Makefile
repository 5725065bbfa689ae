# SPDX-License-Identifier: Apache-2.0
# Each target first sets up what is missing or has changed; where nothing has, that takes a fraction of a second.

PYTHON ?= python3
OUT ?= out/demo
ENVIRONMENT := $(PYTHON) tools/environment.py

.DEFAULT_GOAL := help
.PHONY: help demo test lint format build clean

help: ## Show this text
	@sed -n "s/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p" $(MAKEFILE_LIST)

demo: ## Run the node over DDS on a synthetic drive, or INPUT=bag, video file or folder of images; results in out/demo
	@$(ENVIRONMENT) run -- monodvps demo --out "$(OUT)" $(if $(INPUT),--input "$(INPUT)")

test: ## Run all tests; ARGS="-m 'not slow'" and the like go to pytest
	@$(ENVIRONMENT) run --extras test -- python -m pytest $(ARGS)

lint: ## Check style and types
	@$(ENVIRONMENT) run --extras test -- ruff check .
	@$(ENVIRONMENT) run --extras test -- ruff format --check .
	@$(ENVIRONMENT) run --extras test -- mypy

format: ## Rewrite the sources in the house's style
	@$(ENVIRONMENT) run --extras test -- ruff check --fix .
	@$(ENVIRONMENT) run --extras test -- ruff format .

build: ## Set up and build, nothing else
	@$(ENVIRONMENT) setup

clean: ## Remove all that was set up, built and made
	rm -rf .venv build install log out
