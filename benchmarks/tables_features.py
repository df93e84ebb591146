"""The table of the feature pipeline, from results/features.json."""


def features(result: dict) -> str:
    """The feature pipeline beside the usual recipe, and what a large corpus takes, from results/features.json."""
    rows = {"samples (22 kHz)": result["samples"], "Common Voice zh-HK (48 kHz)": result.get("zh-HK")}
    rows = {name: row for name, row in rows.items() if row}
    machine, two = result["machine"], result.get("workers")
    lines = [
        "| one worker each | clips | clips/s, usual | clips/s, here | | smaller | of decoding alone | peak memory |",
        "|---|---|---|---|---|---|---|---|",
        *(_features_row(name, row) for name, row in rows.items()),
        "",
        f"({machine['cores']} CPU cores, {machine['processor']}, {machine['date']}; median of "
        f"{result['samples']['rounds']} alternating rounds. Padded again, features differ from WhisperFeatureExtractor "
        f"by {max(row['max_restore_error']['before_storage'] for row in rows.values()):.1e}, and by "
        f"{max(row['max_restore_error']['after_storage'] for row in rows.values()):.1e} as stored."
        + (f" Two workers: {_two_workers(two)}" if two else "")
        + f" If all but decoding and resampling cost nothing, the ratios would be {_at_most(rows)}.)",
        "",
        *(line for name, row in rows.items() if "steps" in row for line in (_steps(name, row), "")),
        *(line for row in [rows.get("Common Voice zh-HK (48 kHz)", {})] if "steps" in row for line in _resamplers(row)),
        ten_thousand_hours(result.get("zh-HK") or result["samples"]),
    ]
    return "\n".join(lines)


def _at_most(rows: dict[str, dict]) -> str:
    """The ratios of a pipeline that does nothing but decode."""
    rates = [row["clips_per_second"] for row in rows.values()]
    return " and ".join(f"{rate['decode'] / rate['reference']:.1f}×" for rate in rates)


def _steps(name: str, row: dict) -> str:
    """Where the time of a clip goes."""
    ms = row["steps"]["ms"]
    whole = ms["compute"] + ms["write"]
    shares = {"decoding": ms["decode"], "resampling": ms["load"] - ms["decode"]}
    shares |= {"log-Mel": ms["log-Mel"], "Parquet": ms["write"]}
    shares["all else"] = whole - sum(shares.values())
    said = ", ".join(f"{step} {max(value / whole, 0):.0%}" for step, value in shares.items())
    return f"Where the time goes, {name}, {whole:.1f} ms a clip: {said}."


def _resamplers(row: dict) -> list[str]:
    """What quicker resamplers would save, and how far their values are away."""
    found = row["steps"]["resamplers"]
    lines = [
        f"| {name} | {one['ms']:.2f} | {one['difference_99_9']:.3f} | {one['max_difference']:.3f} |"
        for name, one in list(found.items())[1:]
    ]
    usual, one = next(iter(found.items()))
    head = f"| 48 → 16 kHz ({usual}: {one['ms']:.2f} ms a clip) | ms a clip | log-Mel differs by, 99.9 % | at most |"
    return [head, "|---|---|---|---|", *lines, ""]


def _two_workers(row: dict) -> str:
    low, high = row["spread"]["workers_ratio"]
    return f"{row['workers_ratio']:.2f} times one ({low:.2f}–{high:.2f}, {row['rounds']} rounds)."


def _features_row(name: str, row: dict) -> str:
    rate, peak = row["clips_per_second"], row["peak_mb"]
    return (
        f"| {name} | {row['clips']:,} | {rate['reference']:.0f} | {rate['ours']:.0f} | "
        f"**{row['clips_per_second_ratio']:.1f}×** | **{row['bytes_ratio']:.0f}×** | "
        f"{row['share_of_decode_limit']:.0%} | {peak['ours']:.0f} MB (usual: {peak['reference']:.0f}) |"
    )


def ten_thousand_hours(row: dict, *, hours: float = 10_000, workers: tuple[int, ...] = (8, 32)) -> str:
    """What a corpus takes at the measured speed and size of one worker, all files being written by one process."""
    n_clips = hours * row["clips"] / row["hours"]
    gigabytes = n_clips * row["bytes_per_clip"]["ours"] / 1e9
    one = n_clips / row["clips_per_second"]["ours"] / 3600
    least = n_clips / row["writer_clips_per_second"] / 3600
    times = ", ".join(f"{max(one / n, least):.1f} h with {n} workers" for n in workers)
    return (
        f"Worked out from that, {hours:,.0f} hours ({n_clips / 1e6:.1f} million clips) take {one:.0f} core-hours and "
        f"{gigabytes:,.0f} GB: {times} (one process writes all files, {row['writer_clips_per_second']:,} clips/s at "
        "most). Calculated, not run: what the network of a cluster takes comes on top."
    )
