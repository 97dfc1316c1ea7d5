"""Tables of published PyTorch tensor names, a naming a backbone's release.

A row pairs one of our modules with its PyTorch counterpart. `{i}` on our side
stands for a number; `{i}`, `{i+1}` or `{2*i}` on PyTorch's says what becomes of
it. The leaves' names follow from the kind of layer (`LEAVES`), so that rows
name whole layers only. The first row that fits is taken.
"""

from collections.abc import Mapping
import dataclasses
import functools
import re

# The rows of a table: (our module, PyTorch's module).
Rows = tuple[tuple[str, str], ...]

# Our parameter → PyTorch's; `gain` beside `kernel` is weight normalisation.
LEAVES = {
  "kernel": "weight",
  "bias": "bias",
  "slope": "weight",
  "scale": "scale",
  "gain": "weight_g",
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

# Inside the attention. RCAN's channel attention is BasicSR's apart from names.
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
}


@dataclasses.dataclass(frozen=True)
class Naming:
  """The tensor names of one release of one backbone.

  Attributes:
    model: our name of the backbone.
    rows: the table of its layers. `{blocks}` and `{groups}` on PyTorch's side
      are the module's fields, wherever our side doesn't bind them.
    place: row of the attention, that is of the module that holds it.
    attentions: attentions known to be published in this naming, likeliest
      first, with the name of the place where that differs: it replaces `{kind}`
      in `place`.
    attention_rows: tables of attentions whose inside is named otherwise.
    with_attention: rows that take precedence where there is an attention.
  """

  model: str
  rows: Rows
  place: tuple[str, str]
  attentions: Mapping[str, str] = dataclasses.field(default_factory=dict)
  attention_rows: Mapping[str, Rows] = dataclasses.field(default_factory=dict)
  with_attention: Rows = ()

  def inside(self, kind: str) -> Rows:
    """Rows of the attention's own layers."""
    if kind == "none":
      return ()
    ours, theirs = self.place
    theirs = theirs.replace("{kind}", self.attentions.get(kind, "attention"))
    rows = {**ATTENTION_ROWS, **self.attention_rows}[kind]
    return tuple((f"{ours}/{a}", f"{theirs}.{b}") for a, b in rows)

  def table(self, kind: str = "none") -> Rows:
    """All rows, those inside an attention of this kind included."""
    if kind == "none":
      return self.rows
    return (*self.inside(kind), *self.with_attention, *self.rows)

  def kinds(self) -> list[str]:
    """Attentions that this naming can hold, likeliest first."""
    return list(dict.fromkeys((*self.attentions, *ATTENTION_ROWS)))


_PLACEHOLDER = re.compile(r"\{(?:(\d+)\*)?([a-z]+)(?:\+(\d+))?\}")


def _replace(template: str, placeholder, literal) -> str:
  """Rebuilds a template from its placeholders and what stands between them."""
  parts, end = [], 0
  for match in _PLACEHOLDER.finditer(template):
    parts += [literal(template[end : match.start()]), placeholder(match)]
    end = match.end()
  return "".join([*parts, literal(template[end:])])


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
  """What a template fits, each number captured under its letter."""
  return re.compile(
    _replace(template, lambda m: rf"(?P<{m.group(2)}>\d{{1,9}})", re.escape)
  )


def _fill(template: str, values: Mapping[str, int]) -> str:
  """Puts numbers in a template: _fill("c{i+1}", {"i": 2}) is "c3"."""

  def number(match):
    factor, name, offset = match.groups()
    return str(int(factor or 1) * values[name] + int(offset or 0))

  return _replace(template, number, str)


def _solve(template: str, name: str) -> dict[str, int] | None:
  """Inverse of `_fill`; None where the name doesn't fit."""
  if not (match := _pattern(template).fullmatch(name)):
    return None
  values = {}
  for factor, letter, offset in _PLACEHOLDER.findall(template):
    number = int(match[letter]) - int(offset or 0)
    values[letter], rest = divmod(number, int(factor or 1))
    if rest or number < 0:
      return None
  return values


def our_layer(layer: str, table: Rows) -> str | None:
  """Our name of a PyTorch layer; None where the table has no such layer."""
  for ours, template in table:
    if (values := _solve(template, layer)) is not None:
      return _fill(ours, values)
  return None


def torch_name(
  path: str, table: Rows, values: Mapping[str, int], weight_norm: bool
) -> str | None:
  """PyTorch's name of one of our parameters.

  Args:
    path: our parameter, "block_0/conv_1/kernel".
    table: rows of the naming.
    values: numbers that rows may use besides those in the path.
    weight_norm: whether the parameter's layer is weight-normalised.

  Returns:
    "body.0.body.2.weight"; None where the table has no such layer.
  """
  layer, _, leaf = path.rpartition("/")
  theirs = LEAVES[leaf]
  if leaf == "kernel" and weight_norm:
    theirs = DIRECTION
  for ours, template in table:
    if (found := _solve(ours, layer)) is not None:
      return f"{_fill(template, {**values, **found})}.{theirs}"
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
# One unit's weights serve the whole block, under the first one's name.
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

# Of two that account for as many tensors, the first is taken.
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
)
