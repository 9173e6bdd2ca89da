"""Plots of results, drawn with matplotlib (the extra `plot`)."""

from pathlib import Path
from typing import Any

from templora_edge.host.files import replacing


def plot_perplexity(curve: list[dict[str, Any]], path: Path) -> None:
    """Plot both perplexities by position, and what Temp-LoRA saves, to a .png or .svg file.

    Args:
        curve: figures by range of positions, like the buckets of the result.
        path: file to write.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    positions = [(point["begin"] + point["end"]) / 2 for point in curve]
    figure, (upper, lower) = pyplot.subplots(
        2, sharex=True, figsize=(8, 5), height_ratios=(2, 1), layout="constrained"
    )
    upper.plot(positions, [point["base"]["ppl"] for point in curve], label="base")
    if curve and curve[0]["templora"] is not None:
        upper.plot(positions, [point["templora"]["ppl"] for point in curve], label="Temp-LoRA")
        savings = [-point["change_percent"] for point in curve]
        errors = [point["change_percent_se"] or 0 for point in curve]
        lower.errorbar(positions, savings, errors, color="C1", capsize=2)
        lower.axhline(0, color="gray", linewidth=0.8)
    upper.set_ylabel("perplexity")
    upper.legend()
    lower.set_ylabel("saved, %")
    lower.set_xlabel("position in the text, tokens")
    with replacing(path, "--plot") as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."))
    pyplot.close(figure)


def plot_passkey(result: dict[str, Any], path: Path) -> None:
    """Plot one grid per mode, green where the key was found, to a .png or .svg file.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import patches, pyplot

    cells = result["cells"]
    modes = list(result["found"])
    lengths = sorted({cell["length"] for cell in cells})
    depths = sorted({cell["depth"] for cell in cells})
    figure, axes = pyplot.subplots(
        1, len(modes), sharey=True, squeeze=False, figsize=(3 * len(modes), 3), layout="constrained"
    )
    for mode, axis in zip(modes, axes[0], strict=True):
        for cell in (cell for cell in cells if cell["mode"] == mode):
            corner = lengths.index(cell["length"]), depths.index(cell["depth"])
            colour = "tab:green" if cell["found"] else "tab:red"
            axis.add_patch(patches.Rectangle(corner, 1, 1, color=colour, alpha=0.7))
        axis.set(title=mode, xlabel="length, tokens", xlim=(0, len(lengths)))
        axis.set_xticks([index + 0.5 for index in range(len(lengths))], map(str, lengths))
        axis.set_yticks([index + 0.5 for index in range(len(depths))], [f"{d:.0%}" for d in depths])
        axis.set_ylim(len(depths), 0)
    axes[0][0].set_ylabel("depth of the key")
    with replacing(path, "--plot") as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."))
    pyplot.close(figure)
