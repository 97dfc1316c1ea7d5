"""Draws what protocols do to scores: step by step, and next to BAM's gains.

  python -m docs.figures.protocol_effects

The numbers are those of the tables in docs/protocols.md, which names the
commands that measured them. Needs matplotlib.
"""

from docs.figures import charts


def steps():
  """Draws a panel for each network and test set, a bar for each step."""
  head, _, *rows = charts.table("protocols.md", "## What each step is worth")
  table = [[float(s.replace("−", "-")) for s in row[1:]] for row in rows]
  figure = charts.new(2.3)
  panels = figure.subplots(1, len(head) - 1, sharex=True, sharey=True)
  for k, (panel, changes) in enumerate(
    zip(panels, zip(*table, strict=True), strict=True), 1
  ):
    last = len(changes) - 1
    colours = [charts.ORANGE] * last + [charts.DARK]
    panel.barh(range(len(changes)), changes, 0.7, color=colours)
    for i, (change, row) in enumerate(zip(changes, rows, strict=True)):
      panel.text(
        max(change, 0) + 0.04, i, row[k], va="center", fontsize=charts.TEXT
      )
    test_set, network = head[k].split(", ")
    panel.set_title(f"{test_set}\n{network}", fontsize=charts.TEXT + 1)
    panel.axvline(0, color="black", linewidth=1)
    # The numbers stand to the right of the bars.
    panel.set_xlim(-0.03, 1.85 * max(map(max, table)))
    panel.set_xticks([0, 0.5, 1])
    panel.tick_params(labelsize=charts.TEXT)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
  panels[0].set_yticks(range(len(rows)), [name for name, *_ in rows])
  panels[0].invert_yaxis()
  figure.supxlabel("change of PSNR-Y from matlab, dB", fontsize=charts.TEXT)
  charts.save(figure, "protocol_steps")


def gains():
  """Draws BAM's gains as printed, and those of the protocol alone."""
  _, *rows = charts.table("protocols.md", "## The paper's Table 1")
  networks = list(dict.fromkeys(row[0] for row in rows))
  found = {}
  for network, test_set, *scores in rows:
    matlab, control, bam, with_bam = (float(s.split("/")[0]) for s in scores)
    gain = found.setdefault(test_set, {})
    gain[network] = with_bam - control, bam - matlab
  figure = charts.new(3.0)
  values = [sum(pairs.values(), ()) for pairs in found.values()]
  low = min(0, *map(min, values)) - 0.1
  highs = [max(own) + 0.12 for own in values]
  # A dB is as wide in all panels.
  widths = [high - low for high in highs]
  panels = figure.subplots(1, len(found), sharey=True, width_ratios=widths)
  for panel, high, (test_set, pairs) in zip(
    panels, highs, found.items(), strict=True
  ):
    places = [networks.index(network) for network in pairs]
    printed, alone = zip(*pairs.values(), strict=True)
    panel.hlines(places, printed, alone, "0.75", linewidth=2, zorder=0)
    panel.plot(
      *(printed, places, "D"),
      markersize=8,
      color=charts.ORANGE,
      label="paper's Table 1: with BAM − control",
    )
    panel.plot(
      *(alone, places, "o"),
      markersize=5,
      color=charts.DARK,
      label="no BAM, released weights: bam − matlab",
    )
    panel.set_title(test_set, fontsize=charts.TEXT + 1)
    panel.set_xlim(low, high)
    panel.set_xticks([0.5 * i for i in range(int(2 * high) + 1)])
    panel.tick_params(labelsize=charts.TEXT)
    panel.grid(axis="x", alpha=0.3)
    panel.axvline(0, color="black", linewidth=1)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
  panels[0].set_yticks(range(len(networks)), networks)
  panels[0].set_ylim(len(networks) - 0.4, -0.6)
  figure.supxlabel("difference of PSNR-Y, dB", fontsize=charts.TEXT)
  figure.legend(
    *panels[0].get_legend_handles_labels(),
    loc="outside upper center",
    ncols=2,
    frameon=False,
    fontsize=charts.TEXT,
  )
  charts.save(figure, "protocol_gains")


if __name__ == "__main__":
  steps()
  gains()
