#!/usr/bin/env bash
# Runs the fuzz targets in tests/fuzz, each for some seconds. What it finds goes to tests/fuzz/artifacts.
# Usage: tests/fuzz.sh [target] [seconds]      (without a target: all of them, in turn; 60 seconds each)
# Needs nothing but a C++ compiler: libFuzzer comes with a crate, and coverage with stable rustc.
# To run an input again: tests/fuzz.sh <target> <file>
set -euo pipefail
cd "$(dirname "$0")/fuzz"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz"
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
all=(record segment manifest snapshot large store repaired)
targets=("${all[@]}") duration=60
if [ $# -gt 0 ] && [[ ! $1 =~ ^[0-9]+$ ]]; then targets=("$1"); shift; fi
if [ $# -gt 0 ]; then duration=$1; fi

built="$CARGO_TARGET_DIR/$host/release"
bins=(); for target in "${targets[@]}"; do bins+=(--bin "$target"); done
# With --target the flags are for the crates only, not for what builds them. No target is named in full, for one is enough to link.
RUSTFLAGS="$(echo $coverage)" cargo build --quiet --release --target "$host" "${bins[@]}"
cargo run --quiet --release --bin seeds -- corpus-seeds

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    if [ -f "$duration" ]; then exec "$built/$target" "$duration"; fi
    echo "== $target, $duration s"
    "$built/$target" "corpus/$target" "corpus-seeds/$target" -max_total_time="$duration" -max_len=4096 -timeout=20 \
        -rss_limit_mb=2048 -artifact_prefix="artifacts/$target/" -print_final_stats=1 2>&1 |
        grep -E "INITED|DONE|ERROR|panicked|SUMMARY|Test unit|stat::number_of_executed|stat::average" || true
    # libFuzzer leaves a file for each find.
    if [ -n "$(ls -A "artifacts/$target")" ]; then echo "$target: see $PWD/artifacts/$target"; exit 1; fi
done
