#!/bin/sh
# Builds {{name}}.wasm. The tool lands in .venv, which is made once.
set -eu
cd "$(dirname "$0")"
# A virtual environment that happens to be active would join the search path of the component.
unset VIRTUAL_ENV PYTHONPATH
if ! cmp -s requirements.txt .venv/requirements.txt; then
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
    cp requirements.txt .venv/requirements.txt
fi
wit="-d wit -d plugin.wit -w local:plugin/component"
rm -rf bindings
.venv/bin/componentize-py --quiet $wit bindings bindings
.venv/bin/componentize-py --quiet $wit componentize plugin -p . -p bindings -o {{name}}.wasm
