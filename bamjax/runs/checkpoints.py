"""Checkpoints of a run. All calls to Orbax are in this file."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import errno
import json
import logging
import math
import os
from pathlib import Path
import re
import shutil
from typing import Any
from typing import NoReturn
from typing import TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import readable
from bamjax.files import sync_tree
from bamjax.runs import recipe as recipe_lib

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# Named trees of arrays; for restoring, `jax.ShapeDtypeStruct` will do.
Tree = Mapping[str, Any]

# errno values of storage problems.
_STORAGE = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EROFS,
  errno.EACCES,
  errno.EIO,
  errno.ENOENT,
)

# Orbax logs a warning for each option that read_only implies and that is not
# set explicitly.
_READ_ONLY = {
  "read_only": True,
  "create": False,
  "save_interval_steps": 0,
  "max_to_keep": None,
  "cleanup_tmp_directories": False,
}

# How TensorStore's messages start if data is missing or corrupted. Other
# errors, such as exhausted memory, say nothing about the checkpoint.
_DAMAGE = ("DATA_LOSS", "NOT_FOUND", "OUT_OF_RANGE")
# Orbax's messages for a tree with other names or other shapes.
_OTHER_TREE = ("tree structures do not match", "Requested shape")


class DamagedError(UserError):
  """A checkpoint's files are missing or corrupted."""


def check_path(run_dir: str | Path) -> None:
  """Checks that Orbax can read checkpoints below a folder.

  Orbax finds the parts of a checkpoint by a glob pattern that includes the
  path, and accepts only UTF-8.

  Raises:
    UserError: the path contains one of `[*?\\` or is not valid UTF-8, or a file
      is where the checkpoints belong.
  """
  path = Path(run_dir).absolute().as_posix()
  special = sorted(set(path) & set("[*?\\"))
  if special:
    raise UserError(
      f"checkpoints cannot be stored below {path}: its name contains"
      f" {' '.join(special)}; use another --run_dir"
    )
  if readable(path) != path:
    raise UserError(
      f"checkpoints cannot be stored below {path}: its name is not valid UTF-8;"
      " use another --run_dir"
    )
  inside = Path(run_dir) / recipe_lib.CHECKPOINTS
  if inside.exists() and not inside.is_dir():
    raise UserError(f"{inside} is not a folder; move it elsewhere")


def steps_on_disk(run_dir: str | Path) -> list[int]:
  """Returns the steps of a run's complete checkpoints, ascending."""
  path = Path(run_dir) / recipe_lib.CHECKPOINTS
  names = os.listdir(path) if path.is_dir() else []
  return sorted(int(name) for name in names if name.isdigit())


class _Damaged(policies.PreservationPolicy):
  """Keeps checkpoints whose scores are damaged: one of them may be the best.

  Attributes:
    steps: their steps.
  """

  def __init__(self) -> None:
    self.steps: set[int] = set()

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Says of each checkpoint whether it is kept."""
    del context
    return [checkpoint.step in self.steps for checkpoint in checkpoints]


class _Manager(ocp.CheckpointManager):
  """Orbax's, but damaged scores do not cost the checkpoints.

  Orbax reads the scores of all checkpoints when it opens their folder, and
  those of one with its description. Both go through this method of its own.
  """

  def __init__(self, *args: Any, damaged: _Damaged, **options: Any):
    self._damaged = damaged
    super().__init__(*args, **options)

  def _get_metrics(self, step: int) -> Any:
    """Returns a checkpoint's metrics, None if there are none or damaged."""
    try:
      found = super()._get_metrics(step)
      if found is None and not self._has_lost_scores(step):
        return None
      if not math.isnan(_psnr(found)):
        return found
    except (AttributeError, KeyError, TypeError, ValueError):
      pass
    self._damaged.steps.add(step)
    warn_once(
      f"the scores of checkpoint {step} in {self.directory} are damaged: it"
      " counts as not validated, and is not removed"
    )
    return None

  def _has_lost_scores(self, step: int) -> bool:
    """Whether a whole checkpoint lacks the scores that it was written with."""
    path = Path(self.directory) / str(step)
    # Another process may be removing it.
    if self._options.read_only or _is_incomplete(path):
      return False
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
      found = json.loads((path / "_CHECKPOINT_METADATA").read_text())
      if "metrics" in found["item_handlers"]:
        return True
    return (path / "metrics").exists()


