"""Names of layers and tensors in published PyTorch weights, by release.

A row of a table pairs one of our layers with its PyTorch counterpart, both as
`templates`: ("block_{i}/conv_{k}", "body.{i}.conv{k+1}"). Names of parameters
follow from the kind of layer (`LEAVES`), so rows name whole layers. The first
row that fits is used.
"""

from collections.abc import Mapping
import dataclasses
import re

from bamjax.weights.templates import fill
from bamjax.weights.templates import solve

# Rows of a table: (our layer, PyTorch's layer).
Rows = tuple[tuple[str, str], ...]

# Our parameter → PyTorch's. A layer with a `gain` is weight-normalized: its
# kernel is the direction, `weight_v`.
LEAVES = {
  "kernel": "weight",
  "bias": "bias",
  "slope": "weight",
  "scale": "scale",
  "gain": "weight_g",
  "alpha": "alpha",
  "beta": "belt",
}
DIRECTION = "weight_v"

# Frozen 1×1 convs that subtract and add the mean: constants, not parameters.
MEAN_SHIFT = re.compile(r"(sub|add)_mean(?:\.shifter)?\.(weight|bias)")

_DU: Rows = (("mlp/squeeze", "conv_du.0"), ("mlp/excite", "conv_du.2"))
_ACAM: Rows = (
  ("mlp/squeeze", "fc1"),
  ("mlp/activation", "relu1"),
  ("mlp/excite", "fc2"),
)
_MSAM: Rows = (("conv", "conv1"),)
_BAM: Rows = (
  *((f"acam/{ours}", f"ca.{theirs}") for ours, theirs in _ACAM),
  ("msam/conv", "sa.conv1"),
)


def _separable(ours: str, theirs: str) -> Rows:
  """The two layers of a blueprint separable convolution."""
  return (
    (f"{ours}/pointwise", f"{theirs}.pw"),
    (f"{ours}/depthwise", f"{theirs}.dw"),
  )


# Layers inside each attention.
ATTENTION_ROWS: dict[str, Rows] = {
  "bam": _BAM,
  "bam_allpool": _BAM,
  "cbam": (
    ("mlp/squeeze", "ca.fc1"),
    ("mlp/excite", "ca.fc2"),
    ("spatial/conv", "sa.conv1"),
  ),
  "acam": _ACAM,
  "acam_maxpool": _ACAM,
  "msam": _MSAM,
  "msam_avgpool": _MSAM,
  "ca": _DU,
  "cca": _DU,
  "se": _DU,
  "pa": (("conv", "conv"),),
  "la": (
    ("dilated_3", "c1.body.0"),
    ("dilated_5", "c2.body.0"),
    ("dilated_7", "c3.body.0"),
    ("fuse", "c4.body.0"),
  ),
  "esa_cca": (
    ("esa/narrow", "esa.conv1"),
    ("esa/fine", "esa.conv_f"),
    *_separable("esa/stride", "esa.conv2"),
    *_separable("esa/coarse_0", "esa.conv_max"),
    *_separable("esa/coarse_1", "esa.conv3"),
    *_separable("esa/coarse_2", "esa.conv3_"),
    ("esa/widen", "esa.conv4"),
    *((f"cca/{ours}", f"cca.{theirs}") for ours, theirs in _DU),
  ),
}


