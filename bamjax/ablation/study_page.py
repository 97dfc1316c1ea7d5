"""A study as one page of HTML that needs no network."""

import base64
import io

from bamjax.ablation import difference_figure
from bamjax.ablation.summary import Summary
from bamjax.ablation.summary_tables import tables
from bamjax.report import document


def page(summary: Summary) -> str:
  """Renders what was compared, the figure, and a table per benchmark."""
  study = summary.study
  recipe = study.recipe
  return document.TEMPLATES.get_template("ablation.html").render(
    title=f"Ablation of attentions, ×{study.scale}",
    recipe=(
      f"{len(summary.finished)} trainings by one recipe: images from"
      f" {recipe.data.source}, patches {recipe.data.patch}×{recipe.data.patch},"
      f" batch {recipe.batch_size}, {recipe.steps:,} steps, learning rate"
      f" {recipe.optim.learning_rate:g} ({recipe.optim.schedule}),"
      f" {recipe.dtype}."
    ),
    figure=_figure(summary),
    tables=tables(summary),
  )


def _figure(summary: Summary) -> str:
  """The figure in base64; "" if there is no difference yet."""
  file = io.BytesIO()
  drawn = difference_figure.draw(summary, file)
  return base64.b64encode(file.getvalue()).decode() if drawn else ""
