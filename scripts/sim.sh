#!/usr/bin/env bash
# sim.sh: the simulation of several processes (docs/decisions/0009) with many histories, optimised: the lake is compiled
# for it once, which takes minutes, and then plays three times as many as in the tests' own build. A history that breaks a
# promise names its seed; `make sim SIM_SEED=17 SIM_HISTORIES=1` plays it again and tells it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
. .tools/env

export SIM_HISTORIES="${SIM_HISTORIES:-100000}" SIM_SEED="${SIM_SEED:-0}"
say "$SIM_HISTORIES histories, seeds from $SIM_SEED on"
cargo nextest run --release --locked -p lake --test sim --profile long --no-capture no_history_breaks_a_promise