class Checkpoints:
  """The newest checkpoints of a run, and the best one by PSNR-Y.

  A checkpoint holds named trees of arrays. Saving is asynchronous and atomic: a
  checkpoint that was being written when the process died is ignored. If several
  processes train together, all of them make the same calls. If a run averages
  its weights, the best checkpoint is the one with the best average.
  """

  def __init__(
    self,
    run_dir: str | Path,
    keep_last: int = 2,
    *,
    read_only: bool = False,
    on_primary: Callable[[Callable[[], None]], object] = lambda call: call(),
    highest: Callable[[int], int] = lambda value: value,
  ):
    """Opens `run_dir`/checkpoints.

    Args:
      run_dir: the run's folder.
      keep_last: number of newest checkpoints to keep.
      read_only: leaves the folder unchanged, which must exist. Another process
        may be training in it. Restoring then reads only the trees asked for,
        which must be nested dicts.
      on_primary: runs a function on process 0 only, while the others wait.
      highest: returns the highest of the values that all processes pass.
    """
    self._directory = Path(run_dir).absolute() / recipe_lib.CHECKPOINTS
    self._read_only = read_only
    self._on_primary = on_primary
    self._highest = highest
    self._synced: int | None = None  # the newest step that is on the disk
    damaged = _Damaged()
    self._manager = _listed(
      _Manager,
      self._directory,
      options=ocp.CheckpointManagerOptions(
        **_READ_ONLY if read_only else _kept(keep_last, damaged)
      ),
      damaged=damaged,
    )

  def save(
    self, step: int, tree: Tree, metrics: dict[str, float] | None = None
  ) -> None:
    """Starts saving a checkpoint.

    Args:
      step: the training step.
      tree: the arrays to save.
      metrics: `psnr_y` (dB), and `ema_psnr_y` if the run averages its weights;
        None if this step was not validated.

    Raises:
      UserError: this checkpoint or an earlier one cannot be written.
    """
    with self._writing():
      self._sync()
      self._manager.save(
        step, args=ocp.args.StandardSave(dict(tree)), metrics=metrics
      )

  def steps(self) -> list[int]:
    """Returns the steps of all checkpoints, ascending."""
    return sorted(self._manager.all_steps())

  def latest(self) -> int | None:
    """Returns the step of the newest checkpoint, None if there is none."""
    return self._manager.latest_step()

  def best(self) -> int | None:
    """Returns the step of the best checkpoint, None if there is none.

    It is the one with the highest PSNR-Y, or the newest if none was validated.
    """
    return next(iter(self._by_score()), None)

  def restore(self, like: Tree) -> tuple[Tree, int]:
    """Restores the newest intact checkpoint.

    Damaged newer ones are moved to `run_dir`/broken, with a warning each.

    Args:
      like: arrays or `jax.ShapeDtypeStruct`s with the checkpoint's structure,
        shapes and dtypes, and the sharding to restore to.

    Returns:
      The restored arrays and their step; `like` and 0 if there is no
      checkpoint.

    Raises:
      UserError: all checkpoints are damaged, or one cannot be read for another
        reason. All of them then stay in place.
    """
    if not self.steps():
      return like, 0
    tree, restored = self._restore_first(like, lambda: self.steps()[::-1])
    for step in self.steps():
      if step > restored:
        self._set_aside(step)
    return tree, restored

  def restore_best(self, like: Tree) -> tuple[Tree, int]:
    """Restores the best checkpoint by PSNR-Y and leaves the folder unchanged.

    If it is damaged, the next best one is used, with a warning; checkpoints
    without a PSNR-Y come last, the newest first.

    Args:
      like: see `restore`.

    Returns:
      The restored arrays and their step.

    Raises:
      UserError: there is no checkpoint, all are damaged, or one cannot be read
        for another reason.
    """
    return self._restore_first(like, self._by_score)

  def restore_step(self, like: Tree, step: int) -> Tree:
    """Restores the checkpoint of a given step.

    Args:
      like: see `restore`.
      step: the checkpoint's step.

    Raises:
      DamagedError: its files are missing or corrupted.
      UserError: it cannot be read for another reason.
    """
    error, tree = None, like
    try:
      tree = self._read(like, step)
    except Exception as caught:
      error = caught
    kind = 0 if error is None else 1 if self._damaged(step, error) else 2
    # Processes that train together must all resume from the same step.
    kind = self._highest(kind)
    if kind:
      self._refuse(step, error, kind == 1)
    return tree

  def wait(self) -> None:
    """Waits until all checkpoints are on disk.

    Raises:
      UserError: one of them cannot be written.
    """
    with self._writing():
      self._sync()

  def close(self) -> None:
    """Waits until all checkpoints are on disk and releases the folder.

    Raises:
      UserError: one of them cannot be written.
    """
    with self._writing():
      self._sync()
      self._manager.close()

  def _sync(self) -> None:
    """Waits until the newest checkpoint is on the disk, its metadata too.

    Orbax does that for arrays only. Saving the next one removes an older one,
    which might be the last intact one if the power fails.
    """
    self._manager.wait_until_finished()
    newest = self._manager.latest_step()
    if newest not in (None, self._synced) and not self._read_only:
      sync_tree(self._directory / str(newest))
      self._synced = newest

  def _read(self, like: Tree, step: int) -> Tree:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, dict(like))
    if not self._read_only:
      restore = ocp.args.StandardRestore(abstract)
      return self._manager.restore(step, args=restore)
    tree = self._manager.restore(
      step,
      args=ocp.args.PyTreeRestore(
        abstract,
        restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
        partial_restore=True,
      ),
    )
    # A partial restore returns arrays that are not stored as it was given
    # them, and ignores stored ones that were not asked for.
    stored = self._manager.item_metadata(step).tree
    if any(
      _names(abstract[key]) != _names(stored.get(key)) for key in abstract
    ):
      raise ValueError(_OTHER_TREE[0])
    return tree

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Turns storage problems, which Orbax raises in many ways, to UserError."""
    try:
      yield
    except Exception as error:
      # "… file "/run/…": Failed to write 9 bytes: No space left [source …".
      reason = " ".join(str(error).split()).partition(" [")[0]
      if not any(os.strerror(number) in reason for number in _STORAGE):
        raise
      steps = steps_on_disk(self._directory.parent)
      last = f"the last one is of step {max(steps)}" if steps else "none exists"
      raise UserError(
        f"cannot write a checkpoint to {self._directory}:"
        f" {reason.rpartition(': ')[2]}; {last}. Free some space, then run the"
        " same command again"
      ) from error

  def _by_score(self) -> list[int]:
    """Steps, best PSNR-Y first, then those without one, newest first."""
    scores = {step: self._score(step) for step in self.steps()}
    return sorted(scores, key=lambda step: (scores[step], step), reverse=True)

  def _score(self, step: int) -> float:
    try:
      metrics = self._manager.metrics(step)
    except OSError:
      metrics = None
    return _psnr(metrics) if metrics else -math.inf  # not validated

  def _restore_first(
    self, like: Tree, order: Callable[[], list[int]]
  ) -> tuple[Tree, int]:
    """Restores the first intact checkpoint of the steps that `order` lists."""
    while True:
      steps = order()
      for step in steps:
        try:
          tree = self.restore_step(like, step)
        except DamagedError as error:
          if _absent(self._directory / str(step)):
            break  # the training process has removed it since
          _logger.warning("%s", error)
        else:
          if step != steps[0]:
            _logger.warning("using the checkpoint of step %d instead", step)
          return tree, step
      else:
        raise UserError(
          f"no checkpoint in {self._directory} can be read (steps {steps});"
          " restore them from a backup, or start again in another --run_dir"
        )
      _listed(self._manager.reload)

  def _damaged(self, step: int, error: Exception) -> bool:
    """Whether an error shows that the checkpoint itself is damaged."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
      return True
    if isinstance(error, ValueError) and str(error).startswith(_DAMAGE):
      return True
    return _is_incomplete(self._directory / str(step))

  def _refuse(
    self, step: int, error: Exception | None, damaged: bool
  ) -> NoReturn:
    where = f"checkpoint {step} in {self._directory}"
    if error is None:
      reason = "another process cannot restore it"
    else:
      reason = _reason(error)
    if any(text in reason for text in _OTHER_TREE):
      reason = "its network or optimizer is not that of config.json"
    if damaged:
      raise DamagedError(f"{where} is damaged ({reason})") from error
    raise UserError(
      f"{where} cannot be restored: {reason}. Nothing was changed; fix this and"
      " run the same command again to resume"
    ) from error

  def _set_aside(self, step: int) -> None:
    """Moves a damaged checkpoint to `run_dir`/broken."""

    def move() -> None:
      broken = self._directory.parent / recipe_lib.BROKEN / str(step)
      try:
        shutil.rmtree(broken, ignore_errors=True)
        broken.parent.mkdir(exist_ok=True)
        shutil.move(self._directory / str(step), broken)
      except OSError as error:
        raise UserError(
          f"{self._directory / str(step)} is damaged and cannot be moved to"
          f" {broken}: {error.strerror or error}"
        ) from None

    self._on_primary(move)
    _listed(self._manager.reload)


