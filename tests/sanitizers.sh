#!/usr/bin/env bash
# Runs tests under ThreadSanitizer, AddressSanitizer and Miri. Nothing is suppressed.
# Usage: tests/sanitizers.sh [thread] [address] [miri]      (without a name: all three)
# Needs rustup, and installs what is missing of a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
folder="${CARGO_TARGET_DIR:-target}"

# Threads that share a store. `--cfg sanitized`: freed memory is not kept for the next one, which would hide a use after its end.
racing=(--test linearizability --test concurrency --test batches --test reservations --test cache)
# Everything that runs in one process, without what measures memory or time.
all=("${racing[@]}" --test ancestors --test backup --test bad_input --test faults --test golden_store --test large_values
    --test log_model --test missing_parts --test model --test options --test read_only --test verify)

install() { # components
    rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
    for component in "$@"; do
        rustup component list --toolchain nightly | grep -q "^$component.*installed" ||
            rustup component add "$component" --toolchain nightly
    done
}

thread() {
    install rust-src
    # The standard library is built as well, so that what it does is seen.
    CARGO_TARGET_DIR="$folder/thread" RUSTFLAGS="-Zsanitizer=thread --cfg sanitized" \
        TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=1 second_deadlock_stack=1}" PAGELOG_HISTORIES="${PAGELOG_HISTORIES:-2500}" \
        cargo +nightly test -Zbuild-std --target "$target" --lib "${racing[@]}"
}

address() {
    install
    CARGO_TARGET_DIR="$folder/address" RUSTFLAGS="-Zsanitizer=address --cfg sanitized" \
        ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1 detect_stack_use_after_return=1}" \
        cargo +nightly test --target "$target" --lib "${all[@]}"
}

# Miri is some thousand times slower than the processor. So it gets the modules that have pointers and orderings of their own, whose tests
# do less there; whole stores, property tests and a checksum test of millions of steps are left out, and so is the arithmetic of what to evict and
# what to clean, which has neither.
interpreted=(pages:: segments:: log::ring:: log::gate:: --skip pages::ghosts:: --skip pages::queues:: --skip segments::victim::
    --skip pages::segment_map::)

miri() {
    install rust-src miri
    # crossbeam-epoch is not written to the rules of stacked borrows. And it keeps addresses as numbers, behind which Miri sees nothing: what
    # waits in the process's collector when the last thread ends counts as leaked, if there is any. The leak checker above looks for leaks.
    CARGO_TARGET_DIR="$folder/miri" MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-disable-isolation -Zmiri-ignore-leaks" \
        cargo +nightly miri test --lib -- -Zunstable-options --report-time "${interpreted[@]}"
}

for tool in "${@:-thread address miri}"; do
    for name in $tool; do
        echo "== $name"
        start=$SECONDS
        "$name"
        echo "== $name: nothing found, $((SECONDS - start)) s"
    done
done
