#!/usr/bin/env bash
# All speed figures of one NVIDIA GPU (meant for an H100), about 20 minutes:
#
#   pip install -U "jax[cuda13]" torch && pip install --no-deps super-image
#   bash benchmarks/gpu.sh results/h100
#
# Figure 6 of the paper in float32 with TF32, as JAX has it by default; parts of
# it without TF32 and in bf16; PyTorch beside; training steps; attention layers.
# Every file holds shares of the peak that its own precision reaches. Written,
# but not yet run on a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/gpu}
mkdir -p "$out"
# XLA would take three quarters of the memory, and PyTorch needs some.
export XLA_PYTHON_CLIENT_PREALLOCATE=false

bench() { # name, seconds at most, flags: a part that fails leaves the others
  local name=$1 limit=$2
  shift 2
  echo "== $name"
  timeout "$limit" python benchmark.py --output="$out/$name.json" "$@" ||
    echo "== $name ended early; $out/$name.json holds what it measured"
}

part=(--sizes=60,120,240 --scales=2,4 --frames=200)
nets=(--models=imdn,pan,edsr_baseline,carn --scales=2 --sizes=60,120,200)
rival=(--rival=super-image "--rival_forms=eager channels-last,compiled NCHW,compiled channels-last")

bench figure6-tf32 420 --frames=200
JAX_DEFAULT_MATMUL_PRECISION=highest bench float32 90 "${part[@]}"
bench bfloat16 90 "${part[@]}" --dtype=bfloat16
bench rival-tf32 180 "${nets[@]}" "${rival[@]}" --frames=100
bench rival-bfloat16 120 "${nets[@]}" "${rival[@]}" --frames=100 --dtype=bfloat16
bench train-rival-tf32 150 --train --models=imdn,edsr_baseline "${rival[@]}"
bench train-bfloat16 60 --train --models=imdn,edsr_baseline --dtype=bfloat16
timeout 60 python -m benchmarks.attention_speed | tee "$out/attention.txt"
