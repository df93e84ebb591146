"""Pictures of a run."""


def plot_curve(metrics: dict):
    """A matplotlib figure of a run's loss and validation error rate over its steps, from its metrics."""
    import matplotlib.pyplot as plt

    losses = [(entry["step"], entry["loss"]) for entry in metrics["curve"] if "loss" in entry]
    metric = metrics.get("selected_by", "cer_no_punctuation")  # runs of 0.1.0 do not say
    rate = metric[:3].upper()
    errors = [(e["step"], 100 * e[f"eval_{metric}"]) for e in metrics["curve"] if f"eval_{metric}" in e]
    figure, left = plt.subplots(figsize=(9, 3.5), layout="constrained")
    left.plot(*zip(*losses, strict=True), color="tab:gray", linewidth=1, label="training loss")
    left.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    right = left.twinx()
    right.plot(*zip(*errors, strict=True), color="tab:red", marker="o", label=f"validation {rate}")
    right.set(ylabel=f"validation {rate}, % (no punctuation)", ylim=(0, 105))
    right.axvline(metrics["best_step"], color="tab:red", linestyle=":", linewidth=1)
    n, best = metrics["validation"]["n"], 100 * metrics["validation"][metric]
    left.set_title(f"weights of step {metrics['best_step']}: {rate} {best:.1f} % on {n} validation clips")
    return figure
