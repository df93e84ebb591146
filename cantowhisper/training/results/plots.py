"""Pictures of a run."""


def plot_curve(metrics: dict):
    """A matplotlib figure of a run's loss and validation CER over its steps, from its metrics."""
    import matplotlib.pyplot as plt

    losses = [(entry["step"], entry["loss"]) for entry in metrics["curve"] if "loss" in entry]
    errors = [(e["step"], 100 * e["eval_cer_no_punctuation"]) for e in metrics["curve"] if "eval_cer_raw" in e]
    figure, left = plt.subplots(figsize=(9, 3.5), layout="constrained")
    left.plot(*zip(*losses, strict=True), color="tab:gray", linewidth=1, label="training loss")
    left.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    right = left.twinx()
    right.plot(*zip(*errors, strict=True), color="tab:red", marker="o", label="validation CER")
    right.set(ylabel="validation CER, % (no punctuation)", ylim=(0, 105))
    right.axvline(metrics["best_step"], color="tab:red", linestyle=":", linewidth=1)
    n, best = metrics["validation"]["n"], 100 * metrics["validation"]["cer_no_punctuation"]
    left.set_title(f"best at step {metrics['best_step']}: CER {best:.1f} % on {n} validation clips")
    return figure
