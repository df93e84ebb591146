"""What the rows of a study say: a table of means and spreads, and a verdict on each variant."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from cantowhisper.files import write_aside, write_text
from cantowhisper.studies.plot import plot_study
from cantowhisper.training.results.tables import points

TABLE, PLOT = "table.md", "plot.png"
LOWERS, RAISES = "lowers it beyond the seeds' spread", "raises it beyond the seeds' spread"
NO_DIFFERENCE = "no difference beyond the seeds' spread"
ONE_SEED = "one seed shows no spread to compare with"


@dataclass(frozen=True)
class Outcome:
    """The runs of one variant, by seed: error rates from 0 on, seconds (only of runs that were not interrupted)."""

    name: str
    data: Mapping
    validation: tuple[float, ...]
    test: tuple[float, ...]
    seconds: tuple[float, ...]


def outcomes(results: Mapping) -> list[Outcome]:
    """Of each variant that has rows, in the study's order."""
    found = []
    for name in results["variants"]:
        rows = sorted((row for row in results["rows"] if row["variant"] == name), key=lambda row: row["seed"])
        if rows:
            rates = [tuple(row[split]["rate"] for row in rows) for split in ("validation", "test")]
            seconds = tuple(row["train_seconds"] for row in rows if row["train_seconds"] is not None)
            found.append(Outcome(name, rows[0]["data"], *rates, seconds))
    return found


def verdict(before: Sequence[float], after: Sequence[float]) -> str:
    """What error rates by seed say of a variant beside another: only ranges that lie apart are a difference.

    >>> verdict([0.30, 0.32], [0.27, 0.29])
    "lowers it beyond the seeds' spread"
    """
    if min(len(before), len(after)) < 2:
        return ONE_SEED
    if max(after) < min(before):
        return LOWERS
    return RAISES if min(after) > max(before) else NO_DIFFERENCE


def by_chance(n_before: int, n_after: int) -> float:
    """How often ranges of so many values each lie apart where there is no difference at all."""
    return min(1.0, 2 / math.comb(n_before + n_after, n_before))


def chosen(found: Sequence[Outcome]) -> Outcome:
    """The variant with the lowest mean error rate on validation; the test split chooses nothing."""
    return min(found, key=lambda one: fmean(one.validation))


def verdict_lines(results: Mapping) -> Iterator[str]:
    """A sentence on each variant beside the first one, on the choice by validation, and on what cleaning regains."""
    found = outcomes(results)
    if not found or found[0].name != results["variants"][0]:
        return
    metric, base = metric_of(results), found[0]
    for one in found[1:]:
        apart = points(100 * (fmean(one.test) - fmean(base.test)))
        yield f"{one.name}: {apart} points of test {metric} beside {base.name}: {verdict(base.test, one.test)}."
    best = chosen(found)
    yield f"Lowest on validation: {best.name}, with a test {metric} of {fmean(best.test):.1%}."
    yield from _regained_lines(found, metric)
    fewest = min(len(one.test) for one in found)
    if len(found) > 1 and fewest > 1:
        yield (
            f"By chance alone, ranges of {fewest} seeds lie apart in {by_chance(fewest, fewest):.0%} of comparisons. "
            "The spread is that of seeds: other test clips would move all variants."
        )


def regained(clean: Sequence[float], noisy: Sequence[float], cleaned: Sequence[float]) -> float | None:
    """The share of the error rate lost to wrong texts that cleaning wins back, by means; None where none was lost."""
    lost = fmean(noisy) - fmean(clean)
    return (fmean(noisy) - fmean(cleaned)) / lost if lost > 0 else None


def _regained_lines(found: Sequence[Outcome], metric: str) -> Iterator[str]:
    for one in found:
        noisy = [other for other in found if {**other.data, "cleaned": True} == one.data and "swapped" in other.data]
        clean = [other for other in found if not other.data]
        if noisy and clean:
            share = regained(clean[0].test, noisy[0].test, one.test)
            said = "lost nothing" if share is None else f"regained {share:.0%} of what it lost"
            rates = " → ".join(f"{fmean(each.test):.1%}" for each in (clean[0], noisy[0], one))
            yield f"Cleaning: test {metric} {rates}; with wrong texts dropped, it {said}."


def table_lines(results: Mapping) -> Iterator[str]:
    """A table in Markdown: of each variant mean and range over seeds."""
    metric = metric_of(results)
    yield f"| variant | seeds | validation {metric} | test {metric} | seconds of training |"
    yield "|---|---:|---:|---:|---:|"
    for one in outcomes(results):
        seconds = f"{fmean(one.seconds):.0f} ({min(one.seconds):.0f}–{max(one.seconds):.0f})" if one.seconds else "–"
        yield f"| {one.name} | {len(one.test)} | {_rates(one.validation)} | {_rates(one.test)} | {seconds} |"


def metric_of(results: Mapping) -> str:
    """ "CER", or "WER" for a language with spaces."""
    return results["rows"][0]["metric"][:3].upper()


def report_lines(results: Mapping, *, n_planned: int) -> Iterator[str]:
    """The table and all that it says."""
    rows, settings = results["rows"], results["settings"]
    yield results["asks"]
    yield ""
    model = Path(settings["model"]).name
    yield (
        f"{len(rows)} of {max(n_planned, len(rows))} runs; model {model}, {settings['max_steps']} steps of up to "
        f"{settings['batch_size']} clips where a variant says nothing else. Mean and range over seeds; error rates "
        f"without punctuation, n={rows[0]['validation']['n']} validation and {rows[0]['test']['n']} test clips."
    )
    yield ""
    yield from table_lines(results)
    yield ""
    yield from (f"- {line}" for line in verdict_lines(results))


def write_report(results: Mapping, out: Path, *, n_planned: int) -> None:
    """Write `table.md` and `plot.png`; both follow from the results alone."""
    text = "\n".join(report_lines(results, n_planned=n_planned))
    write_text(f"# {results['settings']['study']}\n\n{text}\n", out / TABLE)
    metric = metric_of(results)
    values = [(one.name, one.validation, one.test) for one in outcomes(results)]
    with write_aside(out / PLOT) as aside:
        plot_study(values, metric=metric).savefig(aside, format="png", dpi=120)


def row_line(row: Mapping) -> str:
    """A finished run in a line."""
    metric = row["metric"][:3].upper()
    seconds = "" if row["train_seconds"] is None else f", {row['train_seconds']:.0f} s of training"
    return f"validation {metric} {row['validation']['rate']:.1%}, test {metric} {row['test']['rate']:.1%}{seconds}"


def _rates(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1%}"
    return f"{fmean(values):.1%} ({min(values):.1%}–{max(values):.1%})"