def _is_incomplete(path: Path) -> bool:
  """Whether a checkpoint lacks files without which it cannot be read."""
  item = path / "default"
  return any(map(_absent, (item / "_METADATA", item / "manifest.ocdbt")))


def _kept(last: int, damaged: _Damaged) -> dict[str, Any]:
  """Orbax's options for a folder that is written to.

  Args:
    last: number of newest checkpoints to keep, besides the best.
    damaged: keeps more.
  """
  best = policies.BestN(
    n=1, get_metric_fn=_psnr, keep_checkpoints_without_metrics=False
  )
  return {
    "cleanup_tmp_directories": True,
    "preservation_policy": policies.AnyPreservationPolicy(
      [policies.LatestN(last), best, damaged]
    ),
    # Orbax writes metrics only if there is a best_fn.
    "best_fn": _psnr,
  }


def _names(tree: Any) -> set[str]:
  """The paths of a tree's arrays."""
  return {
    jax.tree_util.keystr(path)
    for path, _ in jax.tree_util.tree_leaves_with_path(tree)
  }


def _reason(error: Exception) -> str:
  """An error as one line; of TensorStore's long ones, the first and last part.

  "PERMISSION_DENIED: Error reading "a/0": file "/r/d/1": Permission denied
  [source …" becomes "PERMISSION_DENIED: Permission denied".
  """
  text = " ".join(str(error).split()) or type(error).__name__
  text = re.split(r" \[(?:source|os_error|tensorstore)", text)[0]
  if re.match(r"[A-Z_]+: .*: ", text):
    first, *_, last = text.split(": ")
    text = f"{first}: {last}"
  return text[:200]


def _listed(call: Callable[..., _T], *args: Any, **options: Any) -> _T:
  """Calls a function that lists checkpoints, and retries if one vanishes.

  A training process removes old checkpoints at any time.

  Raises:
    OSError: a file is still missing after 20 retries.
  """
  # Orbax warns of every folder that it opens in order to read.
  logger = logging.getLogger("absl")
  logger.addFilter(_is_news)
  try:
    for _ in range(20):
      with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return call(*args, **options)
    return call(*args, **options)
  finally:
    logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
  return not str(record.msg).startswith("Given directory is read only")


def _absent(path: Path) -> bool:
  """Whether a file is missing; one that cannot be accessed is not."""
  try:
    path.stat()
  except (FileNotFoundError, NotADirectoryError):
    return True
  except OSError:
    pass
  return False


def _psnr(metrics: dict[str, float]) -> float:
  return float(metrics.get("ema_psnr_y", metrics["psnr_y"]))
