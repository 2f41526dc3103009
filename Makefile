# make help lists the targets. PYTHON=python3.12 make ... picks another Python.
PYTHON ?= python3
BUNDLE ?= brats_seg3d
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: help demo test test-commands test-label test-deploy lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: $(VENV)/installed  ## make a synthetic case and run a bundle on it: make demo BUNDLE=brats_seg3d
	@$(RUN) -m tools demo $(BUNDLE)

test: $(VENV)/installed-dev  ## run all tests, in two processes of one thread
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-commands: $(VENV)/installed-dev  ## run every command of README and cards on synthetic data
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 -m commands -rA tests/test_commands.py

test-label: .venv-label/installed  ## try the bundles in a MONAI Label server: make test-label BUNDLES="NAME NAME"
	.venv-label/bin/python apps/label/check.py $(BUNDLES)

test-deploy: .venv-deploy/installed  ## try the bundles in MONAI Deploy apps: make test-deploy BUNDLES="NAME NAME"
	.venv-deploy/bin/python apps/deploy/check.py $(BUNDLES)

lint: $(VENV)/installed-dev  ## check style and formatting
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:  ## remove the environment and what demo wrote
	rm -rf $(VENV) .venv-label .venv-deploy demo

# Each step leaves a file, so that it runs again only when its input changes; an interrupted install leaves none.
%/bin/python:
	@command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) here; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.version_info >= (3, 10) or sys.exit( \
	  "Python 3.10 or newer is needed, $(PYTHON) is " + v + ". Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $* || (rm -rf $*; echo "python -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 1)

$(VENV)/installed: $(VENV)/bin/python requirements.txt pyproject.toml
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[ixi]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev,n4,onnx,ixi,mlflow,seg,clip]'
	@# of the parity tests; without its dependencies, since the networks need none of them
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps monai-generative==0.2.3
	@touch $@

.venv-label/installed: .venv-label/bin/python apps/label/requirements.txt
	.venv-label/bin/python -m pip install --quiet --disable-pip-version-check -r apps/label/requirements.txt
	.venv-label/bin/python -m pip install --quiet --disable-pip-version-check --no-deps monailabel==0.8.5 torchvision==0.28.0
	@touch $@

.venv-deploy/installed: .venv-deploy/bin/python apps/deploy/requirements.txt requirements.txt
	.venv-deploy/bin/python -m pip install --quiet --disable-pip-version-check -r apps/deploy/requirements.txt
	@touch $@
