# SPDX-License-Identifier: Apache-2.0
# Each target first sets up what is missing or has changed; where nothing has, that takes a fraction of a second.

PYTHON ?= python3
OUT ?= out/demo
ENVIRONMENT := $(PYTHON) tools/environment.py
DEV := $(ENVIRONMENT) run $(if $(ROS),--ros $(ROS)) --extras dev --

.DEFAULT_GOAL := help
.PHONY: help demo build dev test lint format clean

help: ## Show this text
	@sed -n "s/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p" $(MAKEFILE_LIST)

demo: ## Run the node over DDS on a synthetic drive, or INPUT=bag, video file or folder of images; results in out/demo
	@$(ENVIRONMENT) run -- monodvps demo --out "$(OUT)" $(if $(INPUT),--input "$(INPUT)")

build: ## Set up and build; then every command, both nodes and training run
	@$(ENVIRONMENT) setup --extras all

dev: ## The same with ruff, mypy, pytest and pre-commit
	@$(ENVIRONMENT) setup --extras dev

test: ## Run the tests that are not slow, in two processes; ARGS="-m slow", "-k tracker" and the like go to pytest; ROS=jazzy
	@$(DEV) python -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not slow" $(ARGS)

lint: ## Check style and types
	@$(DEV) ruff check .
	@$(DEV) ruff format --check .
	@$(DEV) mypy

format: ## Rewrite the sources in the house's style
	@$(DEV) ruff check --fix .
	@$(DEV) ruff format .

clean: ## Remove all that was set up, built and made
	rm -rf .venv .jazzy build install log out
