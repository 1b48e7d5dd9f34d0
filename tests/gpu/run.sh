#!/usr/bin/env bash
# What a GPU has to show, in order of worth; each stage has its own time limit and writes lines of JSON at once:
#     OUT=outputs/gpu bash tests/gpu/run.sh [FOLDER WITH WHEELS]
# On a CPU, with tiny shapes: MOT_TRL_GPU_TESTS=cpu OUT=... bash tests/gpu/run.sh
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
export OUT=${OUT:?a folder for the results} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$OUT"
failed=0
python=${PYTHON:-python3}

stage() { # name, seconds, command
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    timeout "$limit" "$@" >"$OUT/$name.log" 2>&1 || status=$?
    echo "{\"stage\": \"$name\", \"status\": $status, \"seconds\": $((SECONDS - start))}" | tee -a "$OUT/results.jsonl"
    [ "$status" -eq 0 ] || { failed=1; tail -n 20 "$OUT/$name.log"; }
}

if [ $# -gt 0 ]; then
    site=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$1"/*.whl || exit
    export PYTHONPATH=$PYTHONPATH:$site
fi
stage faithfulness 120 "$python" "$here/faithfulness.py"
stage step_profile 120 "$python" "$here/step_profile.py"
exit $failed
