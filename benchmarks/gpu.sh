#!/usr/bin/env bash
# Measures all speed figures on one NVIDIA GPU in less than 20 minutes:
#
#   pip install -U "jax[cuda13]" torch && pip install --no-deps super-image
#   bash benchmarks/gpu.sh results/h100
#
# The paper's figure 6 (four of its ten sizes) in float32 with TF32, JAX's
# default; parts of it without TF32 and in bf16; PyTorch for comparison; training
# steps; attention layers. Shares of the peak refer to the peak at the precision
# of each file. Most of the time is spent on compilation.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/gpu}
mkdir -p "$out"
# By default, XLA reserves three quarters of the memory; PyTorch needs some.
export XLA_PYTHON_CLIENT_PREALLOCATE=false

bench() { # name, time limit in seconds, flags; failures do not stop the others
  local name=$1 limit=$2
  shift 2
  echo "== $name"
  timeout "$limit" python benchmark.py --output="$out/$name.json" "$@" ||
    echo "== $name ended early; $out/$name.json has what was measured"
}

part=(--sizes=60,240 --scales=2 --frames=100)
nets=(--models=imdn,pan,edsr_baseline,carn --scales=2 --sizes=120)
steps=(--train --models=imdn,edsr_baseline)
forms="captured channels-last,graphed channels-last"
rival=(--rival=super-image "--rival_forms=$forms")

bench figure6-tf32 330 --sizes=60,120,180,240 --frames=100
JAX_DEFAULT_MATMUL_PRECISION=highest bench float32 120 "${part[@]}"
bench bfloat16 90 "${part[@]}" --dtype=bfloat16
bench rival-tf32 200 "${nets[@]}" "${rival[@]}" --frames=100
bench train-rival-tf32 260 "${steps[@]}" "${rival[@]}"
bench train-bfloat16 90 "${steps[@]}" --dtype=bfloat16
timeout 90 python -m benchmarks.attention_speed | tee "$out/attention.txt"
