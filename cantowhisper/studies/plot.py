"""The picture of a study."""

from collections.abc import Sequence


def plot_study(values: Sequence[tuple[str, Sequence[float], Sequence[float]]], *, metric: str):
    """A matplotlib figure of error rates, a line a variant: a dot for each seed, a stroke for the mean of the test.

    values : (name, validation rates, test rates) of each variant, from 0 on
    """
    from matplotlib.figure import Figure  # without pyplot: nothing shows it in a window

    figure = Figure(figsize=(8, 1.2 + 0.45 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(values))
    for place, (_, validation, test) in zip(places, values, strict=True):
        percent = [100 * rate for rate in test]
        axes.plot([min(percent), max(percent)], [place, place], color="tab:red", linewidth=1)
        axes.plot(percent, [place] * len(percent), "o", color="tab:red", label="test" if place == 0 else None)
        axes.plot([sum(percent) / len(percent)], [place], "|", color="tab:red", markersize=16, markeredgewidth=2)
        hollow = {"color": "tab:gray", "markerfacecolor": "none", "markersize": 5}
        label = "validation" if place == 0 else None
        axes.plot([100 * rate for rate in validation], [place] * len(validation), "o", label=label, **hollow)
    axes.set_yticks(list(places), [name for name, _, _ in values])
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric}, % (no punctuation)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    return figure
