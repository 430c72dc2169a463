# make demo   the whole package at work on this machine, no ROS or GPU needed
# make test   the test suite, in the same environment
# make docs   the documentation, into build/docs
# make fuzz   the fuzzer: N=10000 tries of each target, SEED=0, TARGET='image coco' for some
# make soak   the node with faults around it: MINUTES=10, SEED=0

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow fuzz soak check docs clean

# A second run installs nothing; new requirements install what is new.
$(STAMP): setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[ros,bag,report,train,hf,test,docs]'
	touch $@

DEMO_FLAGS = $(if $(VIDEO),--video '$(VIDEO)') $(if $(CAMERA),--camera '$(CAMERA)') \
	$(if $(BAG),--bag '$(BAG)') $(if $(MODEL),--model '$(MODEL)')

demo: $(STAMP)
	$(BIN)/panoptic demo $(DEMO_FLAGS)

# What starts ROS 2 processes is sensitive to load and runs alone, after the rest.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope -m 'not ros and not slow'
	$(BIN)/python -m pytest -m 'ros and not slow'

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# A run that was stopped continues; slow targets get N / 10 tries.
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONPATH=test $(BIN)/python -m fuzz -n $(or $(N),10000) --seed $(or $(SEED),0) \
	  $(if $(TARGET),--target $(TARGET))

soak: $(STAMP)
	PYTHONPATH=test $(BIN)/python -m soak --minutes $(or $(MINUTES),10) --seed $(or $(SEED),0)

check: $(STAMP) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy panoptic_ros training

docs: $(STAMP)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs build/docs

clean:
	rm -rf $(VENV) build demo_output *.egg-info