@dataclasses.dataclass(frozen=True)
class Naming:
  """The tensor names of one release of one backbone.

  Attributes:
    model: our name of the backbone.
    rows: table of its layers. `{blocks}` and `{groups}` on PyTorch's side are
      fields of the module, unless our side has them too.
    place: row of the attention module itself; its layers are in
      `ATTENTION_ROWS`.
    attentions: attentions published with these names, most likely first. Each
      maps to what replaces `{kind}` in `place`, if anything.
    attention_rows: replaces `ATTENTION_ROWS` for attentions whose layers have
      other names in this release.
    with_attention: rows that take precedence if there is an attention.
  """

  model: str
  rows: Rows
  place: tuple[str, str]
  attentions: Mapping[str, str] = dataclasses.field(default_factory=dict)
  attention_rows: Mapping[str, Rows] = dataclasses.field(default_factory=dict)
  with_attention: Rows = ()

  def inside(self, kind: str) -> Rows:
    """Rows of the layers inside an attention; none for "none"."""
    if kind == "none":
      return ()
    ours, theirs = self.place
    theirs = theirs.replace("{kind}", self.attentions.get(kind, "attention"))
    rows = {**ATTENTION_ROWS, **self.attention_rows}[kind]
    return tuple((f"{ours}/{a}", f"{theirs}.{b}") for a, b in rows)

  def table(self, kind: str = "none") -> Rows:
    """All rows of a network with an attention of this kind."""
    if kind == "none":
      return self.rows
    return (*self.inside(kind), *self.with_attention, *self.rows)

  def kinds(self) -> list[str]:
    """Attentions that can occur in this naming, most likely first."""
    return list(dict.fromkeys((*self.attentions, *ATTENTION_ROWS)))


def our_layer(layer: str, table: Rows) -> str | None:
  """Translates a PyTorch layer's name to ours; None if no row fits."""
  for ours, theirs in table:
    if (values := solve(theirs, layer)) is not None:
      return fill(ours, values)
  return None


def torch_name(
  path: str, table: Rows, values: Mapping[str, int], weight_norm: bool
) -> str | None:
  """Translates one of our parameters' names to PyTorch's.

  Args:
    path: our parameter, "block_0/conv_1/kernel".
    table: rows of the release.
    values: numbers that rows may use in addition to those in the path.
    weight_norm: whether the parameter's layer is weight-normalized.

  Returns:
    The tensor's name, "body.0.body.2.weight"; None if no row fits.
  """
  layer, _, leaf = path.rpartition("/")
  tensor = LEAVES[leaf]
  if leaf == "kernel" and weight_norm:
    tensor = DIRECTION
  for ours, theirs in table:
    if (found := solve(ours, layer)) is not None:
      return f"{fill(theirs, {**values, **found})}.{tensor}"
  return None


def _rows(*rows: tuple[str, str]) -> Rows:
  return rows


_CARN = _rows(
  ("head", "entry"),
  ("block_{i}/unit_{j}/conv_{k}", "b{i+1}.b{j+1}.body.{2*k}"),
  ("block_{i}/fuse_{j}", "b{i+1}.c{j+1}.body.0"),
  ("fuse_{i}", "c{i+1}.body.0"),
  ("upsampler/scale_{s}/conv_{i}", "upsample.up{s}.body.{3*i}"),
  ("tail", "exit"),
)
# All units of a block share weights, stored under the first unit's name.
_CARN_M = _rows(
  ("block_{i}/unit_0/conv_{k}", "b{i+1}.b1.body.{2*k}"),
  *(row for row in _CARN if "unit" not in row[0]),
)
_CARN_WITH_ATTENTION = _rows(("fuse_{i}", "c{i+1}.0.body.0"))

_AWSRN = _rows(
  ("head", "head.0"),
  ("block_{i}/fuse", "body.{i}.reduction"),
  ("block_{i}/residual_scale", "body.{i}.res_scale"),
  ("block_{i}/skip_scale", "body.{i}.x_scale"),
  ("tail_{k}", "tail.tail_k{k}"),
  ("tail_{k}_scale", "tail.scale_k{k}"),
  ("skip", "skip.0"),
)


def _awrus(unit: str) -> Rows:
  return _rows(
    ("block_{i}/unit_{j}/conv_{k}", f"{unit}.body.{{2*k}}"),
    ("block_{i}/unit_{j}/residual_scale", f"{unit}.res_scale"),
    ("block_{i}/unit_{j}/skip_scale", f"{unit}.x_scale"),
  )


_BASICSR = _rows(
  ("head", "conv_first"),
  ("body", "conv_after_body"),
  ("upsampler/conv_{i}", "upsample.{2*i}"),
  ("tail", "conv_last"),
)

