"""What tests look at in the folders of runs of other processes."""

import jax
import numpy as np

from bamjax.runs import folder


def final_params(run_dir, step):
  """Every bit of a run's last checkpoint."""
  _, _, variables, _ = folder.load(run_dir, step)
  return variables


def same(a, b):
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


def being_written(run_dir):
  return list((run_dir / "checkpoints").glob("*tmp*"))
