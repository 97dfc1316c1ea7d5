"""Scores networks on images, beside bicubic and the paper's figures.

  python evaluate.py --run_dir=runs/pan-bam-x2-sample
  python evaluate.py --weights=imdn_x2.safetensors --benchmarks=Set5,Set14
  python evaluate.py --compare=A.safetensors,runs/B --benchmarks=Set5
  python evaluate.py --tables --output=results

Without --benchmarks a run is scored on its own validation images.
"""

from absl import flags

from bamjax.commands import cli
from bamjax.commands import list_flags

list_flags.define("run_dir", [], "folders of runs of train.py", paths=True)
list_flags.define("weights", [], "files of published weights", paths=True)
flags.DEFINE_integer("step", None, "checkpoint of the run (default: the best)")
flags.DEFINE_string("model", None, "backbone, where the weights don't tell")
flags.DEFINE_string("attn", None, "attention, where the weights don't tell")
list_flags.define("scale", [], "scales, of weights that serve for several")
flags.DEFINE_string("normalization", None, "paper, official or super_image")
list_flags.define(
  "benchmarks", [], "folders of images: Set5, Set14, …", paths=True
)
list_flags.define("protocol", ["matlab"], "matlab, bam, ntire")
list_flags.define("compare", [], "two runs or files: A,B", paths=True)
flags.DEFINE_bool("tables", False, "the paper's tables beside --output's")
flags.DEFINE_bool("self_ensemble", False, "average over eight symmetries")
flags.DEFINE_bool("save_images", False, "write the super-resolved images")
flags.DEFINE_integer("tile", None, "side of tiles in LR pixels; 0: never tile")
flags.DEFINE_string(
  "output", None, "folder of the results (default: the run's, or results)"
)


def main(argv):
  """Reads the flags and evaluates."""
  del argv
  # Imported here so that --help is immediate.
  from bamjax.commands import evaluate

  options = evaluate.Options(
    **{name: flags.FLAGS[name].value for name in evaluate.OPTIONS}
  )
  return evaluate.run(options)


if __name__ == "__main__":
  cli.run(main)
