"""Studies for tests: tiny recipes, and cells as trainings leave them."""

import dataclasses
import json

import numpy as np
from PIL import Image

from bamjax.ablation import cell_states
from bamjax.ablation.cells import make_cells
from bamjax.ablation.cells import Study
from bamjax.evaluation import result_files
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import changed
from bamjax.runs.recipe import Recipe

TINY = {"blocks": 1, "features": 8, "up_features": 8}


def benchmark(folder, count=4, side=32):
  """A folder of smooth HR images."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for i in range(count):
    small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((side, side), Image.BICUBIC)
    image.save(folder / f"image{i}.png")
  return folder


def make(tmp_path, **fields):
  """A study of one tiny backbone with two attentions and two seeds."""
  images = tmp_path / "Set5"
  if not images.exists():
    benchmark(images)
  recipe = Recipe()
  recipe = changed(
    recipe,
    {
      "steps": 4,
      "batch_size": 2,
      "checkpoint_every": 2,
      "log_every": 2,
      "eval_every": 4,
      "data": {
        "source": "folder",
        "data_dir": str(images),
        "val_dir": str(images),
        "patch": 8,
      },
    },
  )
  given = {
    "recipe": recipe,
    "models": ["pan"],
    "attns": ["native", "bam"],
    "seeds": [0, 1],
    "benchmarks": [str(images)],
    "folder": tmp_path / "study",
    "options": {"pan": TINY},
  }
  return Study(**(given | fields))


def vary(study, changes):
  """The study with other values of some fields of its recipe."""
  return dataclasses.replace(study, recipe=changed(study.recipe, changes))


def finish(study, cell, shift=0.0, content="same"):
  """Leaves a cell's folder as a finished training does; `shift` is in dB."""
  recipe_lib.save(cell.config, cell.folder / "config.json")
  rng = np.random.default_rng(cell.config.seed)
  images = [
    {
      "name": f"image{i}",
      "psnr_y": 30.0 + i + shift + 0.01 * rng.standard_normal(),
      "ssim_y": 0.9 + shift / 100,
      "bicubic_psnr_y": 29.0 + i,
      "bicubic_ssim_y": 0.85,
    }
    for i in range(4)
  ]
  means = {
    key: float(np.mean([image[key] for image in images]))
    for key in images[0]
    if key != "name"
  }
  (test,) = study.tests
  row = {
    "model": cell.config.model,
    "attn": cell.config.attn,
    "scale": 2,
    "step": study.recipe.steps,
    "self_ensemble": False,
    "source": cell.name,
    "path": cell.name,
    **test.basis,
    **means,
    "paper": {},
    "images": images,
    "left_out": [],
  }
  result_files.write(cell.folder, [row])
  for name, value in (
    ("data.json", {"content": content, "validation": {"sha256": "0"}}),
    ("summary.json", {"steps": cell.config.steps}),
    (cell_states.NOTES, {"device": "cpu", "train_seconds": 8.0}),
  ):
    (cell.folder / name).write_text(json.dumps(value))


def finish_all(study, gain=0.5):
  """Finishes all cells; the attentions but the control gain some dB."""
  cells = make_cells(study)
  for cell in cells:
    finish(study, cell, 0.0 if cell.config.attn == study.control else gain)
  return cells
