"""Draws the speed of whole networks against PyTorch, on the CPU.

  python -m docs.figures.speed

The rates are those of the table in docs/performance.md, which names the command
that measured them. Needs matplotlib.
"""

from docs.figures import charts


def main():
  """Writes the picture beside this script."""
  head, *rows = charts.table("performance.md", "better of PyTorch's two forms")
  figure = charts.new(2.9)
  panels = figure.subplots(1, len(rows), sharey=True)
  for panel, (network, *cells) in zip(panels, rows, strict=True):
    pairs = [[float(rate) for rate in cell.split("/")] for cell in cells]
    panel.axhline(1, color="black", linewidth=1)
    for k, (label, marker, colour) in enumerate(
      [("control", "o", charts.ORANGE), ("BAM", "D", charts.DARK)]
    ):
      rates = [pair[k] for pair in pairs]
      places = [i + 0.26 * (k - 0.5) for i in range(len(rates))]
      panel.vlines(places, 1, rates, colour, linewidth=2)
      panel.plot(places, rates, marker, color=colour, label=label)
    panel.set_title(network, fontsize=charts.TEXT + 1)
    panel.set_xticks(range(len(cells)), [s.split("×")[0] for s in head[1:]])
    panel.set_xlim(-0.5, len(cells) - 0.5)
    panel.tick_params(labelsize=charts.TEXT)
    panel.grid(axis="y", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
  panels[0].set_ylabel("rate, bamjax / PyTorch", fontsize=charts.TEXT)
  figure.supxlabel("side of LR in pixels, ×2, batch 1", fontsize=charts.TEXT)
  note = "above 1, bamjax is faster"
  figure.text(0.01, 0.944, note, va="center", fontsize=charts.TEXT)
  figure.legend(
    *panels[0].get_legend_handles_labels(),
    loc="outside upper right",
    ncols=2,
    frameon=False,
    fontsize=charts.TEXT,
  )
  charts.save(figure, "speed")


if __name__ == "__main__":
  main()
