"""Checkpoints of a run. Every call of Orbax stands here."""

from collections.abc import Callable
import contextlib
import errno
import json
import logging
import os
from pathlib import Path
import re
import shutil
from typing import Any
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from bamjax.errors import UserError
from bamjax.files import readable
from bamjax.training import distributed
from bamjax.training.state import TrainState

_T = TypeVar("_T")

# What ails a disk, not a program.
_STORAGE = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EROFS,
  errno.EACCES,
  errno.EIO,
  errno.ENOENT,
)

# Below a run's folder: damaged checkpoints, out of the way.
BROKEN = "broken"

# With all that it implies, of each of which Orbax else warns.
_READ_ONLY = {
  "read_only": True,
  "create": False,
  "save_interval_steps": 0,
  "max_to_keep": None,
  "cleanup_tmp_directories": False,
}


# How TensorStore's messages begin where data is absent or not what was written.
# A full memory or a server that does not answer says nothing of a checkpoint.
_DAMAGE = ("DATA_LOSS", "NOT_FOUND", "OUT_OF_RANGE")
# What Orbax says of a state of other names, or of other shapes.
_OTHER_STATE = ("tree structures do not match", "Requested shape")


class DamagedError(UserError):
  """A checkpoint is not what was written."""


def check_path(run_dir: str | Path) -> None:
  """Raises UserError for a folder below which Orbax can't read what it writes.

  It looks for the parts of a checkpoint by a pattern that the path is part of,
  and takes UTF-8 alone.
  """
  path = Path(run_dir).absolute().as_posix()
  found = sorted(set(path) & set("[*?\\"))
  if found:
    raise UserError(
      f"checkpoints cannot be kept below {path}, for the {' '.join(found)} in"
      " its name; give another --run_dir"
    )
  if readable(path) != path:
    raise UserError(
      f"checkpoints cannot be kept below {path}, whose name is no UTF-8; give"
      " another --run_dir"
    )


