#!/usr/bin/env bash
# Everything that only a GPU can show, from a bare checkout, in under eight minutes:
#
#     benchmarks/gpu.sh FOLDER
#
# Needs torch, Triton, pytest, pandas, cogapp and hypothesis (PYTHON=... chooses the interpreter), and no network.
# FOLDER gets a log per step and gpu.csv with the measurements, which belongs into benchmarks/results.
# A step that fails does not stop the others; the summary comes last, and the exit code says whether all succeeded.
# FASTNORM_COMMIT=... names the commit in a copy without git's history. No setting of the card is touched.
set -uo pipefail

out=${1:?usage: benchmarks/gpu.sh FOLDER}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd) || exit 2
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

python=${PYTHON:-python3}
export PYTHONPATH="$PWD:$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
unset TRITON_INTERPRET # compiled kernels are what is to be tested

deadline=470 # seconds for all steps
summary=()
failed=0

# step NAME SECONDS COMMAND...: runs it for at most so long and not past the deadline, its output in FOLDER/NAME.log
step() {
    local name=$1 limit=$2 start=$SECONDS code verdict
    shift 2
    if [ $((deadline - start)) -lt 5 ]; then
        failed=1
        skip "$name" "no time left"
        return
    fi
    if [ "$limit" -gt $((deadline - start)) ]; then limit=$((deadline - start)); fi
    printf '\n== %s\n' "$name"
    timeout --kill-after=2 "$limit" "$@" >"$out/$name.log" 2>&1
    code=$?
    tail -n 12 "$out/$name.log"
    case $code in
        0) verdict=ok ;;
        124 | 137) verdict="STOPPED after $limit s" ;;
        *) verdict="FAILED ($code)" ;;
    esac
    [ "$code" -eq 0 ] || failed=1
    summary+=("$(printf '%-22s %4s s  %s' "$name" $((SECONDS - start)) "$verdict")")
}

skip() {
    summary+=("$(printf '%-22s         not run: %s' "$1" "$2")")
}

# shellcheck disable=SC2329 # called by step, in a shell of its own
environment() {
    nvidia-smi -q -d MEMORY,CLOCK,POWER,TEMPERATURE,ECC || nvidia-smi -q
    "$python" - <<'PY'
import importlib.metadata as metadata, platform, torch
print("python", platform.python_version(), "torch", torch.__version__, "CUDA", torch.version.cuda)
print(torch.cuda.get_device_properties(0))
for name in ("triton", "torchvision", "transformers", "timm", "kornia", "opencv-python-headless", "pillow",
             "nvidia-dali-cuda120", "nvidia-dali-cuda130", "cvcuda-cu12", "cvcuda-cu13", "pandas"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "not installed")
PY
}

find_sanitizer() {
    local candidate
    for candidate in "$(command -v compute-sanitizer)" /usr/local/cuda*/bin/compute-sanitizer \
        "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/nvidia/cuda_sanitizer_api/bin/compute-sanitizer; do
        if [ -x "$candidate" ]; then
            echo "$candidate"
            return
        fi
    done
}

export python
export -f environment

step environment 30 bash -c environment
step check 60 "$python" -m fastnorm check
step demo 60 "$python" -m fastnorm demo --output "$out/demo.png"

parallel=()
if "$python" -c 'import xdist' 2>/dev/null; then parallel=(-n 4 --dist loadfile); fi
step tests 180 "$python" -m pytest tests -q -p no:cacheprovider "${parallel[@]}"
step benchmarks 200 "$python" -m pytest benchmarks/test_cells.py -k cuda -q -s -p no:cacheprovider --rows "$out"
step host-time 45 "$python" -m pytest benchmarks/test_cells.py -k test_host_time -q -s -p no:cacheprovider --rows "$out"

# Compiles what the sanitizer then watches, and shows that the case itself is sound.
step sanitizer-case 45 "$python" tests/sanitizer_case.py
sanitizer=$(find_sanitizer)
if [ -n "$sanitizer" ]; then
    export PYTORCH_NO_CUDA_MEMORY_CACHING=1
    step memcheck 45 "$sanitizer" --tool memcheck --error-exitcode 1 "$python" tests/sanitizer_case.py
    step racecheck 45 "$sanitizer" --tool racecheck --error-exitcode 1 "$python" tests/sanitizer_case.py
    unset PYTORCH_NO_CUDA_MEMORY_CACHING
else
    skip memcheck "compute-sanitizer is not installed"
    skip racecheck "compute-sanitizer is not installed"
fi

printf '\n== summary: %s s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
ls -l "$out"
exit "$failed"
