"""Write measured figures into the READMEs and docs/ from benchmarks/results: python -m benchmarks.readme [--check]

A page marks each place by `<!-- name:begin -->` and `<!-- name:end -->`, or `name.part`; what stands between is
rendered from results/name.json and from nothing else. --check exits with 1 where a page says something else.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.attack.attempts import attack
from benchmarks.canary.table import canary
from benchmarks.layouts import layouts
from benchmarks.real_cantonese.tables import real_cantonese, real_cantonese_chinese, real_cantonese_table
from benchmarks.tables_features import align, feature_steps, features
from benchmarks.tables_live import DELAYS, live_commit, live_load, live_real, live_real_tuned
from benchmarks.tables_real import (
    clean,
    cores,
    long_form,
    punctuation,
    short_inputs,
    short_inputs_chinese,
    short_inputs_table,
    speakers,
    where,
    words,
)
from cantowhisper.studies.table import report_lines
from cantowhisper.training.results.tables import score_table

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh-HK.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = Path(__file__).resolve().parent / "results"


def demo(result: dict) -> str:
    """The demo in a sentence or two, from results/demo.json."""
    before, rates = _before_and_range(result)
    return (
        f"**Demo:** trained from scratch in {result['minutes']:g} minutes on {cores(result['machine'])}, the "
        f"miniature Whisper has a character error rate (CER) of **{rates}** on sentences it has never heard ("
        f"{before['cer_no_punctuation']:.0%} before training; {len(result['seeds'])} seeds, n={before['n']}, synthetic "
        "voices)."
    )


def demo_chinese(result: dict) -> str:
    """The same in Chinese."""
    before, rates = _before_and_range(result)
    return (
        f"**示範**：在 {result['machine']['cores']} 個 CPU 核心上由零開始訓練 {result['minutes']:g} 分鐘，迷你 Whisper "
        f"在從未聽過的句子上，字元錯誤率（CER）是 **{rates}**（訓練前 {before['cer_no_punctuation']:.0%}；"
        f"{len(result['seeds'])} 個隨機種子，n={before['n']}，合成語音）。"
    )


def _before_and_range(result: dict) -> tuple[dict, str]:
    """The score of all clips before training, and the range after it over the seeds."""
    own = [one["cer"]["after"] for one in result["seeds"].values()]
    return result["scores"]["before"]["all"], f"{min(own):.1%}–{max(own):.1%}"


def demo_scores(result: dict) -> str:
    """What the demo prints, from results/demo.json."""
    return "\n".join(
        [
            "```",
            *score_table(result["scores"]).splitlines(),
            *(line for line in result["output"] if line.startswith("  ") or "(CER " in line),
            "```",
            "",
            f"({result['minutes']:g} minutes, {where(result['machine'])}.{_over_seeds(result.get('seeds', {}))})",
        ]
    )


def _over_seeds(seeds: dict) -> str:
    """Every whole run, where they differ in their seed alone."""
    if len(seeds) < 2:
        return ""
    names = ("after", "after, 30 s windows")
    own, full = (", ".join(f"{one['cer'][name]:.1%}" for one in seeds.values()) for name in names)
    return f" {len(seeds)} runs with different seeds reached {own} at natural length and {full} in 30 s windows."


def transcribe(result: dict) -> str:
    """Recognition beside other programs, from results/transcribe.json."""
    rows = [
        ("faster-whisper, a clip of 4 s at a time", result["short_clip_ratio"]),
        ("openai-whisper (float32), a clip of 4 s at a time", result.get("short_clip_ratio_openai")),
        (f"faster-whisper in batches, {result['long_form_minutes']:g} minutes with pauses", result["long_form_ratio"]),
    ]
    if real := result.get("real_short_clip_ratio"):
        rows.append((f"faster-whisper, {result['real_short_clips_n']} real clips, stock whisper-base", real))
    memory = ", ".join(f"{name} {mib:,.0f} MiB" for name, mib in result["peak_memory_mib"].items())
    lines = ["| times as fast as | median | range |", "|---|---|---|"]
    lines += [f"| {name} | **{r['median']:.1f}×** | {r['lowest']:.1f}–{r['highest']:.1f} |" for name, r in rows if r]
    lines += ["", f"(Shape of whisper-{result['shape']}, int8, {result['threads']} threads, as many tokens for each "]
    lines[-1] += f"program; {where(result['machine'])}. Peak memory: {memory}.)"
    if result.get("cer_difference_points") is not None:
        cer = result["cer"]
        lines[-1] = lines[-1].removesuffix(".)") + (
            f". CER of the demo model on {result['cer_n_recordings']} longer samples: {cer['cantowhisper']:.1%}, "
            f"through faster-whisper {cer['faster-whisper']:.1%}.)"
        )
    if real:
        cer, (low, high) = result["real_cer"], result["real_cer_difference_interval"]
        lines[-1] += (
            f" Real clips of {result['real_short_clips_mean_s']:.1f} s on average, guards on: CER "
            f"{cer['cantowhisper']:.1f} % here and {cer['faster-whisper']:.1f} %, difference "
            f"{result['real_cer_difference_points']:+.1f} points, {low:+.1f} to {high:+.1f}."
        )
    return "\n".join(lines)


def live(result: dict) -> str:
    """Live transcription beside LocalAgreement-2, from results/live.json."""
    names = {
        **DELAYS,
        "first_tentative_delay_p50_s": "from the start of speech to its first text, median",
        "end_of_speech_to_final_p50_s": "from the end of speech to its final text, median",
        "compute_s_per_audio_s": "computation per second of audio, one pass a second",
    }
    theirs = {**result["theirs"], "compute_s_per_audio_s": result["theirs_compute_s_per_audio_s"]}
    lines = ["| seconds | here | LocalAgreement-2 on faster-whisper |", "|---|---|---|"]
    lines += [f"| {text} | **{result[key]:.2f}** | {theirs[key]:.2f} |" for key, text in names.items()]
    low, high = result["compute_ratio_range"]
    lines += [
        "",
        f"({result['compute_ratio']:.1f} times less computation ({low:.1f}–{high:.1f}), shape of whisper-small, int8, "
        f"{result['threads']} threads, {len(result['clips'])} recordings; {where(result['machine'])}. One speaker "
        f"takes {result['one_speaker_share_of_the_machine']:.0%} of the machine. With three at once, 95 % of the "
        f"characters are final after {result['three_speakers_commit_delay_p95_s']:.1f} s. CER of the demo model live "
        f"and from the file: {result['cer_live']:.1%} and {result['cer_offline']:.1%}, {result['cer_recordings']} "
        "recordings. Random weights cannot recognise speech, so the text of each pass comes from the references, and "
        f"{result['sure_passes_share']:.0%} of the passes count as certain, as with the demo model.)",
    ]
    return "\n".join(lines)


TRAINING_HEAD = [
    "| shape | clips/s, usual | clips/s, here | | range | peak memory, usual → here |",
    "|---|---|---|---|---|---|",
]


def training(result: dict) -> str:
    """Training beside the usual recipe on a CPU, from results/training.json."""
    rows = result["cpu"]
    shares = next(iter(rows.values()))["window_shares"]
    told = f"(Clips of 4 s on average, {_windows(shares)}, fp32, {where(result['machine'])}.)"
    return "\n".join(
        [*TRAINING_HEAD, *(_training_row(f"whisper-{shape}", row) for shape, row in rows.items()), "", told]
    )


def training_gpu(result: dict) -> str:
    """The same on a GPU, from results/training_gpu.json."""
    found = dict(result["accelerator"])
    name, any_row = found.pop("name"), next(iter(found.values()))
    told = (
        f"(Clips of 4 s on average, {_windows(any_row['window_shares'])}, {any_row['precision']}, random weights, "
        f"{name}, {result['machine']['date']}.)"
    )
    return "\n".join([*TRAINING_HEAD, *(_training_row("whisper-small", row) for row in found.values()), "", told])


def _training_row(shape: str, row: dict) -> str:
    rate, peak, (low, high) = row["samples_per_second"], row["peak_mib"], row["samples_per_second_ratio_spread"]
    here, rounds = max(mib for name, mib in peak.items() if name != "reference"), len(row["rounds"])
    spread = f"{low:.1f}–{high:.1f}, {rounds} rounds" if rounds > 1 else "one round"
    return (
        f"| {shape}, {row['batch_size']} clips a step | {rate['reference']:.2f} | {rate['mixed']:.2f} | "
        f"**{row['samples_per_second_ratio']:.1f}×** | {spread} | "
        f"{peak['reference']:,} → {here:,} MiB |"
    )


def _windows(shares: dict[str, float]) -> str:
    kinds = {"full_context_share": "one clip in a 30 s window", "packed_share": "30 s windows of several clips"}
    return " and ".join(f"{share:.0%} of the steps with {kinds[name]}" for name, share in shares.items())


def real_speech_table(result: dict) -> str:
    """What training makes of a real encoder and real speech, from results/real_speech.json."""
    machine, variants = result["machine"], result["variants"]
    any_row = next(iter(variants.values()))["variable"]
    lines = [
        "| | error at clip length | in 30 s windows |",
        "|---|---|---|",
        *(f"| {name} | {_share(row['variable'])} | {_share(row['full'])} |" for name, row in variants.items()),
        "",
        f"(n={any_row['sequences']} sequences, {any_row['digits']} digits, {result['settings']['scored']}; in "
        f"brackets: 95 % bootstrap interval over sequences; {machine['processor']}, {machine['date']}, one seed.)",
    ]
    return "\n".join(lines)


def _share(row: dict) -> str:
    low, high = row["interval"]
    return f"{row['error']:.1%} ({low:.1%}–{high:.1%})"


def study(result: dict) -> str:
    """What a study has found, from results/study_NAME.json."""
    return "\n".join([*report_lines(result, n_planned=len(result["rows"])), "", f"({where(result['machine'])}.)"])


RENDERERS: dict[str, Callable[[dict], str]] = {
    "demo": demo,
    "demo.chinese": demo_chinese,
    "demo.scores": demo_scores,
    "attack": attack,
    "canary": canary,
    "align": align,
    "features": features,
    "feature_steps": feature_steps,
    "layouts": layouts,
    "transcribe": transcribe,
    "live": live,
    "live_commit": live_commit,
    "live_load": live_load,
    "live_real": live_real,
    "live_real_alignatt": live_real,
    "live_real_tuned": live_real_tuned,
    "live_commit_tuned": live_commit,
    "study_noise": study,
    "study_growing_batch": study,
    "training": training,
    "training_gpu": training_gpu,
    "clean": clean,
    "words": words,
    "punctuation": punctuation,
    "short_inputs": short_inputs,
    "short_inputs.chinese": short_inputs_chinese,
    "short_inputs.table": short_inputs_table,
    "long_form": long_form,
    "speakers": speakers,
    "real_cantonese": real_cantonese,
    "real_cantonese.chinese": real_cantonese_chinese,
    "real_cantonese.table": real_cantonese_table,
    "real_speech.table": real_speech_table,
}


def render(text: str) -> str:
    """A page's text with every marked place rendered anew."""

    def place(match: re.Match) -> str:
        name = match[1]
        path = RESULTS / f"{name.partition('.')[0]}.json"
        if not path.is_file():
            return f"<!-- {name}:begin -->\n<!-- {name}:end -->"  # not measured: no figure is shown
        shown = RENDERERS[name](json.loads(path.read_text(encoding="utf-8")))
        return f"<!-- {name}:begin -->\n{shown}\n<!-- {name}:end -->"

    return re.sub(r"<!-- ([\w.]+):begin -->\n.*?<!-- \1:end -->", place, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        rendered = render(text)
        if check and rendered != text:
            sys.exit(f"{page.name} differs from benchmarks/results; run python -m benchmarks.readme")
        page.write_text(rendered, encoding="utf-8")


if __name__ == "__main__":
    main()
