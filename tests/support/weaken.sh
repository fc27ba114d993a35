# Builds of the crate with a weakened twin in it. Sourced by scripts that have set CARGO_TARGET_DIR and stand in the repository's root.

# From now on builds the crate with a weakened twin: the crate alone, for what RUSTFLAGS say is said to its dependencies, too, and
# they would be built again for each twin. Nobody tells cargo that something has changed but the time of a file.
weaken() { # name
    export RUSTC_WORKSPACE_WRAPPER="$CARGO_TARGET_DIR/weakened"
    mkdir -p "$CARGO_TARGET_DIR"
    printf '#!/bin/sh\nexec "$@" --cfg %s\n' "'weakened=\"$1\"'" >"$RUSTC_WORKSPACE_WRAPPER"
    chmod +x "$RUSTC_WORKSPACE_WRAPPER"
    touch src/lib.rs
}

# Builds each twin that is wanted with `build`, and has `explore` look for it. Fails if one is not found.
# twins: name:where it has to be found, one after the other; wanted: their names, or nothing for all.
find_twins() {
    local failed=0 twin name place start built
    for twin in "${twins[@]}"; do
        name=${twin%%:*} place=${twin##*:}
        if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then continue; fi
        start=$SECONDS
        weaken "$name"
        if ! build 2>/dev/null; then
            echo "twin $name: does not compile"; failed=1; continue
        fi
        built=$SECONDS
        if explore "$place" >/dev/null 2>&1; then
            echo "twin $name: NOT FOUND by $place"; failed=1
        else
            echo "twin $name: found by $place in $((SECONDS - built)) s (built in $((built - start)) s)"
        fi
    done
    return $failed
}
