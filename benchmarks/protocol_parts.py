"""What each difference between the protocols `matlab` and `bam` is worth.

  python -m benchmarks.protocol_parts --weights imdn_x2.safetensors Set5
  python -m benchmarks.protocol_parts --weights carn.pth --scale 3 Set5

Scores one network under `matlab`, under `matlab` with one of its steps replaced
by that of `bam`, and under `bam`.
"""

import argparse
import dataclasses
import json
from pathlib import Path

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

MATLAB, BAM = protocols.find(["matlab", "bam"])


def _pillow_lr(hr, lr, scale):
  """HR cropped as in `matlab`, LR by Pillow as in `bam`."""
  return BAM.degradation.pair(resize.mod_crop(hr, scale), lr, scale)


def _resized_hr(hr, lr, scale):
  """HR resized as in `bam`, LR by MATLAB's imresize as in `matlab`."""
  _, hr = BAM.degradation.pair(hr, lr, scale)
  return resize.downscale(hr, scale), hr


def _changed(name, pair=None, **fields):
  """`matlab` with some of its steps replaced."""
  if pair:
    degradation = dataclasses.replace(MATLAB.degradation, name=name, pair=pair)
    fields["degradation"] = degradation
  return dataclasses.replace(MATLAB, name=name, **fields)


VARIANTS = (
  MATLAB,
  _changed("matlab, HR resized", pair=_resized_hr),
  _changed("matlab, LR by Pillow", pair=_pillow_lr),
  _changed("matlab, SR not rounded", rounded=False),
  _changed("matlab, Y of the BAM code", planes="bam"),
  BAM,
)


def main():
  """Measures, prints a table and, with --output, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("benchmark", help="folder of a benchmark")
  parser.add_argument("--weights", required=True, help="file or run's folder")
  parser.add_argument("--scale", type=int, help="where the weights don't tell")
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
