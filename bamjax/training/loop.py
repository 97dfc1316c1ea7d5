"""The training loop."""

from collections.abc import Callable
import contextlib
import functools
import json
from pathlib import Path
from typing import Any
from typing import ParamSpec
from typing import TypeVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bamjax import complexity
from bamjax import forks
from bamjax.data import cache
from bamjax.data import crops
from bamjax.data.sources import ImagePair
from bamjax.data.sources import Source
from bamjax.errors import UserError
from bamjax.evaluation import results
from bamjax.evaluation import scoring
from bamjax.evaluation.protocols import MATLAB
from bamjax.files import to_json
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.layers import compile_for
from bamjax.models.registry import identify
from bamjax.networks import Network
from bamjax.runs import experiment
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.checkpoints import Checkpoints
from bamjax.runs.checkpoints import steps_on_disk
from bamjax.runs.recipe import Recipe
from bamjax.terminal import counted
from bamjax.training import agreement
from bamjax.training import distillation
from bamjax.training import distributed
from bamjax.training import feed
from bamjax.training import parallel
from bamjax.training import run_data
from bamjax.training import run_dir as run_dir_lib
from bamjax.training import warm_start
from bamjax.training import watch
from bamjax.training.meter import Progress
from bamjax.training.schedule import make_schedule
from bamjax.training.state import TrainState
from bamjax.training.state import with_params
from bamjax.training.validation import Validation

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Number of steps from which a longer compilation pays off.
_MANY = 1000


def _in_32_bits(function: Callable[_P, _T]) -> Callable[_P, _T]:
  """Decorates a function to ignore JAX_ENABLE_X64.

  With 64 bits, the same seed would give other numbers.
  """

  @functools.wraps(function)
  def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
    with jax.enable_x64(False):
      return function(*args, **kwargs)

  return call


@_in_32_bits
def train_and_evaluate(
  config: Recipe,
  run_dir: str | Path,
  *,
  same_images: bool = False,
) -> dict | None:
  """Trains a network, or resumes training it, and scores the best checkpoint.

  If the folder already holds the run, training resumes at its newest
  checkpoint; the result is bit-identical to an uninterrupted run. If one of
  several processes is lost, the others exit (see `watch`).

  Args:
    config: the run's configuration, with the fields of `runs.defaults`.
    run_dir: the run's folder, where config.json, data.json, checkpoints/,
      tensorboard/, metrics.jsonl and, at the end, summary.json are written.
    same_images: whether changed training images stop a resumed run, rather than
      cause a warning.

  Returns:
    The content of summary.json: a row of results (`bamjax.evaluation.results`)
    for the best checkpoint on the validation images, and the run's `steps`. If
    the run had already finished, its existing summary. None on all processes
    but the first.

  Raises:
    UserError: the configuration, the data or the folder is invalid, several
      processes have other ones, the validation images have changed, or the loss
      is no longer finite.
    SystemExit: a signal stopped the run after a checkpoint; the status is 128 +
      the signal's number.
  """
  forks.check()
  path = Path(run_dir)

  def resume() -> str:
    steps = steps_on_disk(path)
    return f"step {steps[-1]}" if steps else "the beginning"

  with watch.watched(resume):
    return _train_and_evaluate(config, path, same_images)


def _train_and_evaluate(
  config: Recipe, run_dir: Path, same_images: bool
) -> results.Row | None:
  config, teacher = distributed.together(lambda: distillation.find(config))
  agreement.check_config(run_dir, config)
  module, source, state = distributed.together(lambda: _prepared(config))
  state = state.replace(teacher=teacher)
  agreement.check_names(source, config)
  with run_dir_lib.opened(run_dir, config):
    checkpoints = Checkpoints(
      run_dir,
      config.keep_last,
      on_primary=distributed.on_primary,
      highest=distributed.highest,
    )
    with contextlib.closing(checkpoints):
      # From one process: another processor may draw the last bit otherwise.
      state = parallel.replicate(distributed.from_primary(state))
      tree, start = checkpoints.restore(state.to_tree())
      if start:
        state = state.from_tree(tree)
      if start == config.steps:
        finished, summary = _finished(run_dir, config)
        if finished:
          return summary
      elif not start:
        distributed.on_primary(lambda: run_dir_lib.check_new(run_dir, config))
      else:
        distributed.on_primary(lambda: run_dir_lib.check_resumable(run_dir))
        if distributed.is_primary():
          print(f"{run_dir}: resuming from step {start} of {config.steps}")
      if not start and config.init_from:
        fresh = parallel.local(state.params)
        taken = distributed.on_primary(
          lambda: warm_start.take_weights(fresh, module, config)
        )
        params = parallel.replicate(distributed.from_primary(taken or fresh))
        state = with_params(state, params, ema=state.ema is not None)
      validation = Validation(
        source.val,
        config.scale,
        config.data.max_val_images,
        degrader=experiment.make_degrader(config),
      )
      if start:
        distributed.on_primary(
          lambda: run_data.check_validation(run_dir, validation)
        )
      if start < config.steps:
        run = _Run(
          config, run_dir, module, source.train, validation, checkpoints
        )
        with compile_for("many_runs" if config.steps >= _MANY else "here"):
          state = run.train(state, start, same_images)
      checkpoints.wait()
      tree, best = checkpoints.restore_best(state.to_tree())
      params = parallel.local(state.from_tree(tree).averaged())

    def finish() -> results.Row:
      try:
        scores = _score(config, module, params, best, validation.all())
      except UserError as error:
        raise UserError(
          f"training is complete, but the best checkpoint (step {best} in"
          f" {run_dir}) cannot be scored: {error}"
        ) from error
      summary = {**scores, "steps": config.steps}
      write_atomically(
        run_dir / recipe_lib.SUMMARY, to_json(summary, indent=2) + "\n"
      )
      return summary

    return distributed.on_primary(finish)


