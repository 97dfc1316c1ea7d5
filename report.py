"""Makes a page of HTML that shows what networks make of the same images.

  python report.py --weights=imdn_x2.safetensors,pan_x2.safetensors \
      --benchmarks=Set5
  python report.py --run_dir=runs/pan-bam-x2-sample,runs/pan-ca-x2-sample

The page needs no network. Without --benchmarks it shows the validation images
of the first run.
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
flags.DEFINE_integer("images", 5, "images of each benchmark, at most")
flags.DEFINE_integer("tile", None, "side of tiles in LR pixels; 0: never tile")
flags.DEFINE_string("output", "report.html", "the page's file")


def main(argv):
  """Reads the flags and makes the page."""
  del argv
  # Imported here so that --help is immediate.
  from bamjax.commands import report

  options = report.Options(
    **{name: flags.FLAGS[name].value for name in report.OPTIONS}
  )
  return report.run(options)


if __name__ == "__main__":
  cli.run(main)
