# Every target makes the virtual environment first if it is not there; a second run does no set-up again.
#   make align   prove the Funnel pair equal, module by module
#   make test    the whole test suite
#   make lint    ruff and mypy
#   make bench   what the numbers in the README come from

PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready
JOBS ?= 2

.PHONY: align test lint bench clean

align: $(READY)
	$(VENV)/bin/python -m align step1 --model funnel

test: $(READY)
	$(VENV)/bin/python -m pytest -q -n $(JOBS) --dist worksteal

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY)
	$(VENV)/bin/python -m bench.align
	$(VENV)/bin/python -m bench.convert

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $(READY)