def _prepared(
  config: Recipe,
) -> tuple[nn.Module, Source, TrainState]:
  """Returns a configuration's network, images and initial state."""
  parallel.check(config.parallel, config.batch_size, config.optim.accumulate)
  module = experiment.build_model(config)
  # What may raise a UserError comes before what takes a while.
  source = experiment.make_source(config)
  return module, source, run_dir_lib.init_state(config, module)


def _finished(run_dir: Path, config: Recipe) -> tuple[bool, results.Row | None]:
  """Reads the summary of a run that has done all its steps.

  It is not computed again: the validation images may have changed since.

  Returns:
    Whether there is a valid summary, on all processes; the summary, on process
    0.
  """

  def read() -> results.Row | None:
    # If it is damaged, or from an older version, it is written again.
    damaged = ValueError, LookupError, TypeError, RecursionError
    with contextlib.suppress(OSError, *damaged):
      text = (run_dir / recipe_lib.SUMMARY).read_text()
      summary = results.restored(json.loads(text))
      results.table(summary)  # needs what a summary has
      if summary["steps"] == config.steps:
        print(
          f"{run_dir} has finished its {config.steps} steps, with these scores."
          f" To score it on other images, run evaluate.py --run_dir={run_dir}"
          " --benchmarks=DIR; to start another run from it, use"
          f" --init_from={run_dir}"
        )
        return summary
    return None

  summary = distributed.on_primary(read)
  there = distributed.gather(np.array([summary is not None])).any()
  return bool(there), summary


def _score(
  config: Recipe,
  module: nn.Module,
  params: Any,
  step: int,
  images: list[ImagePair],
) -> results.Row:
  """The row of results of one checkpoint, without the run's path."""
  variables = {"params": params}
  found = scoring.evaluate(  # on LR that validation has degraded
    Upscaler(module, variables, shared=True), images, config.scale
  )
  degrader = experiment.make_degrader(config)
  network = Network(
    "", *identify(module), config.scale, module, variables, step
  )
  row = results.make_row(
    network,
    f"{config.data.source} validation",
    MATLAB,
    found[MATLAB.name],
    degradation=degrader and degrader.name,
  )
  del row["source"]
  return row


