"""Scores as people read them: the table of `cantowhisper score`, and sentences that the model card has, too."""

from collections.abc import Iterator, Mapping

from cantowhisper.speech.language import language_name
from cantowhisper.training.results.analysis import drawn_over


def report_lines(report: Mapping) -> Iterator[str]:
    """All that `cantowhisper score` prints of a report of report.score_folder."""
    for context, rows in report["scores"].items():
        row = rows["all"]
        views = ", ".join(f"{view} {row['cer_' + view]:.2%}" for view in ("raw", "no_punctuation", "simplified"))
        yield f"{report['split']} CER at {context} context (n={row['n']}): {views}"
    columns = {f"before, {context} context": rows for context, rows in report.get("before", {}).items()}
    yield score_table(columns | {f"{context} context": rows for context, rows in report["scores"].items()})
    if difference := report.get("difference"):
        yield from difference_lines(difference)
    yield from group_lines(report["groups"])
    if others := report.get("elsewhere"):
        yield "Elsewhere, before → after (CER, no punctuation):"
        yield from (f"  {elsewhere_line(other)}" for other in others)
    yield speed_line(report["speed"])
    mistakes = (f"{said or '∅'}→{written or '∅'} {times}×" for said, written, times in report["confusions"][:10])
    yield f"most frequent mistakes: {', '.join(mistakes) or 'none'}"


def score_table(columns: Mapping[str, Mapping[str, Mapping]]) -> str:
    """A plain table of summaries {column: {group: scores}}: CER without punctuation and its 95 % interval."""
    groups = list(next(iter(columns.values())))
    lines = ["CER, no punctuation".ljust(22) + "n".rjust(6) + "".join(name.rjust(24) for name in columns)]
    for group in [*groups[1:], groups[0]]:
        n = next(iter(columns.values()))[group]["n"]
        lines.append(group.ljust(22) + str(n).rjust(6) + "".join(_cell(c[group]).rjust(24) for c in columns.values()))
    if all("wer_no_punctuation" in column["all"] for column in columns.values()):
        cells = "".join(_cell(column["all"], "wer").rjust(24) for column in columns.values())
        lines.append("WER, no punctuation".ljust(28) + cells)
    if all("wer_whisper" in column["all"] for column in columns.values()):
        cells = "".join(_cell(column["all"], "wer", "whisper").rjust(24) for column in columns.values())
        lines.append("WER, Whisper's normaliser".ljust(28) + cells)
    for name, label in (("loops", "loops"), ("empty_outputs", "empty outputs")):
        counts = "".join(str(column["all"][name]).rjust(24) for column in columns.values())
        lines.append(label.ljust(28) + counts)
    first = next(iter(columns.values()))
    lines.append(f"in brackets: 95 % bootstrap interval over {drawn_over(first['all'])}")
    if first["all"].get("speakers") and (single := [name for name in groups if not first[name].get("speakers")]):
        lines[-1] += f", over clips for {', '.join(single)}"
    return "\n".join(lines)


def _cell(row: Mapping, short: str = "cer", view: str = "no_punctuation") -> str:
    low, high = row[f"{short}_{view}_interval"]
    return f"{row[f'{short}_{view}']:.1%} ({low:.1%}–{high:.1%})"


def difference_lines(difference: Mapping) -> Iterator[str]:
    """A paired difference (see analysis.paired_difference) in a sentence, and a second one where it may be none."""
    low, high = difference["interval"]
    ends = f"{points(low)} to {points(high)}"
    yield (
        f"after − before at {difference['context']} context: {points(difference['points'])} points of CER, {ends} "
        f"(n={difference['n']}; 95 % bootstrap interval of the paired difference over {drawn_over(difference)})."
    )
    if low <= 0 <= high:
        yield "The interval includes 0: these clips do not show which of the two models is better."


def points(value: float) -> str:
    """Percentage points with their sign: −12.7."""
    return f"{value:+.1f}".replace("-", "−")


def group_lines(groups: Mapping[str, Mapping[str, Mapping]]) -> Iterator[str]:
    """A line for each group of analysis.measure_groups."""
    for trait, rows in groups.items():
        for name, row in rows.items():
            yield (
                f"{trait}, {name}".ljust(22) + str(row["n"]).rjust(6) + f"{_cell(row).rjust(24)} over {drawn_over(row)}"
            )


def elsewhere_line(other: Mapping) -> str:
    """A canary (see report.score_folder) in a line: CER before → after, and the paired difference."""
    difference, view = other["difference"], other.get("view", "no_punctuation")
    low, high = difference["interval"]
    characters = ", in simplified characters" if view == "simplified" else ""
    language = language_name(other["language"]) if other["language"] else "unknown language"
    return (
        f"{other['source']} ({language}, {other['split']}, n={difference['n']}{characters}): "
        f"{other['before'][f'cer_{view}']:.1%} → {other['after'][f'cer_{view}']:.1%}, "
        f"{points(difference['points'])} points ({points(low)} to {points(high)} over {drawn_over(difference)})"
    )


def speed_line(speed: Mapping) -> str:
    """Seconds of sound a second at each context, and on what."""
    rates = ", ".join(f"{rate:.1f} at {context} context" for context, rate in speed["sound_seconds_a_second"].items())
    threads = f", {speed['threads']} threads" if speed.get("threads") else ""
    return f"Speed, in seconds of sound a second: {rates} (PyTorch, greedy, in batches; {speed['device']}{threads})"
