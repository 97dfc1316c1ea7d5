"""Upscales images: files, folders and globs.

  python upscale.py photo.jpg
  python upscale.py photos/ --weights=imdn_x4.safetensors -o large
  python upscale.py 'scans/*.png' --run_dir=runs/pan-bam-x2-sample --ext=webp

Without --weights and --run_dir the shipped PAN-BAM of --scale is used. Exit
status: 0; 1 if an image was left out; 2 if an argument is at fault.
"""

from absl import flags

from bamjax.commands import cli

flags.DEFINE_string(
  "weights", None, "file of weights, or the name of shipped ones"
)
flags.DEFINE_string("run_dir", None, "folder of a run of train.py")
flags.DEFINE_integer("step", None, "checkpoint of the run (default: the best)")
flags.DEFINE_string("model", None, "backbone, where the weights don't tell")
flags.DEFINE_string("attn", None, "attention, where the weights don't tell")
flags.DEFINE_integer(
  "scale",
  None,
  "2, 3, 4: of shipped weights, or of weights for several",
  short_name="s",
)
flags.DEFINE_string("normalization", None, "paper, official or super_image")
flags.DEFINE_string(
  "output", "results", "folder, or the file of one image", short_name="o"
)
flags.DEFINE_string(
  "tile", "auto", "side of tiles in LR pixels; 0: never tile", short_name="t"
)
flags.DEFINE_integer(
  "passes", 1, "over a tiled image, for attentions that see all of it"
)
flags.DEFINE_float(
  "memory", 2, "GB that the network may take, with --tile=auto"
)
flags.DEFINE_string(
  "suffix", None, "NAME_SUFFIX.EXT is written (default: x2, x3 or x4)"
)
flags.DEFINE_string(
  "ext", "auto", "png, jpg, webp, tif, bmp; auto: the input's"
)
flags.DEFINE_integer(
  "quality", None, "1 to 100, of JPEG and WebP (default: 95)"
)
flags.DEFINE_bool(
  "skip_existing", False, "leave results that exist, and what they are of"
)
flags.DEFINE_bool("self_ensemble", False, "average over eight symmetries")
flags.DEFINE_string("dtype", "float32", "float32 or bfloat16")


def main(argv):
  """Reads the flags and upscales."""
  # Imported here so that --help is immediate.
  from bamjax.commands import upscale

  options = upscale.Options(
    **{name: flags.FLAGS[name].value for name in upscale.OPTIONS}
  )
  return upscale.run(argv[1:], options)


if __name__ == "__main__":
  cli.run(main, positional=True)
