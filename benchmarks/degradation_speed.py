"""What degrading a batch costs beside a step of training.

  python -m benchmarks.degradation_speed
  python -m benchmarks.degradation_speed --rounds 12 --output speed.json

Times a step of PAN-BAM ×2 (batch 8, patches of 40×40), each mixture and each
part of `photo` on a batch of the same size, in turns within one process, and
prints medians and their share of the step.
"""

import argparse
import functools
import json
from pathlib import Path
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import optax
from skimage import data as sample_data

from bamjax.benchmarking import timing
from bamjax.commands import process
from bamjax.data.degradation import blur
from bamjax.data.degradation import jpeg
from bamjax.data.degradation import mixtures
from bamjax.data.degradation import noise
from bamjax.data.degradation import photo
from bamjax.data.degradation import rescaling
from bamjax.data.degradation.degrade import degrade
from bamjax.data.degradation.degrade import sample_keys
from bamjax.evaluation.tables import Table
from bamjax.files import write_atomically
from bamjax.models import create_model
from bamjax.training.state import create_state
from bamjax.training.step import train_step
from benchmarks import running

_SCALE, _PATCH, _BATCH = 2, 40, 8


def batch():
  """Patches of a photograph: LR and HR, uint8."""
  scene, side = sample_data.astronaut(), _SCALE * _PATCH
  hr = np.stack(
    [scene[side // 2 * i :][:side, 100 : 100 + side] for i in range(_BATCH)]
  )
  return hr[:, ::_SCALE, ::_SCALE], hr


def parts(hr, keys):
  """Each part of `photo` on images of HR's size, as functions to time."""
  image = hr.transpose(0, 3, 1, 2).astype(jnp.float32) / 255
  stage = mixtures.Photo().first
  draw = jax.jit(jax.vmap(lambda u: photo.draw_stage(u, stage)))
  u = jax.random.uniform(keys[0], (_BATCH, photo.STAGE_NUMBERS))
  drawn = draw(u)
  shape = hr.shape[1:3]
  normal = functools.partial(noise.standard_noise, shape=image.shape[1:])
  normals = jax.jit(jax.vmap(normal))(keys)
  most = photo.largest_shape(shape, stage)

  def resize(image, method, factor):
    target = tuple(rescaling.scaled_size(side, factor) for side in shape)
    return rescaling.rescale(image, most, method, target_size=target)

  found = {
    "draws": (draw, u),
    "blur, any": (jax.vmap(blur.blur), image, drawn.kernel),
    "blur, isotropic": (jax.vmap(blur.gaussian_blur), image, drawn.factor),
    "resizing": (jax.vmap(resize), image, drawn.method, drawn.factor),
    "normal values": (jax.vmap(normal), keys),
    "Poisson noise": (
      jax.vmap(noise.poisson_noise),
      image,
      normals,
      drawn.scale,
      drawn.gray,
    ),
  }
  for subsampling in jpeg.SUBSAMPLINGS:
    found[f"JPEG {subsampling}"] = (
      jax.vmap(functools.partial(jpeg.jpeg, subsampling=subsampling)),
      image,
      drawn.quality,
    )
  return found


def main():
  """Measures, prints a table and, with --output, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=6)
  parser.add_argument("--output", help="JSON file to write")
  args = parser.parse_args()
  # As in training.
  process.use_huge_pages()
  process.keep_memory()
  lr, hr = map(jnp.asarray, batch())
  keys = sample_keys(0, 0, _BATCH)
  module = create_model("pan", "bam", _SCALE)
  state = create_state(module, optax.constant_schedule(1e-4), 0, _PATCH)
  found = {
    "training step": (train_step, state, {"lr": lr, "hr": hr}),
    **{
      f"mixture {name}": (
        functools.partial(degrade, mixture=mixtures.named(name)),
        lr,
        hr,
        keys,
      )
      for name in mixtures.MIXTURES
    },
    **parts(hr, keys),
  }
  runs = {}
  for name, (function, *inputs) in found.items():
    compiled = jax.jit(function).lower(*inputs).compile()
    runs[name] = lambda _, c=compiled, i=inputs: jax.block_until_ready(c(*i))
  rounds = timing.take_turns(runs, frames=5 * args.rounds, rounds=args.rounds)
  medians = {
    name: statistics.median(sum(times, [])) for name, times in rounds.items()
  }
  step = medians["training step"]
  rows = [
    [name, f"{1000 * seconds:.2f}", f"{100 * seconds / step:.1f} %"]
    for name, seconds in medians.items()
  ]
  title = f"Batch {_BATCH}, LR {_PATCH}×{_PATCH}, ×{_SCALE}"
  print(Table(title, ["", "ms", "of a step"], rows).text())
  if args.output:
    report = {"seconds": medians, "device": jax.devices()[0].device_kind}
    write_atomically(Path(args.output), json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
  running.run(main)
