#!/usr/bin/env bash
# A small program runs under strace, and each of its writes and syncs fails in turn, by the kernel's word. It has to say so, or to have
# got over it; and when the store is opened again everything that was acknowledged has to be there.
# Usage: tests/inject.sh [steps]      (of the program; more steps, more calls)
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "skipped: $*"; exit 0; }
command -v strace >/dev/null || skip "there is no strace"

steps=${1:-40}
seed=2026
before=30
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --example store
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
program=$place/program
cp "$target/debug/examples/store" "$program"

strace -o /dev/null -e trace=none true 2>/dev/null || skip "strace is not permitted here"

# A store that was worked with, and was not closed: opening it has something to write again.
"$program" write "$place/base" $seed 0 $before >"$place/said"
known=$before

fresh() { rm -rf "$place/store"; cp -r "$place/base" "$place/store"; }

last_word() { awk -v word="$1" '$1 == word { n = $2 } END { print n + 0 }' "$place/said"; }

fail() { # what
    echo "FAILED: $call number $number with $error: $*"
    cat "$place/calls" "$place/said" | tail -20
    exit 1
}

# What a failure must come to: these are the calls that acknowledgements rest on.
must_be_heard() { # a line of strace: call(descriptor<path>, ...
    case $1 in
        *fdatasync*"/log>"* | *fdatasync*"/MANIFEST>"*) return 0 ;;
        *) return 1 ;;
    esac
}

one() { # call, error, number
    call=$1 error=$2 number=$3
    fresh
    local code=0
    strace -f -y -o "$place/calls" -e "trace=$call" -e "inject=$call:error=$error:when=$number" \
        "$program" write "$place/store" $seed $known "$steps" >"$place/said" 2>"$place/errors" || code=$?
    local struck
    struck=$(grep -m1 INJECTED "$place/calls" || true)
    [ -n "$struck" ] || fail "it was not made"
    case $code in
        0) over=$((over + 1)); ! must_be_heard "$struck" || fail "nobody heard of it: $struck" ;;
        3) refused=$((refused + 1)) ;;
        4) poisoned=$((poisoned + 1)) ;;
        5) not_opened=$((not_opened + 1)) ;;
        *) fail "the program ended with $code: $(tail -3 "$place/errors")" ;;
    esac
    local acknowledged
    acknowledged=$(last_word ack)
    [ "$acknowledged" -gt $known ] || acknowledged=$known
    "$program" check "$place/store" $seed "$acknowledged" >"$place/said" 2>&1 || fail "after $acknowledged steps"
}

all_of() { # call, error
    fresh
    strace -f -o "$place/calls" -e "trace=$1" "$program" write "$place/store" $seed $known "$steps" >/dev/null
    local calls began=$SECONDS
    calls=$(grep -c "$1(" "$place/calls" || true)
    over=0 refused=0 poisoned=0 not_opened=0
    for ((at = 1; at <= calls; at++)); do
        one "$1" "$2" $at
    done
    echo "$1 $2: $calls calls failed; $poisoned poisoned the store, $refused were refused," \
        "$not_opened kept it from being opened, $over were passed over; nothing was lost ($((SECONDS - began)) s)"
}

all_of pwrite64 EIO
all_of pwrite64 ENOSPC
all_of fdatasync EIO
all_of fdatasync ENOSPC
all_of fsync EIO
