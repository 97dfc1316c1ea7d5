#!/usr/bin/env bash
# Measures one part of the speed figures on one NVIDIA GPU, in at most nine
# minutes:
#
#   pip install -U "jax[cuda13]" torch && pip install --no-deps super-image
#   bash benchmarks/gpu.sh PART [OUTPUT] [FLAG…]
#
# PART: check      graphs against the CPU, and twice with one cache of programs
#       inference  frames against PyTorch's CUDA graphs, in TF32
#       precision  frames in float32 and bf16, attention layers alone
#       figure6    the paper's figure 6, e.g. with --models=drln --scales=2,3
#       train      training steps against PyTorch, in TF32, and in bf16
#       train-big  the same of RCAN, EDSR (43M); the longest kernels of steps
#
# OUTPUT (default: results/gpu) gets a JSON file for each measurement. FLAGs are
# added to each `benchmark`. What a time limit cuts short keeps what it has
# measured. TRY=1 runs the same commands small, on a CPU as well.
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:?which part? see the top of benchmarks/gpu.sh}
out=${2:-results/gpu}
flags=("${@:3}")
mkdir -p "$out"
end=$((SECONDS + 530))
# By default, XLA reserves three quarters of the memory; PyTorch needs some.
export XLA_PYTHON_CLIENT_PREALLOCATE=false

within() { # seconds, command; failures do not stop the others
  local left=$((end - SECONDS))
  local limit=$(($1 < left ? $1 : left))
  echo "== [$SECONDS s] ${*:2}"
  if ((limit <= 0)); then
    echo "== no time left for it"
  else
    timeout "$limit" "${@:2}" || echo "== ended early, status $?"
  fi
}

bench() { # name of the JSON file, limit in seconds, flags
  within "$2" python benchmark.py "--output=$out/$1.json" \
    "${@:3}" ${flags[@]+"${flags[@]}"}
}

kernels() { # name of the JSON file, flags
  within 90 python -m benchmarks.kernels "--output=$out/$1.json" "${@:2}"
}

sizes() { # the sizes of a part; a small one for a trial
  echo "--sizes=$([ "${TRY:-}" ] && echo 12 || echo "$1")"
}

frames() {
  echo "--frames=$([ "${TRY:-}" ] && echo 2 || echo "$1")"
}

four=(--models=imdn,edsr_baseline,pan,carn --scales=2)
graph=captured
step=graphed
small=()
if [ "${TRY:-}" ]; then
  graph=eager step=eager small=(--batch_size=1)
fi
frame_rival=(--rival=super-image "--rival_forms=$graph channels-last")
# PyTorch records compiled steps only, and would take minutes for RCAN's.
step_rival=(--rival=super-image "--rival_forms=$step channels-last")
eager_rival=(--rival=super-image "--rival_forms=eager channels-last")
train=(--train --scales=2 "$(sizes 64)" "$(frames 60)" --rounds=3 "${small[@]}")

case $part in
check)
  cache=$(mktemp -d)
  within 120 python -m pytest -q -n 0 tests/gpu_test.py -k graphs
  for turn in first second; do
    JAX_COMPILATION_CACHE_DIR=$cache bench "cache-$turn" 120 "${four[@]}" \
      "$(sizes 60)" "$(frames 20)"
  done
  bench pan 120 --models=pan --scales=2,3,4 "$(sizes 60,120,240)" \
    "$(frames 100)"
  rm -r "$cache"
  ;;
inference)
  bench inference 520 "${four[@]}" "$(sizes 60,120,240)" "$(frames 100)" \
    "${frame_rival[@]}"
  ;;
precision)
  part=(--models=imdn,drln --scales=2 "$(sizes 60,240)" "$(frames 100)")
  JAX_DEFAULT_MATMUL_PRECISION=highest bench float32 200 "${part[@]}"
  bench bfloat16 200 "${part[@]}" --dtype=bfloat16
  within 90 python -m benchmarks.attention_speed | tee "$out/attention.txt"
  ;;
figure6)
  # Two networks, three scales and ten sizes: the default on a GPU.
  bench figure6 520 "$(frames 100)" ${TRY:+--sizes=12}
  ;;
train)
  nets=--models=imdn,edsr_baseline,pan
  bench train-bfloat16 160 "$nets" "${train[@]}" --dtype=bfloat16
  bench train-tf32 360 "$nets" "${train[@]}" "${step_rival[@]}"
  ;;
train-big)
  bench edsr-bfloat16 90 --models=edsr --attn=native "${train[@]}" \
    --dtype=bfloat16
  bench edsr-tf32 90 --models=edsr --attn=native "${train[@]}"
  for model in imdn drln; do
    for dtype in float32 bfloat16; do
      kernels "kernels-$model-$dtype" --train --model=$model --dtype=$dtype \
        ${TRY:+--size=12 --batch_size=1 --frames=2}
    done
  done
  # 400 convolutions: minutes to compile.
  bench rcan-tf32 520 --models=rcan "${train[@]}" "${eager_rival[@]}"
  ;;
*)
  echo "no part '$part'; see the top of benchmarks/gpu.sh" >&2
  exit 2
  ;;
esac
