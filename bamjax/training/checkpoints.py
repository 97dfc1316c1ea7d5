"""Checkpoints of a run. Every call of Orbax stands here."""

import contextlib
import errno
import logging
import os
from pathlib import Path
import shutil

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from bamjax.errors import UserError
from bamjax.training import distributed
from bamjax.training.state import TrainState

# What ails a disk, not a program.
_STORAGE = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EROFS,
  errno.EACCES,
  errno.EIO,
  errno.ENOENT,
)

# With all that it implies, of each of which Orbax else warns.
_READ_ONLY = {
  "read_only": True,
  "create": False,
  "save_interval_steps": 0,
  "max_to_keep": None,
  "cleanup_tmp_directories": False,
}


class Checkpoints:
  """The last few checkpoints of a run, and the best by PSNR-Y.

  Saves are asynchronous and atomic: a checkpoint that was being written when
  the process died does not count. Of several processes, all take part in every
  call. The best is that of the averaged weights, where a run keeps an average.
  """

  def __init__(
    self, run_dir: str | Path, keep_last: int = 2, *, read_only: bool = False
  ):
    """Opens `run_dir`/checkpoints.

    Args:
      run_dir: the run's folder.
      keep_last: how many of the newest checkpoints stay.
      read_only: only read, which leaves the folder as it is: a training that
        goes on in it may be writing a checkpoint. It must be there; otherwise
        it is made.
    """
    self._directory = Path(run_dir).absolute() / "checkpoints"
    self._manager = ocp.CheckpointManager(
      self._directory,
      options=ocp.CheckpointManagerOptions(
        **_READ_ONLY if read_only else {"cleanup_tmp_directories": True},
        preservation_policy=policies.AnyPreservationPolicy(
          [
            policies.LatestN(keep_last),
            policies.BestN(
              n=1,
              get_metric_fn=_psnr,
              keep_checkpoints_without_metrics=False,
            ),
          ]
        ),
        # Metrics are written only where there is a best_fn.
        best_fn=_psnr,
      ),
    )

  def save(
    self,
    step: int,
    state: TrainState,
    metrics: dict[str, float] | None = None,
  ) -> None:
    """Starts to save the state, with validation's metrics where there are.

    Raises:
      UserError: this or an earlier one cannot be written.
    """
    with self._writing():
      self._manager.save(
        step, args=ocp.args.StandardSave(_tree(state)), metrics=metrics
      )

  def steps(self) -> list[int]:
    """Steps of all checkpoints, ascending."""
    return sorted(self._manager.all_steps())

  def latest(self) -> int | None:
    """Step of the newest checkpoint; None where there is none."""
    return self._manager.latest_step()

  def best(self) -> int | None:
    """Step of the checkpoint of highest PSNR-Y; the newest if none has one."""
    scored = [
      (_psnr(metrics), step)
      for step in self.steps()
      if (metrics := self._manager.metrics(step))
    ]
    return max(scored)[1] if scored else self.latest()

  def restore(self, state: TrainState) -> tuple[TrainState, int]:
    """Restores the newest checkpoint that can be read.

    Args:
      state: a fresh state of the same shapes.

    Returns:
      The restored state and its step; `state` and 0 where there is none. One
      that cannot be read is set aside, with a warning, for the one before it.

    Raises:
      UserError: there are checkpoints and none can be read.
    """
    steps = self.steps()[::-1]
    for step in steps:
      try:
        return self.restore_step(state, step), step
      except Exception as error:
        logging.warning(
          "checkpoint %d cannot be read (%s); trying the one before it",
          step,
          " ".join(str(error).split())[:120],
        )
        self._set_aside(step)
    if steps:
      raise UserError(
        f"no checkpoint in {self._directory} can be read; remove the folder to"
        " start anew, or give another --run_dir"
      )
    return state, 0

  def restore_step(self, state: TrainState, step: int) -> TrainState:
    """Restores the checkpoint of one step into a state of the same shapes."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _tree(state))
    tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
    # Only states whose losses were finite are saved.
    return state.replace(**tree, finite_steps=jnp.copy(tree["step"]))

  def wait(self) -> None:
    """Waits until the saves under way are on disk.

    Raises:
      UserError: one cannot be written.
    """
    with self._writing():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for the saves under way and lets the folder go.

    Raises:
      UserError: one cannot be written.
    """
    with self._writing():
      self._manager.close()

  @contextlib.contextmanager
  def _writing(self):
    """Tells a full disk and the like, which Orbax meets in many ways."""
    try:
      yield
    except Exception as error:
      # "… file "/run/…": Failed to write 9 bytes: No space left [source …".
      reason = " ".join(str(error).split()).partition(" [")[0]
      if not any(os.strerror(number) in reason for number in _STORAGE):
        raise
      steps = [
        int(p.name) for p in self._directory.iterdir() if p.name.isdigit()
      ]
      kept = f"that of step {max(steps)} is kept" if steps else "there is none"
      raise UserError(
        f"a checkpoint cannot be written to {self._directory}:"
        f" {reason.rpartition(': ')[2]}; {kept}. Free some space, then give the"
        " same command again"
      ) from error

  def _set_aside(self, step: int) -> None:
    def move():
      broken = self._directory.parent / "broken" / str(step)
      shutil.rmtree(broken, ignore_errors=True)
      broken.parent.mkdir(exist_ok=True)
      shutil.move(self._directory / str(step), broken)

    distributed.on_primary(move)
    self._manager.reload()


def _psnr(metrics) -> float:
  return metrics.get("ema_psnr_y", metrics["psnr_y"])


def _tree(state: TrainState) -> dict:
  names = ("step", "params", "opt_state", "loss_sum")
  if state.ema is not None:
    names += ("ema",)
  return {name: getattr(state, name) for name in names}
