#!/usr/bin/env bash
# Explores the models in src/models, then every weakened twin, which has to be found.
# Usage: tests/models.sh [name of a twin ...]      (without a name: the models, and all twins)
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/models"

explore() { # rustflags, filter
    RUSTFLAGS="$1" cargo test --quiet --profile models --lib "models::$2" -- --nocapture
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
    range_taken_first:packed no_second_look:packed
)
if [ $# -eq 0 ]; then
    echo "the models:"
    explore "--cfg loom" "" 2>/dev/null | grep -o "model .* executions .*"
fi
failed=0
for twin in "${twins[@]}"; do
    name=${twin%%:*} model=${twin##*:}
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    start=$SECONDS
    if ! RUSTFLAGS="--cfg loom --cfg weakened=\"$name\"" cargo test --quiet --profile models --lib --no-run 2>/dev/null; then
        echo "twin $name: does not compile"; failed=1; continue
    fi
    built=$SECONDS
    if explore "--cfg loom --cfg weakened=\"$name\"" "$model" >/dev/null 2>&1; then
        echo "twin $name: NOT FOUND by $model"; failed=1
    else
        echo "twin $name: found by $model in $((SECONDS - built)) s (built in $((built - start)) s)"
    fi
done
exit $failed
