"""Measures the effect of each difference between protocols matlab and bam.

  python -m benchmarks.protocol_parts --weights imdn_x2.safetensors Set5
  python -m benchmarks.protocol_parts --weights carn.pth --scale 3 Set5

Scores one network with `matlab`, with `matlab` after replacing one of its steps
by that of `bam`, and with `bam`.
"""

import argparse
from collections.abc import Callable
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from bamjax.data.test_sets import find_benchmark
from bamjax.evaluation import protocols
from bamjax.evaluation import scoring
from bamjax.evaluation.tables import pair
from bamjax.evaluation.tables import Table
from bamjax.files import refuse_overwriting
from bamjax.files import write_atomically
from bamjax.images import resize
from bamjax.inference import Upscaler
from bamjax.networks import load_network
from bamjax.weights import Hints
from benchmarks import running

Pair = protocols.Pair
MakePair = Callable[[np.ndarray, np.ndarray | None, int], Pair]

MATLAB, BAM = protocols.find(["matlab", "bam"])


def _pillow_lr(hr: np.ndarray, lr: np.ndarray | None, scale: int) -> Pair:
  """HR cropped as in `matlab`, LR made by Pillow as in `bam`."""
  return BAM.degradation.pair(resize.mod_crop(hr, scale), lr, scale)


def _resized_hr(hr: np.ndarray, lr: np.ndarray | None, scale: int) -> Pair:
  """HR resized as in `bam`, LR made by MATLAB's imresize as in `matlab`."""
  _, hr = BAM.degradation.pair(hr, lr, scale)
  return resize.downscale(hr, scale), hr


def _changed(
  name: str, make_pair: MakePair | None = None, **fields: Any
) -> protocols.Protocol:
  """`matlab` with some of its steps replaced."""
  if make_pair:
    fields["degradation"] = dataclasses.replace(
      MATLAB.degradation, name=name, pair=make_pair
    )
  return dataclasses.replace(MATLAB, name=name, **fields)


VARIANTS = (
  MATLAB,
  _changed("matlab, HR resized", make_pair=_resized_hr),
  _changed("matlab, LR by Pillow", make_pair=_pillow_lr),
  _changed("matlab, SR not rounded", rounded=False),
  _changed("matlab, Y of the BAM code", planes="bam"),
  BAM,
)


def main() -> None:
  """Prints a table and, with --output, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("benchmark", help="folder of a benchmark")
  parser.add_argument(
    "--weights", required=True, help="file or folder of a run"
  )
  parser.add_argument(
    "--scale", type=int, help="if it can't be inferred from the weights"
  )
  parser.add_argument("--output", help="JSON file to write")
  args = parser.parse_args()
  if args.output:
    refuse_overwriting(args.output, [args.weights, args.benchmark])
  network = load_network(args.weights, Hints(scale=args.scale))
  benchmark = find_benchmark(args.benchmark, network.scale)
  found = scoring.evaluate(
    Upscaler(network.module, network.variables),
    benchmark.images,
    network.scale,
    VARIANTS,
  )
  first = found["matlab"]["psnr_y"]
  rows = [
    [
      name,
      pair(scores["psnr_y"], scores["ssim_y"]),
      f"{scores['psnr_y'] - first:+.3f} dB",
    ]
    for name, scores in found.items()
  ]
  title = f"{network.title} on {benchmark.name}"
  print(Table(title, ["protocol", "PSNR/SSIM", "change"], rows).text())
  if args.output:
    report = {"weights": args.weights, "scale": network.scale, "scores": found}
    write_atomically(Path(args.output), json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
  running.run(main)
