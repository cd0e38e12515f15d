# What people type here is what CI runs; README.md has the two commands that need no make.
PYTHON ?= .venv/bin/python
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --no-config
.PHONY: help test lint format locked

help:     ## Say what there is
	@grep -E '^[a-z]+: ' $(MAKEFILE_LIST) | sed 's/: *##/\t/'

test:     ## Linters, types, import contracts, then every test
	$(PYTHON) -m tests

lint:     ## The same without the tests
	$(PYTHON) -m tests --no-tests

format:   ## Let ruff mend what it can
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

locked:   ## Resolve anew (needs uv on PATH; add UPGRADE=--upgrade for newer releases)
	$(call lock,requirements/locked.txt,)
	$(call lock,requirements/development.txt,--extra dev --constraint requirements/locked.txt)

# The comment block at the top of each list is kept; everything under it is written again.
define lock
	grep '^#' $(1) > $(1).head
	cp $(1) $(1).new
	echo 'setuptools>=77' | $(LOCK) $(UPGRADE) $(2) -o $(1).new pyproject.toml -
	cat $(1).head $(1).new > $(1)
	rm $(1).head $(1).new
	! grep -nE '[a-z]+://' $(1)
endef
