"""The library leaves the settings of a process, which are its program's."""

import os
from pathlib import Path
import subprocess
import sys

_USE = """
import logging, signal, sys, threading, warnings
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import PngImagePlugin
import jax, scipy.special, tifffile  # they add filters of their own


def state():
  return {
    "largest image": Image.MAX_IMAGE_PIXELS,
    "largest text": PngImagePlugin.MAX_TEXT_CHUNK,
    "levels": {
      name: logging.getLogger(name).level
      for name in ("", "absl", "bamjax", "tifffile", "PIL")
    },
    "handlers": list(logging.getLogger().handlers),
    "warnings": list(warnings.filters),
    "signals": {n: signal.getsignal(n) for n in signal.valid_signals()},
    "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
  }


before = state()


def check():
  after = state()
  changed = {n: (before[n], after[n]) for n in after if after[n] != before[n]}
  assert not changed, changed


import bamjax
from bamjax.data import cache, sources
from bamjax.files import replacing
from bamjax.images import image_file
from bamjax.upscaling import batch, chosen

folder = Path(sys.argv[1])
color = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
deep = color.astype(np.uint16) * 257
names = ("a.png", "b.jpg", "c.webp", "d.tif")
for name in names:
  image_file.write(folder / name, image_file.ImageData(color))
image_file.write(folder / "deep.tif", image_file.ImageData(deep))
image_file.write(folder / "deep.png", image_file.ImageData(deep))
source = sources.make_source("folder", 2, data_dir=str(folder))
assert not cache.decode(source.train, cache_dir=folder / "cache").left_out

upscaler = lambda image, progress: image.repeat(2, 0).repeat(2, 1)
jobs = [(folder / name, folder / "out" / name) for name in names]
assert not batch.upscale_files(jobs, chosen.always(upscaler), 2)
with replacing(folder / "text") as temporary:
  check()
check()
"""


def test_using_the_library_leaves_them(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", _USE, tmp_path],
    cwd=Path(__file__).parents[1],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
