"""Scores networks in float32 and in bfloat16 on the same images.

  python -m benchmarks.half_scores --weights pan-bam-x2 smfanet-x4 \
    --sets Set5 BSD100

Prints the mean PSNR-Y of both (dB, protocol `matlab`), their difference, and
that of the image that loses most.
"""

import argparse

from bamjax.data.test_sets import find_benchmark
from bamjax.evaluation import scoring
from bamjax.inference import Upscaler
from bamjax.networks import load_weights
from benchmarks import running


def main() -> None:
  """Scores and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--weights", nargs="+", required=True)
  parser.add_argument("--sets", nargs="+", required=True, help="folders")
  parser.add_argument(
    "--scale", type=int, help="for weights that serve several"
  )
  args = parser.parse_args()

  for name in args.weights:
    module, variables = load_weights(name, scale=args.scale)
    for folder in args.sets:
      images = find_benchmark(folder, module.scale).images
      single, half = (
        scoring.evaluate(
          Upscaler(module, variables, shared=True, dtype=dtype),
          images,
          module.scale,
        )["matlab"]
        for dtype in ("float32", "bfloat16")
      )
      least = min(
        b["psnr_y"] - a["psnr_y"]
        for a, b in zip(single["images"], half["images"], strict=True)
      )
      means = single["psnr_y"], half["psnr_y"]
      print(
        f"{name} on {folder}: {means[0]:.4f} → {means[1]:.4f} dB"
        f" ({means[1] - means[0]:+.4f}; {least:+.4f} at worst)",
        flush=True,
      )


if __name__ == "__main__":
  running.run(main)
