"""Trains the tiny state on all devices in every way, and saves the results.

As a script: devices.py PATH COORDINATOR NUM_PROCESSES PROCESS_ID
"""

import sys

import jax
import numpy as np

from bamjax.data.degradation.mixtures import Noise
from bamjax.data.sampling import Extras
from bamjax.training import parallel
from bamjax.training.degraded import on_degraded
from bamjax.training.distillation import on_taught
from bamjax.training.state import Teacher
from bamjax.training.step import train_step
from training import tiny

# With noise and a teacher's outputs, which each sample must have on whatever
# device; some samples have no HR.
step = on_degraded(train_step, Noise(), seed=3, batch_size=8)
step = on_taught(step, 0.5)


def train(kind, mode):
  """Returns the losses and the final parameters of a few steps."""
  teacher = Teacher(tiny.state(seed=1).params, tiny.module().apply)
  state = parallel.replicate(tiny.state().replace(teacher=teacher))
  losses = []
  if mode == "resident":
    advance = parallel.parallelize_resident(
      *(step, tiny.resident(), kind),
      seed=3,
      batch_size=8,
      patch=tiny.PATCH,
      extras=Extras(lr_only=0.5, permute_rgb=True),
    )
    batches = [1, 1, 1, 2]
  else:
    advance = parallel.parallelize(step, kind)
    rows = 8 // jax.process_count()
    share = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    batches = [
      {
        **{k: v[share] for k, v in batch.items()},
        "lr_only": (np.arange(8) % 3 == 0)[share],
      }
      for batch in tiny.batches(5)
    ]
  for batch in batches:
    before = float(state.loss_sum)
    state = advance(state, batch)
    losses.append(float(state.loss_sum) - before)
  params = tiny.leaves(parallel.local(state.params))
  return losses, np.concatenate([x.ravel() for x in params])


def train_every_way():
  """Returns results by name, e.g. "host pmap losses", and the device count."""
  found = {"devices": jax.device_count()}
  for mode in ("host", "resident"):
    # One device, or processes with resident data, run the same for each kind.
    one = jax.device_count() == 1
    one |= jax.process_count() > 1 and mode == "resident"
    for kind in ("pmap",) if one else parallel.KINDS:
      losses, params = train(kind, mode)
      found |= {
        f"{mode} {kind} losses": losses,
        f"{mode} {kind} params": params,
      }
  return found


if __name__ == "__main__":
  path, coordinator, count, index = sys.argv[1:]
  if count != "1":
    jax.distributed.initialize(
      coordinator, num_processes=int(count), process_id=int(index)
    )
  results = train_every_way()
  if jax.process_index() == 0:
    np.savez(path, **results)