# If two account for equally many layers, the first is used.
NAMINGS: tuple[Naming, ...] = (
  Naming(
    "edsr",
    _rows(
      ("head", "head.0"),
      ("block_{i}/conv_{k}", "body.{i}.body.{2*k}"),
      ("body", "body.{blocks}"),
      ("upsampler/conv_{i}", "tail.0.{2*i}"),
      ("tail", "tail.1"),
    ),
    place=("attention", "attention"),
    attentions={"bam": ""},
  ),
  Naming(  # BasicSR's EDSR
    "edsr",
    _rows(*_BASICSR, ("block_{i}/conv_{k}", "body.{i}.conv{k+1}")),
    place=("attention", "attention"),
  ),
  Naming(
    "carn_m",
    _CARN_M,
    place=("attention_{i}", "c{i+1}.1"),
    attentions={"bam": ""},
    with_attention=_CARN_WITH_ATTENTION,
  ),
  Naming(
    "carn",
    _CARN,
    place=("attention_{i}", "c{i+1}.1"),
    attentions={"bam": ""},
    with_attention=_CARN_WITH_ATTENTION,
  ),
  Naming(
    "msrn",
    _rows(
      ("head", "head.0"),
      ("block_{i}/conv_3x3_{j}", "body.{i}.conv_3_{j+1}"),
      ("block_{i}/conv_5x5_{j}", "body.{i}.conv_5_{j+1}"),
      ("block_{i}/fuse", "body.{i}.confusion"),
      ("fuse", "tail.0"),
      ("body", "tail.1"),
      ("upsampler/conv_{i}", "tail.2.{2*i}"),
      ("tail", "tail.3"),
    ),
    place=("block_{i}/attention", "body.{i}.attention"),
    attentions={"bam": ""},
  ),
  Naming(
    "slwsr32",
    _rows(
      ("head", "head.0"),
      *(
        (f"stage_{s}_block_2/conv_{{k}}", f"conv{s}.body.{{2*k}}")
        for s in (7, 8, 9, 10)
      ),
      ("stage_{s}_block_{j}/conv_{k}", "feat{s}_{j+1}.body.{2*k}"),
      ("stage_{s}_squeeze", "feat{s}_1.conv"),
      ("pool", "conv1"),
      ("upsampler/conv_{i}", "tail.0.{2*i}"),
      ("tail", "tail.1"),
    ),
    place=("attention", "attention"),
    attentions={"bam": ""},
  ),
  Naming(
    "awsrn",
    (*_awrus("body.{i}.lfl.{j}"), *_AWSRN),
    place=("attention", "attention"),
    attentions={"bam": ""},
  ),
  Naming(  # AWSRN's own release
    "awsrn",
    (*_awrus("body.{i}.b{j}"), *_AWSRN),
    place=("attention", "attention"),
  ),
  Naming(
    "rcan",
    _rows(
      ("head", "head.0"),
      ("group_{i}/block_{j}/conv_{k}", "body.{i}.body.{j}.body.{2*k}"),
      ("group_{i}/body", "body.{i}.body.{blocks}"),
      ("body", "body.{groups}"),
      ("upsampler/conv_{i}", "tail.0.{2*i}"),
      ("tail", "tail.1"),
    ),
    place=("group_{i}/block_{j}/attention", "body.{i}.body.{j}.body.3"),
    attentions={"ca": "", "bam": ""},
  ),
  Naming(  # BasicSR's RCAN
    "rcan",
    _rows(
      *_BASICSR,
      (
        "group_{i}/block_{j}/conv_{k}",
        "body.{i}.residual_group.{j}.rcab.{2*k}",
      ),
      ("group_{i}/body", "body.{i}.conv"),
    ),
    place=(
      "group_{i}/block_{j}/attention",
      "body.{i}.residual_group.{j}.rcab.3",
    ),
    attentions={"ca": ""},
    attention_rows={
      "ca": (("mlp/squeeze", "attention.1"), ("mlp/excite", "attention.3"))
    },
  ),
  Naming(
    "imdn",
    _rows(
      ("head", "fea_conv"),
      ("block_{i}/conv_{j}", "IMDB{i+1}.c{j+1}"),
      ("block_{i}/fuse", "IMDB{i+1}.c5"),
      ("fuse", "c.0"),
      ("body", "LR_conv"),
      ("tail", "upsampler.0"),
    ),
    place=("block_{i}/attention", "IMDB{i+1}.{kind}"),
    attentions={
      "cca": "cca",
      "bam": "attention",
      "bam_allpool": "attention",
      "cbam": "CBAM",
      "acam": "CAM",
      "acam_maxpool": "CAM_maxpool",
      "msam": "SAM",
      "msam_avgpool": "SAM_averagepool",
    },
  ),
  Naming(
    "pan",
    _rows(
      ("head", "conv_first"),
      ("block_{i}/split_a", "SCPA_trunk.{i}.conv1_a"),
      ("block_{i}/split_b", "SCPA_trunk.{i}.conv1_b"),
      ("block_{i}/plain", "SCPA_trunk.{i}.k1.0"),
      ("block_{i}/gate", "SCPA_trunk.{i}.PAConv.k2"),
      ("block_{i}/gated_{j}", "SCPA_trunk.{i}.PAConv.k{j+3}"),
      ("block_{i}/fuse", "SCPA_trunk.{i}.conv3"),
      ("body", "trunk_conv"),
      ("up_{i}_conv_0", "upconv{i+1}"),
      ("up_{i}_conv_1", "HRconv{i+1}"),
      ("tail", "conv_last"),
    ),
    place=("up_{i}_attention", "att{i+1}"),
    attentions={"pa": "", "bam": ""},
  ),
  Naming(
    "drln",
    _rows(
      ("head", "head"),
      ("block_{i}/residual_{j}/conv_{k}", "b{i+1}.r{j+1}.body.{2*k}"),
      ("block_{i}/fuse", "b{i+1}.g.body.0"),
      ("fuse_{i}", "c{i+1}.body.0"),
      ("upsampler/conv_{i}", "upsample.up.body.{3*i}"),
      ("tail", "tail"),
    ),
    place=("block_{i}/attention", "b{i+1}.ca"),
    attentions={"la": "", "bam": ""},
  ),
  Naming(
    "bsrn",
    _rows(
      *_separable("head", "fea_conv"),
      ("block_{i}/distill_{j}", "B{i+1}.c{j+1}_d"),
      *_separable("block_{i}/refine_{j}", "B{i+1}.c{j+1}_r"),
      *_separable("block_{i}/last", "B{i+1}.c4"),
      ("block_{i}/fuse", "B{i+1}.c5"),
      ("fuse", "c1"),
      *_separable("body", "c2"),
      ("tail", "upsampler.upsampleOneStep.0"),
    ),
    place=("block_{i}/attention", "B{i+1}"),
    attentions={"esa_cca": ""},
  ),
  Naming(
    "smfanet",
    _rows(
      ("head", "to_feat"),
      ("block_{i}/smfa", "feats.{i}.smfa"),
      ("block_{i}/smfa/split", "feats.{i}.smfa.linear_0"),
      ("block_{i}/smfa/coarse", "feats.{i}.smfa.dw_conv"),
      ("block_{i}/smfa/gate", "feats.{i}.smfa.linear_1"),
      ("block_{i}/smfa/detail_2", "feats.{i}.smfa.lde.conv_1"),
      ("block_{i}/smfa/detail_{j}", "feats.{i}.smfa.lde.conv_0.{j}"),
      ("block_{i}/smfa/fuse", "feats.{i}.smfa.linear_2"),
      ("block_{i}/pcfn/enter", "feats.{i}.pcfn.conv_0"),
      ("block_{i}/pcfn/partial", "feats.{i}.pcfn.conv_1"),
      ("block_{i}/pcfn/leave", "feats.{i}.pcfn.conv_2"),
      ("tail", "to_img.0"),
    ),
    place=("block_{i}/attention", "feats.{i}.attention"),
  ),
)
