# Every target makes the virtual environment first if it is not there; a second run does no set-up again.
#   make align   prove the Funnel pair equal, module by module
#   make test    the whole test suite
#   make lint    ruff and mypy
#   make bench   what the numbers in the README come from
#   make browser install the browser in which the HTML report is tested (Debian; without it those tests are skipped)

PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready
JOBS ?= 2
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: align test lint bench browser clean

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
	$(VENV)/bin/python -m bench.models
	$(VENV)/bin/python -m bench.overview

browser:
	{ command -v chromium && command -v chromedriver; } >/dev/null || \
	{ $(SUDO) apt-get update -q && $(SUDO) apt-get install -q -y --no-install-recommends chromium chromium-driver; }

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $(READY)
