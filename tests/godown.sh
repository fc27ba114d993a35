#!/usr/bin/env bash
# Real file systems that lose what was not synced. A store is written to on a loop device; in the middle of it the file system
# is shut down, without writing its journal; it is mounted again, and everything that was acknowledged has to be there.
# Usage, as root: tests/godown.sh [cycles [file system ...]]      (without: 20 of ext4, 20 of xfs)
# GODOWN_SEED=N repeats the moments, as far as the machine lets it.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "skipped: $*"; exit 0; }
[ "$(uname)" = Linux ] || skip "only on Linux"
[ "$(id -u)" = 0 ] || skip "needs root, for mounting"
command -v python3 >/dev/null || skip "needs python3, for the shutdown"
losetup -f >/dev/null 2>&1 || skip "there is no loop device"

cycles=${1:-20}
[ $# -eq 0 ] || shift
filesystems=("$@")
[ $# -gt 0 ] || filesystems=(ext4 xfs)
seed=${GODOWN_SEED:-$(date +%s)}
RANDOM=$seed
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --example store

place=$(mktemp -d)
disk=$place/mount
program=$place/program
cp "$target/debug/examples/store" "$program"
writer=
cleanup() {
    [ -z "$writer" ] || kill -9 "$writer" 2>/dev/null || true
    umount "$disk" 2>/dev/null || true
    rm -rf "$place"
}
trap cleanup EXIT
mkdir "$disk"

fail() { # what
    echo "FAILED in cycle $cycle of $filesystem, GODOWN_SEED=$seed: $*"
    sed 's/^/    /' "$place/said" | tail -5
    exit 1
}

shut_down() { # the flag 2: the journal is not written
    python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$disk"
}

last_word() { # of the kind `ack` or `found`
    awk -v word="$1" '$1 == word { n = $2 } END { print n + 0 }' "$place/said"
}

run() { # a file system
    filesystem=$1
    command -v "mkfs.$filesystem" >/dev/null || { echo "skipped: there is no mkfs.$filesystem"; return; }
    local known=0 words=0 lost=0 began=$SECONDS
    truncate -s 320M "$place/image"
    case $filesystem in
        ext4) mkfs.ext4 -q -F "$place/image" ;;
        *) "mkfs.$filesystem" -q -f "$place/image" ;;
    esac
    mount -o loop "$place/image" "$disk" || { echo "skipped: $filesystem can't be mounted on a loop device"; return; }
    for ((cycle = 1; cycle <= cycles; cycle++)); do
        # Every other time with a thread of the store's own; sometimes it goes down while the store is opened.
        local background=() wanted=$((RANDOM % 40))
        ((cycle % 2)) || background=(PAGELOG_BACKGROUND=1)
        : >"$place/said"
        env PAGELOG_DISK_IS_GONE=1 "${background[@]}" \
            "$program" write "$disk/store" "$seed" "$known" 0 >"$place/said" 2>"$place/errors" &
        writer=$!
        while [ "$(grep -c '^ack' "$place/said" || true)" -lt "$wanted" ] && kill -0 "$writer" 2>/dev/null; do
            sleep 0.01
        done
        sleep "0.0$((RANDOM % 40 + 10))"
        shut_down
        local code=0
        wait "$writer" || code=$?
        writer=
        # It was poisoned, or its opening was refused; nothing else can come of a disk that is gone.
        [ "$code" = 4 ] || [ "$code" = 5 ] || fail "the writer ended with $code: $(tail -1 "$place/errors")"
        local acknowledged
        acknowledged=$(last_word ack)
        words=$((words + $(grep -c '^ack' "$place/said" || true)))
        [ "$acknowledged" -gt "$known" ] || acknowledged=$known
        umount "$disk"
        mount -o loop "$place/image" "$disk"
        "$program" check "$disk/store" "$seed" "$acknowledged" >"$place/said" 2>&1 || fail "after $acknowledged steps"
        # What an opening has shown is durable.
        known=$(last_word found)
        ((known == acknowledged)) || lost=$((lost + 1))
    done
    umount "$disk"
    echo "$filesystem: $cycles times down; $known steps, $words acknowledgements, none lost" \
        "($lost times there was more than was acknowledged); $((SECONDS - began)) s"
}

for filesystem in "${filesystems[@]}"; do
    run "$filesystem"
done
