"""The writing side of a run's folder: its lock, configuration and logs."""

from collections.abc import Iterator
import contextlib
import json
import logging
import math
import operator
import os
from pathlib import Path

from flax import linen as nn
import numpy as np
import tensorboardX

from bamjax import files
from bamjax.errors import UserError
from bamjax.files import to_json
from bamjax.files import write_atomically
from bamjax.runs import checkpoints as checkpoints_lib
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe
from bamjax.training import distributed
from bamjax.training.schedule import make_schedule
from bamjax.training.state import create_state
from bamjax.training.state import TrainState

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(path: Path, config: Recipe) -> Iterator[None]:
  """Locks a run's folder while the context is open; creates it if needed.

  Process 0 holds the lock; the other processes learn whether it succeeded.

  Args:
    path: the run's folder.
    config: the run's configuration, which is saved there if none is.

  Raises:
    UserError: another process trains in the folder, it cannot be written,
      checkpoints cannot be stored there, or it holds a run with a different
      configuration (which stays as it is).
  """
  checkpoints_lib.check_path(path)
  with contextlib.ExitStack() as stack:
    distributed.on_primary(lambda: stack.enter_context(_locked(path, config)))
    yield


@contextlib.contextmanager
def _locked(path: Path, config: Recipe) -> Iterator[None]:
  try:
    path.mkdir(parents=True, exist_ok=True)
    lock = files.open_lock(path / ".lock")
  except OSError as error:
    raise UserError(
      f"cannot write to the run folder {path}: {error.strerror}; use another"
      " --run_dir"
    ) from None
  with lock:
    try:
      free = files.lock(lock, wait=False)
    except OSError as error:
      _logger.warning(
        "cannot lock %s (%s): make sure that no other process trains in it",
        path,
        error.strerror,
      )
      free = True
    if not free:
      raise UserError(
        f"another process is training in {path}; wait until it ends, or use"
        " another --run_dir"
      )
    _check_config(path, config)
    yield


def _check_config(path: Path, config: Recipe) -> None:
  """Checks that a folder belongs to this run; saves a new run's config.json."""
  file = path / recipe_lib.CONFIG
  if file.exists() and _has_begun(path):
    changes = recipe_lib.differences(recipe_lib.load(file), config)
    if not changes:
      return
    message = (
      f"{path} holds another run ({'; '.join(changes)}); use another --run_dir,"
      " or repeat the command that started the run"
    )
    if any(line.startswith("steps:") for line in changes):
      message += (
        ". To train its network longer, use another --run_dir with"
        f" --init_from={path}"
      )
    raise UserError(message)
  if checkpoints_lib.steps_on_disk(path):
    raise UserError(
      f"{path} has checkpoints but no {file.name}; restore it from a backup, or"
      " use another --run_dir"
    )
  recipe_lib.save(config, file)


def _has_begun(path: Path) -> bool:
  """Whether a run got as far as its data; a mistake may end it earlier."""
  names = (
    recipe_lib.DATA,
    recipe_lib.METRICS,
    recipe_lib.SUMMARY,
    recipe_lib.BROKEN,
  )
  begun = any((path / name).exists() for name in names)
  return begun or bool(checkpoints_lib.steps_on_disk(path))


def check_new(path: Path, config: Recipe) -> None:
  """Checks that a run without checkpoints can start at step 0.

  Raises:
    UserError: it has had a checkpoint, and starting again would discard it.
  """
  seen = max(_rows(path / recipe_lib.METRICS), default=0)
  # Saving a checkpoint starts only after the previous one is on disk.
  every = config.checkpoint_every, config.eval_every
  second = sorted({m * n for m in (1, 2) for n in every})[1]
  broken = (path / recipe_lib.BROKEN).is_dir()
  if seen > second or broken or (path / recipe_lib.SUMMARY).exists():
    raise UserError(
      f"{path} has been trained{f' to step {seen}' if seen else ''}, but its"
      f" checkpoints are missing; restore {recipe_lib.CHECKPOINTS}/ from a"
      f" backup{f' or from {recipe_lib.BROKEN}/' if broken else ''}, or start"
      " again in another --run_dir"
    )
  if seen:
    print(f"{path}: interrupted before its first checkpoint; starting again")
  # The existing one may have been written by an older version.
  recipe_lib.save(config, path / recipe_lib.CONFIG)


