"""What rows of runs say: error rates over all folds, differences with intervals over speakers, and their tables."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.tables_real import where
from cantowhisper.speech.metric import bootstrap_interval

STOCK, USUAL, OURS = "stock", "usual", "ours"
AVERAGED, INTERPOLATED = "averaged", "interpolated"  # weights of OURS
WITH_SENTENCES = " with sentences"  # after the name of a recipe whose weights it has
NAMES = {
    STOCK: "stock whisper-base",
    USUAL: "the usual recipe (padded to 30 s)",
    OURS: "**this project**",
    AVERAGED: "its later checkpoints averaged",
    INTERPOLATED: "interpolated with the stock model",
    OURS + WITH_SENTENCES: "with a language model of further sentences",
    "by itself": "`train --preset cpu` with nothing else set (ten epochs)",
    "all the way": "… with `halfway=false`",
    "all the way, single clips": "… and without packed windows and times",
    "packed windows": "and a fifth of the steps in packed windows",
    "times": "and times in a fifth of the labels",
    "48 groups": "48 groups of silence instead of 160",
    "1.5e-5": "learning rate 1.5e-5 instead of 1e-5",
    "all four": "packed windows, times, 48 groups, learning rate 1.5e-5",
    "96 steps, varied": "twice the steps, with clips varied in speed, formants and spectrum, and masked",
    "lora": "LoRA, rank 32",
    "frozen encoder": "frozen encoder",
    "with Mandarin": "as many Mandarin clips mixed in",
    "with Mandarin, 96 steps": "as many Mandarin clips mixed in, twice the steps",
    "with Mandarin, 96 steps with sentences": "twice the steps with Mandarin, and that language model",
    "replay": "20 Mandarin clips with the stock model's own text",
    "three seeds averaged": "weights of three seeds averaged",
    "four turns averaged": "weights of four runs averaged, each validated on another fold",
    "pseudo-labels": "with 70 to 75 further clips that the tuned model labelled",
}
N_FOLDS = 5


def compared(rows: Sequence[Mapping]) -> dict:
    """Figures of everything that has been run on all five folds; {} before that."""
    whole = {}
    for name, seed in sorted({(row["recipe"], row["seed"]) for row in rows}):
        chosen = [row for row in rows if (row["recipe"], row["seed"]) == (name, seed)]
        if len(chosen) == N_FOLDS:
            whole.setdefault(name, {})[seed] = sorted(chosen, key=lambda row: row["fold"])
    if STOCK not in whole:
        return {}
    (stock,) = whole[STOCK].values()
    found: dict = {"recipes": {name: _recipe(seeds, stock) for name, seeds in whole.items()}}
    found["stock_cer"] = found["recipes"][STOCK]["cer"]["test_full"]
    if OURS in whole:
        found["best_recipe"] = best = _best_on_validation(found["recipes"])
        cer, before = (found["recipes"][name]["cer"] for name in (best, STOCK))
        found |= {
            "tuned_cer": cer["test_variable"],
            "contexts_apart_points": round(abs(cer["test_variable"] - cer["test_full"]), 2),
            "canary_loss_points": round(max(cer[kind] - before[kind] for kind in ("mandarin", "english")), 2),
            "canary_loss_interval": difference(whole[best], "mandarin", stock, "mandarin"),
        }
    if OURS in whole and USUAL in whole:
        (usual,) = whole[USUAL].values()
        found |= _against(usual, best, whole[best], found["recipes"])
    return found


def _best_on_validation(recipes: Mapping) -> str:
    """The recipe of this project with the lowest error rate on validation clips: nobody looks at test clips for it."""
    lowest = {
        name: min(point["cer"] for point in row["curve"])
        for name, row in recipes.items()
        if name not in (STOCK, USUAL) and "curve" in row
    }
    return min(lowest, key=lambda name: lowest[name])


def _recipe(seeds: Mapping, stock: Sequence[Mapping]) -> dict:
    """Mean over seeds of the corpus error rates in percent, and the difference from stock."""
    first = next(iter(seeds.values()))
    kinds = [kind for kind in ("test_variable", "test_full", "joined", "mandarin", "english") if kind in first[0]]
    each = [{kind: 100 * rate(pooled(rows, kind)) for kind in kinds if kind in rows[0]} for rows in seeds.values()]
    row = {
        "seeds": len(seeds),
        "cer": {kind: round(float(np.mean([one[kind] for one in each if kind in one])), 2) for kind in kinds},
        "cer_of_seeds": [round(one["test_variable"], 2) for one in each],
        "loops": {kind: sum(one[kind]["loops"] for one in first) for kind in kinds},
        "n": len(pooled(first, "test_variable")),
        "minus_stock_interval": difference(seeds, "test_variable", stock, "test_full"),
    }
    if "curve" in first[0]:
        row |= {
            "curve": pooled_curve(first),
            "train_cpu_s": round(float(np.mean([one["curve"][-1]["train_cpu_s"] for one in first])), 1),
            "peak_mib": max(one["peak_mib"] for one in first),
            "train_minutes": round(float(np.mean([one["train_minutes"] for one in first])), 1),
            "options": {k: v for k, v in first[0]["options"].items() if k != "seed"},
        }
    if counted := first[0].get("language_model"):
        row["n_sentences"] = counted["n_sentences"]
    return row


def _against(usual: Sequence[Mapping], name: str, ours: Mapping, recipes: Mapping) -> dict:
    """The recipe of this project that is best on validation, beside the usual one."""
    theirs, mine = recipes[USUAL]["curve"], recipes[name]["curve"]
    best = min(theirs, key=lambda one: (one["cer"], one["step"]))
    reached = next((one for one in mine if one["cer"] <= best["cer"] and one["step"]), None)
    own_best = min(mine, key=lambda one: (one["cer"], one["step"]))
    found = {
        "usual_best": best,
        "ours_best": own_best,
        "ours_reaches_it": reached,
        "ours_minus_usual_best_points": round(
            recipes[name]["cer"]["test_variable"] - recipes[USUAL]["cer"]["test_full"], 2
        ),
        "ours_minus_usual_interval": difference(ours, "test_variable", usual, "test_full"),
    }
    if reached and best["step"]:
        found["time_to_usual_best_ratio"] = round(best["train_cpu_s"] / reached["train_cpu_s"], 2)
    return found


def pooled(rows: Sequence[Mapping], kind: str) -> np.ndarray:
    """Edits and characters of every clip of all folds, int64 (n_clips, 2)."""
    return np.array([edits for row in rows for edits in row[kind]["edits"]])


def rate(edits: np.ndarray) -> float:
    return float(edits[:, 0].sum() / edits[:, 1].sum())


def pooled_curve(rows: Sequence[Mapping]) -> list[dict]:
    """Validation CER in percent over all folds, at each step that was validated, and the mean seconds until then."""
    curve = []
    for points in zip(*(row["curve"] for row in rows), strict=True):
        edits, characters = np.sum([point["validation"] for point in points], axis=0)
        mean = {n: round(float(np.mean([one[n] for one in points])), 1) for n in ("train_s", "train_cpu_s")}
        cer = round(float(100 * edits / characters), 2)
        curve.append({"step": points[0]["step"], **mean, "cer": cer})
    return curve


def difference(seeds: Mapping, kind: str, others: Sequence[Mapping], other_kind: str) -> list[float]:
    """95 % interval, in points, of the difference between two corpus error rates on the same clips, over speakers.

    A speaker is drawn with what the models of all seeds have written; the others are of one seed.
    """
    pairs = [pair for rows in seeds.values() for pair in zip(rows, others, strict=True) if kind in pair[0]]
    speakers = [speaker for row, _ in pairs for speaker in row[kind]["speakers"]]
    mine, theirs = pooled([row for row, _ in pairs], kind), pooled([row for _, row in pairs], other_kind)
    interval = bootstrap_interval(mine[:, 0] - theirs[:, 0], mine[:, 1], speakers)
    return [round(100 * bound, 2) for bound in interval]


def real_cantonese(result: Mapping) -> str:
    """The promise in a sentence or two, from results/real_cantonese.json."""
    ours = result["recipes"][OURS]
    low, high = ours["minus_stock_interval"]
    text = (
        f"**Real Cantonese:** tuned on {ours['train_minutes']:.0f} minutes of Common Voice zh-HK, whisper-base goes "
        f"from a CER of {result['stock_cer']:.1f} % to **{ours['cer']['test_variable']:.1f} %** on speakers it has "
        f"never heard (n={ours['n']}, {_seeds(ours, '{n} seeds: {least:.1f}–{most:.1f} %, ')}"
        f"difference {low:+.1f} to {high:+.1f} points, {ours['train_cpu_s'] / 60:.0f} CPU-minutes of training)."
    )
    if counted := result["recipes"].get(OURS + WITH_SENTENCES):
        text += (
            f" With a [language model](docs/training.md#sentences-without-recordings) of {counted['n_sentences']:,} "
            f"further sentences it is **{counted['cer']['test_variable']:.1f} %** (seeds: {counted['seeds']})."
        )
    if "ours_minus_usual_best_points" in result:
        usual = result["recipes"][USUAL]
        rate, minutes = usual["cer"]["test_full"], usual["train_cpu_s"] / 60
        text += f" The usual recipe, with all clips padded to 30 s, reaches {rate:.1f} % after {minutes:.0f}."
    return text


def real_cantonese_chinese(result: Mapping) -> str:
    """The same in Chinese."""
    ours = result["recipes"][OURS]
    low, high = ours["minus_stock_interval"]
    text = (
        f"**真實粵語**：用約 {ours['train_minutes']:.0f} 分鐘 Common Voice zh-HK 錄音微調 whisper-base，"
        f"在從未聽過的講者上，字元錯誤率由 {result['stock_cer']:.1f}% 降至 **{ours['cer']['test_variable']:.1f}%**"
        f"（n={ours['n']}，{_seeds(ours, '{n} 個隨機種子：{least:.1f}–{most:.1f}%，')}"
        f"相差 {low:+.1f} 至 {high:+.1f} 個百分點，訓練用了 {ours['train_cpu_s'] / 60:.0f} 分鐘 CPU 時間）。"
    )
    if counted := result["recipes"].get(OURS + WITH_SENTENCES):
        text += (
            f"加上由另外 {counted['n_sentences']:,} 句文字（沒有錄音）統計而成的"
            "[語言模型](docs/training.md#sentences-without-recordings)，"
            f"降至 **{counted['cer']['test_variable']:.1f}%**（隨機種子：{counted['seeds']}）。"
        )
    if "ours_minus_usual_best_points" in result:
        usual = result["recipes"][USUAL]
        minutes = usual["train_cpu_s"] / 60
        text += f"慣常做法（全部補到 30 秒）用 {minutes:.0f} 分鐘，得 {usual['cer']['test_full']:.1f}%。"
    return text


def _called(result: Mapping) -> str:
    """The best recipe, within a sentence."""
    return "this one" if result["best_recipe"] == OURS else f"this one, {NAMES[result['best_recipe']]},"


def _seeds(row: Mapping, form: str) -> str:
    """The range over seeds in those words, where there are several."""
    rates = row["cer_of_seeds"]
    return form.format(n=len(rates), least=min(rates), most=max(rates)) if len(rates) > 1 else ""


def real_cantonese_table(result: Mapping) -> str:
    """Recipe beside recipe, from results/real_cantonese.json."""
    lines = [
        "| | CER at own length | at 30 s | minus stock, 95 % interval | Mandarin | English | CPU-minutes | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, text in NAMES.items():
        if name not in result["recipes"]:
            continue
        row = result["recipes"][name]
        cer, (low, high) = row["cer"], row["minus_stock_interval"]
        spread = f" ({min(row['cer_of_seeds']):.1f}–{max(row['cer_of_seeds']):.1f})" if row["seeds"] > 1 else ""
        cost = f"{row['train_cpu_s'] / 60:.1f} | {row['peak_mib']:,} MiB" if "train_cpu_s" in row else "– | –"
        change = "–" if name == STOCK else f"{low:+.1f} to {high:+.1f}"
        lines.append(
            f"| {text} | {cer['test_variable']:.1f} %{spread} | {cer['test_full']:.1f} % | {change} | "
            f"{_percent(cer.get('mandarin'))} | {cer['english']:.1f} % | {cost} |"
        )
    lines += ["", _notes(result)]
    return "\n".join(lines)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f} %"


def _notes(result: Mapping) -> str:
    ours = result["recipes"][OURS]
    told = (
        f"(n={ours['n']} clips, each tested once, by a model that heard neither its speaker nor its sentence; "
        f"{result['steps']} steps of {result['clips_a_step']} clips, checkpoint chosen on a fourth fold; greedy, "
        "without guards, and with a language model by beam search with five beginnings; 100 Mandarin clips, each "
        "scored once, too, in simplified characters. In brackets the range over seeds; intervals are of all of them. "
        "The stock model, and the usual recipe where it was run, are compared in the 30 s windows that they were "
        "trained on. CPU-minutes are of training alone, all "
        f"cores together. {where(result['machine'])}.)"
    )
    if "time_to_usual_best_ratio" in result:
        best, own = result["usual_best"], result["ours_reaches_it"]
        minutes = [one["train_cpu_s"] / 60 for one in (best, own)]
        told += (
            f" On validation the usual recipe is at its best ({best['cer']:.1f} %) after {minutes[0]:.1f} CPU-minutes, "
            f"and {_called(result)} is there after {minutes[1]:.1f}: "
            f"**{result['time_to_usual_best_ratio']:.1f} times sooner**."
        )
    elif "usual_best" in result:
        best, own = result["usual_best"], result["ours_best"]
        told += (
            f" On validation the usual recipe is at its best ({best['cer']:.1f} %) after "
            f"{best['train_cpu_s'] / 60:.1f} CPU-minutes. This project's best does not get there: {own['cer']:.1f} %, "
            f"after {own['train_cpu_s'] / 60:.1f}."
        )
    return told