class _Run:
  """A run's training: everything except its state, which changes."""

  def __init__(
    self,
    config: Recipe,
    run_dir: Path,
    module: nn.Module,
    images: list[ImagePair],
    validation: Validation,
    checkpoints: Checkpoints,
  ):
    self._config = config
    self._run_dir = run_dir
    self._module = module
    self._checkpoints = checkpoints
    self._schedule = make_schedule(config.optim, config.steps)
    self._store = distributed.together(lambda: self._decode(images))
    agreement.check_crops(self._store, config)
    self._validation = validation
    self._logs: run_dir_lib.Logs | None = None  # on process 0 only

  def _decode(self, images: list[ImagePair]) -> crops.CropStore:
    data = self._config.data
    decode = functools.partial(
      cache.decode,
      cache_dir=data.cache_dir or None,
      spill_dir=self._run_dir / "cache",
    )
    decoded = decode(images)
    store = crops.CropStore(decoded, data.patch)
    if data.lr_only:
      store.add_smaller(decode)
    return store

  def train(
    self, state: TrainState, start: int, same_images: bool
  ) -> TrainState:
    """Trains from step `start` to the last step."""
    config = self._config
    if distributed.is_primary():
      run_data.note(
        self._run_dir,
        self._store,
        self._validation,
        resumed=start > 0,
        same_images=same_images,
      )
      print(self._described(state), flush=True)
      self._logs = run_dir_lib.Logs(self._run_dir, start)
    advance, most = feed.make_advance(config, self._store, start)
    progress = Progress(start, config.steps, not distributed.is_primary())
    signals = distributed.Signals()
    with (
      contextlib.closing(self._logs)
      if self._logs
      else contextlib.nullcontext(),
      contextlib.closing(progress),
      signals.caught(),
    ):
      step = start
      while step < config.steps:
        count = feed.next_stop(step, config, most) - step
        state = advance(state, count)
        step += count
        progress.advance(count)
        stop = signals.stop(step)
        state = self._look_after(state, step, stop, progress)
        if stop:
          self._checkpoints.wait()
          progress.tell(step, "stopped; run the same command again to resume")
          raise SystemExit(128 + stop)
    return state

  def _described(self, state: TrainState) -> str:
    """Describes the devices, the network and the images in one line."""
    config, decoded = self._config, self._store.decoded
    names = self._validation.names
    kept = config.data.source != "folder" or config.data.val_dir
    count = complexity.parameters(self._module, {"params": state.params})
    device = jax.devices()[0].device_kind
    return (
      f"{device} ×{jax.device_count()}: {' '.join(identify(self._module))}"
      f" ×{config.scale}, {count:,} parameters; trains on"
      f" {counted(len(decoded.names), 'image')}"
      f" ({counted(len(self._store.places), 'crop')}),"
      f" validates on {len(names)}{'' if kept else ' held out'}:"
      f" {run_data.abbreviate(names)}"
    )

  def _look_after(
    self,
    state: TrainState,
    step: int,
    stop: int | None,
    progress: Progress,
  ) -> TrainState:
    """Logs, validates and saves if it is time to."""
    config = self._config
    last = step == config.steps
    logging_step = step % config.log_every == 0 or last
    evaluating = step % config.eval_every == 0 or last
    saving = bool(step % config.checkpoint_every == 0 or evaluating or stop)
    if logging_step or saving:
      self._check_finite(state, step, saving)
      self._check_folder(step)
    if logging_step:
      count = step % config.log_every or config.log_every
      loss = float(state.loss_sum) / count
      rate = float(self._schedule(step - 1))
      if self._logs:
        self._logs.write(step, loss=loss, learning_rate=rate)
      state = state.replace(loss_sum=jnp.zeros_like(state.loss_sum))
      progress.tell(step, f"loss {loss:.5f}", rate=True)
    metrics = None
    if evaluating:
      metrics = self._validate(state, step)
      best = "ema_" if state.ema is not None else ""
      progress.tell(
        step, f"PSNR-Y {metrics[f'{best}psnr_y']:.3f} dB on validation"
      )
    if saving:
      if self._logs:
        self._logs.sync()
      try:
        tree = parallel.shared(state).to_tree()
        self._checkpoints.save(step, tree, metrics)
      except UserError:
        self._check_folder(step)  # explains why a file is missing
        raise
    return state

  def _check_finite(self, state: TrainState, step: int, saving: bool) -> None:
    good = int(state.finite_steps)
    if saving and good == step:
      # No loss has been computed from the last update's weights yet.
      params = jax.tree.leaves(parallel.local(state.params))
      good -= not all(np.isfinite(x).all() for x in params)
    if good < step:
      latest = self._checkpoints.latest()
      kept = "none" if latest is None else f"step {latest}"
      raise UserError(
        f"the loss or a weight is not finite at step {good + 1}, learning rate"
        f" {float(self._schedule(good)):g} (last good checkpoint: {kept}); try"
        " a lower --config.optim.learning_rate, or --config.optim.clip_norm, in"
        " another --run_dir"
      )

  def _check_folder(self, step: int) -> None:
    for path, what in (
      (self._run_dir / recipe_lib.CONFIG, "folder was"),
      (self._run_dir / recipe_lib.CHECKPOINTS, "checkpoints were"),
    ):
      if not path.exists():
        raise UserError(
          f"{self._run_dir}: the run's {what} removed during training, at step"
          f" {step}; start again in another --run_dir"
        )

  def _validate(self, state: TrainState, step: int) -> dict[str, float]:
    """Returns mean PSNR-Y and SSIM-Y of the weights and of their average."""
    metrics = {}
    for prefix, params in (("", state.params), ("ema_", state.ema)):
      if params is None:
        continue
      upscale = Upscaler(
        self._module, {"params": parallel.local(params)}, shared=True
      )
      rows = [
        MATLAB.score(upscale(lr), hr, self._config.scale)
        for _, lr, hr in self._validation.share
      ]
      for key in ("psnr_y", "ssim_y"):
        metrics[prefix + key] = self._validation.mean(key, rows)
    if self._logs:
      self._logs.write(step, **metrics)
      if self._validation.share:
        name, lr, _ = self._validation.share[0]
        self._logs.show(step, f"validation/{name}", upscale(lr))
    return metrics
