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
        ten_thousand_hours(result.get("zh-HK") or result["samples"]),
    ]
    return "\n".join(lines)


def _at_most(rows: dict[str, dict]) -> str:
    """The ratios of a pipeline that does nothing but decode."""
    rates = [row["clips_per_second"] for row in rows.values()]
    return " and ".join(f"{rate['decode'] / rate['reference']:.1f}×" for rate in rates)


def feature_steps(result: dict) -> str:
    """Where the time of a clip goes, and what quicker resamplers would save, from results/feature_steps.json."""
    names = {"samples": "samples (22 kHz)", "zh-HK": "Common Voice zh-HK (48 kHz)"}
    lines = ["| share of the time | ms a clip | decoding | resampling | log-Mel | Parquet | all else |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [_shares(name, result[key]["ms"]) for key, name in names.items() if key in result]
    found = result["zh-HK" if "zh-HK" in result else "samples"]
    lines += ["", "| resampler | ms a clip | log-Mel differs by, 99.9 % of values | at most |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {one['ms']:.2f} | {one['difference_99_9']:.4f} | {one['max_difference']:.4f} |"
        for name, one in found["resamplers"].items()
    ]
    machine = result["machine"]
    where = f"{machine['processor']}, one core, {machine['date']}"
    return "\n".join([*lines, "", f"({where}; {found['clips']} clips, medians of {result['passes']} passes.)"])


def _shares(name: str, ms: dict) -> str:
    whole = ms["compute"] + ms["write"]
    shares = [ms["decode"], ms["load"] - ms["decode"], ms["log-Mel"], ms["write"]]
    shares.append(whole - sum(shares))
    return f"| {name} | {whole:.1f} | " + " | ".join(f"{max(part / whole, 0):.0%}" for part in shares) + " |"


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


def align(result: dict) -> str:
    """What `features --align-with` keeps of long recordings, from results/align.json."""
    rows = {name: row for name, row in result.items() if name != "machine"}
    lines = [
        "| language | recordings | hours | kept | pieces | characters in the wrong piece | CER of whole clips' text |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {row['recordings']} | {row['hours']:.2f} | {row['kept_seconds_share']:.0%} | "
        f"{row['pieces']}, {row['mean_piece_s']:.1f} s each | {row['misplaced_share']:.2%} | "
        f"{row['cer_between_clips']:.2%} ({row['pieces_between_clips']} pieces) |"
        for name, row in rows.items()
    ]
    machine = result["machine"]
    mean_s = 3600 * sum(row["hours"] for row in rows.values()) / sum(row["recordings"] for row in rows.values())
    said = f"Common Voice clips joined to recordings of {mean_s:.0f} s on average, cut with the stock whisper-base"
    return "\n".join([*lines, "", f"({said}; {machine['processor']}, {machine['date']}.)"])