def check_resumable(path: Path) -> None:
  """Checks that a run can resume bit-identically.

  Raises:
    UserError: another version of bamjax, with another order of samples, started
      the run.
  """
  if recipe_lib.version(path / recipe_lib.CONFIG) != recipe_lib.VERSION:
    raise UserError(
      f"{path} was started by a version of bamjax that draws samples in another"
      " order: finish it with that version, or start a new run from its weights"
      f" with --init_from={path} and another --run_dir"
    )


def init_state(config: Recipe, module: nn.Module) -> TrainState:
  """Initializes the state of a run at step 0.

  Args:
    config: the run's configuration.
    module: its network.

  Raises:
    UserError: the network's hyper-parameters do not fit together.
  """
  return create_state(
    module,
    make_schedule(config.optim, config.steps),
    config.seed,
    config.data.patch,
    clip_norm=config.optim.clip_norm,
    ema=config.optim.ema_decay > 0,
  )


class Logs:
  """A run's metrics.jsonl, and its scalars and images for TensorBoard.

  Rows hold computed values and no times of day, so the file of a resumed run
  equals that of an uninterrupted one.
  """

  def __init__(self, path: Path, step: int):
    """Opens the logs of a run and removes rows of later steps.

    Args:
      path: the run's folder.
      step: the step that the run resumes from.
    """
    self._path = path / recipe_lib.METRICS
    rows = _rows(self._path)
    kept = [line for at in sorted(rows) if at <= step for line in rows[at]]
    write_atomically(self._path, "".join(f"{line}\n" for line in kept))
    board = path / "tensorboard"
    if board.exists() and not board.is_dir():
      raise UserError(f"{board} is not a folder; move it elsewhere")
    self._board = tensorboardX.SummaryWriter(str(board), purge_step=step + 1)

  def write(self, step: int, **scalars: float) -> None:
    """Writes a row; a value that is not finite becomes null."""
    with self._path.open("a") as file:
      file.write(to_json({"step": step, **scalars}) + "\n")
    for name, value in scalars.items():
      if math.isfinite(value):
        self._board.add_scalar(name, value, step)

  def sync(self) -> None:
    """Waits until all rows are on the disk.

    Before a checkpoint is saved: resuming at it keeps the rows up to its step.
    """
    with self._path.open("a") as file:
      os.fsync(file.fileno())

  def show(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes an image, H×W×3 uint8, for TensorBoard."""
    self._board.add_image(name, image, step, dataformats="HWC")

  def close(self) -> None:
    """Flushes TensorBoard's file; ignores a full disk."""
    # An error here would hide the one that is ending the run.
    with contextlib.suppress(OSError):
      self._board.close()


def _rows(path: Path) -> dict[int, list[str]]:
  """Returns the lines of metrics.jsonl by step, without invalid ones.

  If the process was killed, the last line may be incomplete; other invalid
  lines cause a warning.
  """
  try:
    lines = path.read_text(errors="replace").splitlines()
  except FileNotFoundError:
    lines = []
  rows: dict[int, list[str]] = {}
  invalid = []
  for number, line in enumerate(lines, 1):
    try:
      step = json.loads(line)["step"]
      rows.setdefault(operator.index(step), []).append(line)
    except (ValueError, TypeError, KeyError, RecursionError):
      invalid.append(number)
  if invalid and invalid != [len(lines)]:
    _logger.warning("%s: skipped invalid lines: %s", path, invalid[:10])
  return rows
