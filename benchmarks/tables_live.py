"""What pages say of live text with real weights; benchmarks.readme puts it there."""

from benchmarks.tables_real import where

# What figures of live text are called in tables.
DELAYS = {
    "commit_delay_p50_s": "from a character's end to its final text, median",
    "commit_delay_p95_s": "… 95th percentile",
}
LIVE = {"live": "here", "streaming": "whisper_streaming's policy", "alignatt": "SimulStreaming's AlignAtt"}


def live_real(result: dict, *, model: str = "stock whisper-base") -> str:
    """Live text of the real weights beside other policies and the file, from results/live_real.json."""
    programs = [name for name in LIVE if f"{name}_cer" in result]
    rows = [("CER", "{}_cer", "%"), *((text, f"{{}}_{key}", "s") for key, text in DELAYS.items())]
    rows.append(("computation per second of audio", "{}_compute_s_per_audio_s", "s"))
    lines = [f"| | {' | '.join(LIVE[name] for name in programs)} |", "|---" * (1 + len(programs)) + "|"]
    for text, key, unit in rows:
        keys = [key.format("real" if name == "live" and "delay" in key else name) for name in programs]
        lines.append(f"| {text} | {' | '.join(f'{result[each]:.2f} {unit}' for each in keys)} |")
    low, high = result["real_live_minus_file_interval"]
    lines += [
        "",
        f"({result['n_recordings']} recordings, {result['minutes']:g} minutes; {model}, int8, "
        f"{result['threads']} threads, greedy. CER minus the file's ({result['file_cer']:.1f} %): {low:+.1f} to "
        f"{high:+.1f} points. {_beside(result, 'streaming')}{_beside(result, 'alignatt')}Of the faint characters, "
        f"{result['revision_rate']:.0%} were written otherwise by a later pass; {where(result['machine'])}.)",
    ]
    return "\n".join(lines)


def _beside(result: dict, peer: str) -> str:
    """How live text compares with another program's, where that was run."""
    if f"{peer}_cer" not in result:
        return ""
    low, high = result[f"real_live_minus_{peer}_interval"]
    ratio = result["real_compute_ratio" if peer == "streaming" else f"{peer}_compute_ratio"]
    more = f" (whisperlivekit {result['alignatt_version']}, its decoder float32)" if peer == "alignatt" else ""
    return f"{LIVE[peer]}{more}: CER here minus its own {low:+.1f} to {high:+.1f}, {ratio:.1f} times the computation. "


def live_real_tuned(result: dict) -> str:
    """The same with a model that was tuned on real clips, from results/live_real_tuned.json."""
    return live_real(result, model="tuned whisper-base")


def live_commit(result: dict) -> str:
    """Rules by which live text becomes final, from results/live_commit.json."""
    lines = [
        "| | CER | minus agreement's, points | median delay | 95th percentile | computation per second of audio |",
        "|---|---|---|---|---|---|",
    ]
    for rule, row in result["rules"].items():
        low, high = row["cer_minus_agreement_interval"]
        lines.append(
            f"| {rule} | {row['cer']:.1f} % | {'–' if rule == 'agreement' else f'{low:+.1f} to {high:+.1f}'} | "
            f"{row['commit_delay_p50_s']:.2f} s | {row['commit_delay_p95_s']:.2f} s | "
            f"{row['compute_s_per_audio_s']:.2f} s |"
        )
    one = result["rules"]["agreement"]
    lines += [
        "",
        f"({one['n_recordings']} recordings, {one['characters']} characters; a pass every {result['step_s']:g} s. "
        "Delays are from a character's end to its final text; differences are 95 % intervals; computation is CPU time "
        f"of one thread; {where(result['machine'])}.)",
    ]
    return "\n".join(lines)


def live_load(result: dict) -> str:
    """Many speakers at once and a long session, from results/live_load.json."""
    lines = ["| speakers at once | characters | median delay | 95th percentile |", "|---|---|---|---|"]
    lines += [
        f"| {number} | {row['characters']} | {row['p50_s']:.2f} s | **{row['p95_s']:.2f} s** |"
        for number, row in result["speakers"].items()
    ]
    session = result["long_session"]
    first, last = session["parts"][0], session["parts"][-1]
    memory = session["memory_growth_mb_second_half"]
    lines += [
        "",
        f"(Stock whisper-base, {result['threads']} threads; each speaker has a recording of their own, and all begin "
        f"together.) A session of {session['hours']:g} hours with the {result['long_session_model']} model: "
        f"{session['samples_lost']} samples lost; in its last {last['from_s'] - session['parts'][-2]['from_s']:.0f} "
        f"seconds as in its first, text is final after {last['p95_s']:.2f} s (95 %; {first['p95_s']:.2f} s at first) "
        f"and takes {1000 * last['compute_s_per_audio_s']:.0f} ms of computation per second of audio "
        f"({1000 * first['compute_s_per_audio_s']:.0f}); memory grew by {memory:.1f} MB in the second half. "
        f"{where(result['machine'])}.",
    ]
    return "\n".join(lines)
