PYTHON ?= python3
BIN = .venv/bin
PARALLEL = -n logical --maxprocesses 8 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# For speed: the BLAS threads of tests that run side by side would wait for each other.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: setup house docs messages api readme-pictures train test test-all test-lowest test-kernels faults fuzz lint format types check wheel bench bench-estimator bench-pictures peers pretrained trials clean

setup: .venv/ready          ## make .venv with everything that training, tests and checks need
.venv/ready: pyproject.toml
	@echo 'making .venv and installing what is needed there: a minute or two'
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --editable '.[dev]' && touch $@

train: .venv/ready          ## train the default config, then measure it on people it has never seen
	$(BIN)/backprop train && $(BIN)/backprop eval && echo 'next: .venv/bin/backprop predict data/samples'

test: .venv/ready           ## all tests but the slow ones, some minutes
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow'

test-all: .venv/ready       ## all tests, kernels and campaigns in full: an hour
	$(BIN)/python -m pytest $(PARALLEL) && $(MAKE) test-kernels faults fuzz

test-lowest: .venv-lowest/ready ## the quicker tests on the lowest versions that pyproject.toml allows
	.venv-lowest/bin/python -m pytest $(PARALLEL) -m 'not slow' -p no:cacheprovider --ignore tests/faults --ignore tests/fuzz --ignore tests/test_docs.py --ignore tests/test_architecture.py --ignore tests/test_one_change_one_file.py --ignore tests/insight/test_diagnosis.py --ignore tests/test_honest_words.py --ignore tests/page --ignore tests/test_short_forms.py
.venv-lowest/ready: pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv .venv-lowest && .venv-lowest/bin/pip install --quiet $$(.venv-lowest/bin/python .ci/lowest.py) && touch $@

test-kernels: .venv/ready   ## what hangs on arithmetic, under other BLAS kernels, features and threads; KERNELS='--quick Nehalem'
	$(BIN)/python tests/kernels.py $(KERNELS)

faults: .venv/ready         ## the fault campaign, some 9 minutes: OPTIONS='--kills 50 --jobs 1', or --help
	PYTHONPATH=tests $(BIN)/python -m faults $(OPTIONS)

house: .venv/ready           ## draw the floors of the package into docs/how-it-is-built.md, from its imports
	$(BIN)/python tests/house.py

docs: .venv/ready            ## write docs/config.md and docs/commands.md from the program
	$(BIN)/python tests/make_docs.py

messages: .venv/ready        ## print every error and warning that the tests provoke, once; TESTS='tests/test_config.py' for fewer
	$(BIN)/python tests/messages.py $(TESTS)

readme-pictures: .venv/ready ## take the README's pictures of the real programs; needs Chromium and tmux
	$(BIN)/python tests/make_readme_pictures.py

api: .venv/ready             ## the public names as pages, in build/api
	$(BIN)/python -W error tests/make_api.py build/api

lint: .venv/ready           ## style and formatting
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: .venv/ready         ## put it in order
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: .venv/ready          ## mypy --strict
	$(BIN)/mypy

check: lint types test      ## before every commit

wheel: .venv/ready          ## sdist and wheel in dist/, built, checked and tried outside this clone
	rm -rf dist && $(BIN)/python -m build && $(BIN)/twine check --strict dist/* && .ci/try $(CURDIR)/$(BIN)/python

bench: .venv/ready          ## our speed against others; writes docs/performance.md (torch and jax: pip install -e '.[bench]')
	$(BIN)/python -m benchmarks.bench

bench-estimator: .venv/ready ## BackpropClassifier beside scikit-learn's MLPClassifier: fit on networks A and B, accuracy with defaults
	$(BIN)/python -m benchmarks.estimator

bench-pictures: .venv/ready ## how photo-like pictures of DATA=digits.npz are read, by kind (MODEL=runs/... if not the last)
	$(BIN)/python -m benchmarks.pictures --data $(DATA) $(if $(MODEL),--model $(MODEL))

peers: .venv/ready          ## our accuracy beside scikit-learn's methods, P1 to P5 (P4 with DATA=optdigits_tra.npz)
	$(BIN)/python -m benchmarks.accuracy $(if $(DATA),--data $(DATA))

pretrained: .venv/ready     ## the model in the package: config `pictures` on all 1,797 digits
	rm -rf runs/pretrained && $(BIN)/backprop train -c pictures --portable --set data.test_size=0 --set data.validation_size=0 \
	--run-dir runs/pretrained && cp runs/pretrained/model.safetensors backprop_cli/pretrained.safetensors

trials: .venv/ready          ## what the advice of the diagnosis did: writes backprop_cli/experiment/trials.csv, some minutes
	PYTHONPATH=tests $(BIN)/python tests/advice.py

fuzz: .venv/ready           ## thousands of damaged and hostile files of each kind; FUZZ='--seed 1 --pictures 100000' for others
	$(BIN)/python tests/fuzz $(FUZZ)

clean:                      ## remove what was made here, but no runs
	rm -rf .venv .venv-lowest dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis && find . -name __pycache__ -prune -exec rm -rf {} +
