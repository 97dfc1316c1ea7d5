"""Trains a super-resolution network.

  python train.py --config=configs/quickstart.py
  python train.py --model=edsr --attn=bam --scale=2
  python train.py --model=pan --data=folder --data_dir=IMAGES --scale=4

Short flags fill fields of the configuration; --config.FIELD=VALUE reaches any.
The same command, given again, goes on where an interrupted run stopped.
"""

from pathlib import Path

from absl import flags

from bamjax.commands import cli

_CONFIG = cli.define_config(
  str(Path(__file__).parent / "configs" / "default.py"),
  "configuration file; the default is the paper's recipe",
)
_RUN_DIR = flags.DEFINE_string(
  "run_dir", None, "the run's folder (default: runs/MODEL-ATTN-xSCALE-DATA)"
)
flags.DEFINE_string("model", None, "backbone, e.g. edsr, pan")
flags.DEFINE_string("attn", None, "attention: none, native, bam, …")
flags.DEFINE_integer("scale", None, "upscaling factor: 2, 3, 4")
flags.DEFINE_string("data", None, "source of images: div2k, folder, sample")
flags.DEFINE_string("data_dir", None, "folder of the training images")
flags.DEFINE_string("val_dir", None, "folder of the validation images")
flags.DEFINE_string("manual_dir", None, "folder of downloaded DIV2K zips")
flags.DEFINE_string("data_mode", None, "tfdata, or resident: on the device")
flags.DEFINE_string("cache_dir", None, "folder for decoded images")
flags.DEFINE_string("init_from", None, "weights or a run to start from")
flags.DEFINE_integer("steps", None, "steps of the run")
flags.DEFINE_integer("batch_size", None, "patches a step, over all devices")
flags.DEFINE_integer("seed", None, "seed of the run")
_OPTIONS = flags.DEFINE_multi_string(
  "options", [], "hyper-parameters of the backbone: FIELD=VALUE,FIELD=VALUE"
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "join the other processes of SLURM, MPI or Kubernetes"
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "HOST:PORT of process 0, to join processes by hand"
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many join")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "which one this is")


def start():
  """Joins the other processes, if there are any."""
  from bamjax.training import distributed

  by_hand = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  if _DISTRIBUTED.value or by_hand != (None, None, None):
    distributed.initialize(*by_hand)


def main(argv):
  """Fills the configuration from the flags and trains."""
  del argv
  # Imported here so that --help is immediate.
  from bamjax.evaluation import results
  from bamjax.runs import config as config_lib
  from bamjax.training import loop

  config = _CONFIG.value
  config_lib.check_fields(config)
  for flag, field in config_lib.SHORT_NAMES.items():
    value = flags.FLAGS[flag].value
    if value is not None:
      config.update_from_flattened_dict({field: value})
  with config.unlocked():
    config.model_options.update(config_lib.parse_options(_OPTIONS.value))
  run_dir = Path(_RUN_DIR.value or config_lib.default_run_dir(config))
  summary = loop.train_and_evaluate(config, run_dir)
  if summary:
    print(results.table(summary).text())
    print(f"the run, with summary.json, lies in {run_dir}")


if __name__ == "__main__":
  cli.run(main, start=start)
