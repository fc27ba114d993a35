#!/usr/bin/env bash
# Explores the models in src/models, then every weakened twin, which has to be found.
# Usage: tests/models.sh [name of a twin ...]      (without a name: the models, and all twins)
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO_TARGET_DIR="$(realpath -m "${CARGO_TARGET_DIR:-target}/models")"
export CARGO_TARGET_DIR RUSTFLAGS="--cfg loom"
. tests/support/weaken.sh

build() {
    cargo test --quiet --profile models --lib --no-run
}

explore() { # filter
    cargo test --quiet --profile models --lib "models::$1" -- --nocapture
}

# twin:model that has to fail
twins=(
    kill_order:reuse subtract_order:reuse own_order:reuse
    kill_in_two_steps:location move_blindly:location move_order:location read_order:location copied_unfrozen:location
    publish_order:page free_list_no_second_look:free_list
    cleared_after_the_look:eviction link_read_late:eviction push_order:eviction
    leave_order:buffer seal_blindly:buffer event_fence:buffer
    stretch_believed:arming
    settle_without_waiting:snapshot begin_released_first:batch
    mark_before_publishing:changes marks_taken_before_begin:changes mark_fence:changes
    commit_looks_first:commit
    flag_before_cause:stop wake_past_the_lock:stop
    range_taken_first:packed no_second_look:packed
)
wanted=("$@")
if [ $# -eq 0 ]; then
    echo "the models:"
    explore "" 2>/dev/null | grep -o "model .* executions .*"
fi
find_twins