def steps_on_disk(run_dir: str | Path) -> list[int]:
  """Steps of a run's whole checkpoints, ascending, read from the disk."""
  folder = Path(run_dir) / "checkpoints"
  names = os.listdir(folder) if folder.is_dir() else []
  return sorted(int(name) for name in names if name.isdigit())


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
    self._manager = _listed(
      ocp.CheckpointManager,
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
    return next(iter(self._by_score()), None)

  def restore(self, state: TrainState) -> tuple[TrainState, int]:
    """Restores the newest checkpoint that is not damaged.

    Args:
      state: a fresh state of the same shapes.

    Returns:
      The restored state and its step; `state` and 0 where there is none.
      Damaged ones that are newer are set aside, with a warning each.

    Raises:
      UserError: there are checkpoints and all are damaged, or one can't be read
        for another reason. All then stay where they are.
    """
    if not self.steps():
      return state, 0
    state, found = self._restore_first(state, lambda: self.steps()[::-1])
    for step in self.steps():
      if step > found:
        self._set_aside(step)
    return state, found

  def restore_best(self, state: TrainState) -> tuple[TrainState, int]:
    """Restores the best checkpoint by PSNR-Y, and changes nothing on disk.

    Returns:
      The restored state and its step. In place of a damaged one, with a
      warning, the best of the others, then the newest.

    Raises:
      UserError: there is none, all are damaged, or one can't be read.
    """
    return self._restore_first(state, self._by_score)

  def restore_step(self, state: TrainState, step: int) -> TrainState:
    """Restores the checkpoint of one step into a state of the same shapes.

    Raises:
      DamagedError: it is provably not what was written.
      UserError: it can't be read for another reason.
    """
    error = None
    try:
      abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _tree(state))
      tree = self._manager.restore(
        step, args=ocp.args.StandardRestore(abstract)
      )
    except Exception as caught:
      error = caught
    kind = 0 if error is None else 1 if self._damaged(step, error) else 2
    # Processes that train together go on from the same step.
    kind = int(distributed.gather(np.array([kind])).max())
    if kind:
      self._refuse(step, error, kind == 1)
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
      steps = steps_on_disk(self._directory.parent)
      kept = f"that of step {max(steps)} is kept" if steps else "there is none"
      raise UserError(
        f"a checkpoint cannot be written to {self._directory}:"
        f" {reason.rpartition(': ')[2]}; {kept}. Free some space, then give the"
        " same command again"
      ) from error

  def _by_score(self) -> list[int]:
    """All steps: those with a PSNR-Y, best first, then the others, newest."""
    scores = {step: self._score(step) for step in self.steps()}
    return sorted(scores, key=lambda step: (scores[step], step), reverse=True)

  def _score(self, step: int) -> float:
    try:
      return float(_psnr(self._manager.metrics(step)))
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
      return -np.inf  # saved without a validation, or its file is damaged

  def _restore_first(
    self, state: TrainState, order: Callable[[], list[int]]
  ) -> tuple[TrainState, int]:
    """Restores the first that is not damaged, of the steps in some order."""
    while True:
      steps = order()
      for step in steps:
        try:
          state = self.restore_step(state, step)
        except DamagedError as error:
          if _absent(self._directory / str(step)):
            break  # a training has removed it since
          logging.warning("%s", error)
        else:
          if step != steps[0]:
            logging.warning("the checkpoint of step %d is taken instead", step)
          return state, step
      else:
        raise UserError(
          f"no checkpoint in {self._directory} can be read (of steps"
          f" {steps}); restore them from a copy, or give another --run_dir to"
          " start anew"
        )
      _listed(self._manager.reload)

  def _damaged(self, step: int, error: Exception) -> bool:
    """Whether it is a checkpoint's own fault that it cannot be restored."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
      return True
    if isinstance(error, ValueError) and str(error).startswith(_DAMAGE):
      return True
    item = self._directory / str(step) / "default"
    return any(map(_absent, (item / "_METADATA", item / "manifest.ocdbt")))

  def _refuse(self, step: int, error: Exception | None, damaged: bool):
    where = f"checkpoint {step} in {self._directory}"
    reason = _reason(error)
    if error is None:
      reason = "another process cannot"
    elif any(text in reason for text in _OTHER_STATE):
      reason = "it is of another network or optimizer than config.json's"
    if damaged:
      raise DamagedError(f"{where} cannot be read ({reason})") from error
    raise UserError(
      f"{where} cannot be restored: {reason}. Nothing was changed; the same"
      " command resumes once that is fixed"
    ) from error

  def _set_aside(self, step: int) -> None:
    def move():
      broken = self._directory.parent / BROKEN / str(step)
      try:
        shutil.rmtree(broken, ignore_errors=True)
        broken.parent.mkdir(exist_ok=True)
        shutil.move(self._directory / str(step), broken)
      except OSError as error:
        raise UserError(
          f"{self._directory / str(step)} is damaged, and cannot be moved to"
          f" {broken}: {error.strerror or error}"
        ) from None

    distributed.on_primary(move)
    _listed(self._manager.reload)


def _reason(error: Exception | None) -> str:
  """What an error says, in a line: of TensorStore's, the first and the last."""
  text = " ".join(str(error).split()) or type(error).__name__
  text = re.split(r" \[(?:source|os_error|tensorstore)", text)[0]
  if re.match(r"[A-Z_]+: .*: ", text):
    first, *_, last = text.split(": ")
    text = f"{first}: {last}"
  return text[:200]


def _listed(call: Callable[..., _T], *args: Any, **options: Any) -> _T:
  """Calls what lists checkpoints; again where a training removes one just then.

  Raises:
    OSError: a file is absent for another reason.
  """
  for _ in range(20):
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
      return call(*args, **options)
  return call(*args, **options)


def _absent(path: Path) -> bool:
  """Whether there is no such file; one that may not be looked at is there."""
  try:
    path.stat()
  except (FileNotFoundError, NotADirectoryError):
    return True
  except OSError:
    pass
  return False


def _psnr(metrics) -> float:
  return metrics.get("ema_psnr_y", metrics["psnr_y"])


def _tree(state: TrainState) -> dict:
  names = ("step", "params", "opt_state", "loss_sum")
  if state.ema is not None:
    names += ("ema",)
  return {name: getattr(state, name) for name in names}
