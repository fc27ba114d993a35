#!/usr/bin/env bash
# Explores the models in src/models, then every weakened twin, which has to be found.
# Usage: tests/models.sh [name of a twin ...]      (without a name: the models, and all twins)
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO_TARGET_DIR="$(realpath -m "${CARGO_TARGET_DIR:-target}/models")"
export CARGO_TARGET_DIR

explore() { # filter
    RUSTFLAGS="--cfg loom" cargo test --quiet --profile models --lib "models::$1" -- --nocapture
}

# From now on builds the crate with a weakened twin: the crate alone, for what RUSTFLAGS say is said to its dependencies, too, and
# they would be built again for each twin. Nobody tells cargo that something has changed but the time of a file.
weaken() { # name
    export RUSTC_WORKSPACE_WRAPPER="$CARGO_TARGET_DIR/weakened"
    mkdir -p "$CARGO_TARGET_DIR"
    printf '#!/bin/sh\nexec "$@" --cfg %s\n' "'weakened=\"$1\"'" >"$RUSTC_WORKSPACE_WRAPPER"
    chmod +x "$RUSTC_WORKSPACE_WRAPPER"
    touch src/lib.rs
}

# twin:model that has to fail
twins=(
    kill_order:reuse subtract_order:reuse own_order:reuse
    kill_in_two_steps:location move_blindly:location move_order:location read_order:location
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
if [ $# -eq 0 ]; then
    echo "the models:"
    explore "" 2>/dev/null | grep -o "model .* executions .*"
fi
failed=0
for twin in "${twins[@]}"; do
    name=${twin%%:*} model=${twin##*:}
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    start=$SECONDS
    weaken "$name"
    if ! RUSTFLAGS="--cfg loom" cargo test --quiet --profile models --lib --no-run 2>/dev/null; then
        echo "twin $name: does not compile"; failed=1; continue
    fi
    built=$SECONDS
    if explore "$model" >/dev/null 2>&1; then
        echo "twin $name: NOT FOUND by $model"; failed=1
    else
        echo "twin $name: found by $model in $((SECONDS - built)) s (built in $((built - start)) s)"
    fi
done
exit $failed
