"""The training loop."""

import contextlib
import json
import math
from pathlib import Path
import signal
import sys

import jax
import jax.numpy as jnp
import ml_collections
from tqdm import tqdm

from bamjax import config as config_lib
from bamjax import evaluation
from bamjax.data import crops
from bamjax.data import pipeline
from bamjax.errors import UserError
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.models.registry import identify
from bamjax.networks import Network
from bamjax.protocols import MATLAB
from bamjax.report import results
from bamjax.training import parallel
from bamjax.training import run_dir as run_dir_lib
from bamjax.training.checkpoints import Checkpoints
from bamjax.training.schedule import make_schedule
from bamjax.training.state import create_state
from bamjax.training.state import TrainState
from bamjax.training.step import train_step


def train_and_evaluate(
  config: ml_collections.ConfigDict, run_dir: str | Path
) -> dict:
  """Trains, or goes on training, and scores the best checkpoint.

  Args:
    config: as configs/default.py returns it.
    run_dir: the run's folder. It gets config.json, checkpoints/, tensorboard/,
      metrics.jsonl and, at the end, summary.json.

  Returns:
    What summary.json holds: a row of results (`bamjax.report.results`) of the
    best checkpoint on the validation pictures, with the run's `steps`.

  Raises:
    UserError: the configuration, the data or the folder is at fault, or the
      loss stopped being finite.
    SystemExit: a signal ended the run, after a checkpoint: 128 + its number.
  """
  run_dir = Path(run_dir)
  config_lib.check(config)
  parallel.check_batch(config.batch_size)
  module = config_lib.build_model(config)
  schedule = make_schedule(config.optim, config.steps)
  source = config_lib.make_source(config)
  with run_dir_lib.opened(run_dir, config):
    checkpoints = Checkpoints(run_dir, config.keep_last)
    state = create_state(module, schedule, config.seed, config.data.patch)
    with contextlib.closing(checkpoints):
      state, start = checkpoints.restore(state)
      if start:
        print(f"{run_dir}: goes on from step {start} of {config.steps}")
      if start < config.steps:
        logs = run_dir_lib.Logs(run_dir, start)
        with contextlib.closing(logs):
          state = _train(
            config, module, source, schedule, state, start, checkpoints, logs
          )
      checkpoints.wait()
      best = checkpoints.best()
      state = checkpoints.restore_step(state, best)
    summary = {
      **_score(config, module, state, best, source.val),
      "steps": config.steps,
    }
    write_atomically(
      run_dir / run_dir_lib.SUMMARY, json.dumps(summary, indent=2) + "\n"
    )
  return summary


def _score(config, module, state, step, pictures) -> results.Row:
  """The row of one checkpoint, apart from where the run lies."""
  variables = {"params": state.params}
  found = evaluation.evaluate(
    Upscaler(module, variables), pictures, config.scale
  )
  network = Network(
    "", *identify(module), config.scale, module, variables, step
  )
  row = results.make_row(
    network,
    f"{config.data.source} validation",
    MATLAB,
    found[MATLAB.name],
  )
  del row["source"]
  return row


def _train(
  config, module, source, schedule, state, start, checkpoints, logs
) -> TrainState:
  """Trains from step `start` to the last."""
  limit = config.data.max_val_pictures or None
  val = evaluation.load_pairs(source.val[:limit])
  store = crops.CropStore(source.train, config.data.patch)
  step_fn = parallel.parallelize(train_step, config.parallel)
  batches = pipeline.train_batches(
    store,
    seed=config.seed,
    batch_size=config.batch_size,
    patch=config.data.patch,
    start_step=start,
    num_steps=config.steps - start,
    shard=(jax.process_index(), jax.process_count()),
  )
  progress = _Progress(start, config.steps)
  with _signals() as caught, contextlib.closing(progress):
    for step, batch in enumerate(batches, start + 1):
      state = step_fn(state, batch)
      last = step == config.steps
      logging_step = step % config.log_every == 0 or last
      evaluating = step % config.eval_every == 0 or last
      saving = step % config.checkpoint_every == 0 or evaluating or caught

      if logging_step or saving:
        total = float(state.loss_sum)
        if not math.isfinite(total):
          raise UserError(
            f"the loss is {total} at step {step}, learning rate"
            f" {float(schedule(step - 1)):g}; the last good checkpoint is of"
            f" step {checkpoints.latest()}: try a lower"
            " --config.optim.learning_rate"
          )
      if logging_step:
        count = step % config.log_every or config.log_every
        loss = total / count
        logs.write(step, loss=loss, learning_rate=float(schedule(step - 1)))
        state = state.replace(loss_sum=jnp.zeros_like(state.loss_sum))
        progress.tell(step, f"loss {loss:.5f}")
      metrics = None
      if evaluating:
        upscaler = Upscaler(module, {"params": state.params})
        metrics = evaluation.mean_scores(upscaler, val, config.scale)
        logs.write(step, **metrics)
        name, lr, _ = val[0]
        logs.show(step, f"validation/{name}", upscaler(lr))
        progress.tell(step, f"PSNR-Y {metrics['psnr_y']:.3f} dB on validation")
      if saving:
        checkpoints.save(step, state, metrics)
      if caught:
        checkpoints.wait()
        print(f"stopped at step {step}; the same command goes on from there")
        raise SystemExit(128 + caught[0])
      progress.advance()
  return state


@contextlib.contextmanager
def _signals():
  """Collects SIGTERM and SIGINT; a second SIGINT acts at once."""
  caught = []

  def handle(number, frame):
    del frame
    caught.append(number)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

  numbers = (signal.SIGTERM, signal.SIGINT)
  before = [signal.signal(number, handle) for number in numbers]
  try:
    yield caught
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)


class _Progress:
  """A bar with rate and time left on a terminal, plain lines elsewhere."""

  def __init__(self, start: int, steps: int):
    self._steps = steps
    self._bar = tqdm(
      initial=start,
      total=steps,
      unit="step",
      disable=not sys.stderr.isatty(),
      dynamic_ncols=True,
    )

  def advance(self) -> None:
    self._bar.update()

  def tell(self, step: int, text: str) -> None:
    line = f"step {step}/{self._steps}  {text}"
    if self._bar.disable:
      print(line, flush=True)
    else:
      self._bar.write(line)

  def close(self) -> None:
    self._bar.close()
