"""What pages say of measurements with real weights and real clips; benchmarks.readme puts it there."""


def where(machine: dict) -> str:
    return f"{cores(machine)}, {machine['processor']}, {machine['date']}"


def cores(machine: dict) -> str:
    """How many a measurement had.

    >>> cores({"cores": 1}), cores({"cores": 2})
    ('1 CPU core', '2 CPU cores')
    """
    return f"{machine['cores']} CPU core{'s' * (machine['cores'] > 1)}"


PLANTED = {
    "swapped": "another clip's text",
    "appended": "another sentence appended",
    "end_cut": "second half missing",
    "start_cut": "first half missing",
}


def clean(result: dict) -> str:
    """Wrong texts found and right ones dropped, from results/clean.json."""
    halves = result["halves"]
    names = {"chosen": "first half", "reported": "second half"}
    lines = ["| dropped | " + " | ".join(names[half] for half in halves) + " |", "|---|" + "---|" * len(halves)]
    alarms = " | ".join(_hits(half["false_alarms"]) for half in halves.values())
    lines.append(f"| right texts (false alarms) | {alarms} |")
    for kind, words in PLANTED.items():
        lines.append(f"| {words} | " + " | ".join(_hits(half["found"][kind]) for half in halves.values()) + " |")
    clips = " and ".join(f"{half['clips']} clips of {half['speakers']} speakers" for half in halves.values())
    labels = result["pseudo_labels"]["at_least"]
    least = result["pseudo_labels"]["default"]
    sure = labels[f"{least:g}"]
    lines += [
        "",
        f"({clips}; in brackets the exact binomial 95 % interval; {where(result['machine'])}.)",
        "",
        f"Pseudo-labels of the same clips, by the same model: CER {labels['0']['cer']:.1%} of all with a text, and "
        f"{sure['cer']:.1%} of the {sure['kept']:.0%} with a confidence of {least:g} or more.",
    ]
    return "\n".join(lines)


def _hits(row: dict) -> str:
    low, high = row["interval"]
    return f"**{row['share']:.0%}** ({row['hits']} of {row['n']}; {low:.0%}–{high:.0%})"


def short_inputs(result: dict) -> str:
    """Merged silence beside 30 s windows in a sentence, from results/short_inputs.json."""
    rates = {name: _corpus_rate(result, name) for name in ("full", "merged")}
    low, high = result["encoder_time_ratio_range"]
    return (
        f"**Any Whisper at clip length:** the encoder of stock whisper-base takes a clip of 4 seconds "
        f"**{result['encoder_time_ratio']:.1f} times faster** ({low:.1f}–{high:.1f}) than a 30 s window, at a CER of "
        f"{rates['merged']:.1%} against {rates['full']:.1%} (300 Cantonese and Mandarin clips, no training)."
    )


def short_inputs_chinese(result: dict) -> str:
    """The same in Chinese."""
    rates = {name: _corpus_rate(result, name) for name in ("full", "merged")}
    return (
        f"**任何 Whisper，片段多長就計多長**：未經微調的 whisper-base 處理 4 秒片段，編碼器比一貫的 30 秒窗口快 "
        f"**{result['encoder_time_ratio']:.1f} 倍**，300 段 Common Voice 粵語和國語錄音的字元錯誤率是 "
        f"{rates['merged']:.1%}，用 30 秒窗口則為 {rates['full']:.1%}，無須任何訓練。"
    )


def short_inputs_table(result: dict) -> str:
    """Every way to hear short clips, from results/short_inputs.json."""
    names = {
        "full": "30 s window",
        "plain_64": "silence cut off, 64 positions kept",
        "plain_128": "silence cut off, 128 kept",
        "plain_256": "silence cut off, 256 kept",
        "merged": "**silence merged**",
        "adapted": "adapted, silence merged",
        "adapted_wide": "adapted, merged as for a stock model",
        "adapted_full": "adapted, 30 s window",
    }
    sets = ("zh-HK", "zh-CN", "zh-TW")
    lines = [
        "| stock whisper-base | positions | " + " | ".join(sets) + " | second tries |",
        "|---|---|---|---|---|---|",
    ]
    for name, text in names.items():
        if name not in result["columns"]:
            continue
        rows = result["columns"][name]["sets"]
        positions = sum(rows[one]["positions"] for one in sets) / len(sets)
        rates = " | ".join(f"{rows[one]['cer']:.1%}{_from_full(result, name, one)}" for one in sets)
        tries = sum(rows[one]["second_tries"] for one in sets)
        lines.append(f"| {text} | {positions:,.0f} | {rates} | {tries} |")
    ratio, (low, high) = result["encoder_time_ratio"], result["encoder_time_ratio_range"]
    return "\n".join(
        [
            *lines,
            "",
            "(CER of 100 Common Voice clips a set, greedy, int8, all guards on; in brackets the difference from 30 s "
            f"in points with its paired 95 % interval. Encoder time for 4 s of sound: {ratio:.1f} times less merged "
            f"than at 30 s, {low:.1f}–{high:.1f} over 15 turns. Margin and groups were chosen on English and Japanese "
            f"clips, and the adaptation heard English, Japanese and German ones. {where(result['machine'])}.)",
        ]
    )


def _corpus_rate(result: dict, name: str) -> float:
    edits = [e for each, row in result["columns"][name]["sets"].items() if each != "en" for e in row["edits"]]
    return sum(e for e, _ in edits) / sum(n for _, n in edits)


def _from_full(result: dict, name: str, language: str) -> str:
    if name == "full":
        return ""
    row = result[f"{name}_minus_full"][language]
    low, high = row["interval"]
    return f" ({row['points']:+.1f}; {low:+.1f} to {high:+.1f})"


def long_form(result: dict) -> str:
    """Recordings of several sentences beside faster-whisper, from results/long_form.json."""
    lines = ["| | recordings | CER, faster-whisper | CER, here |", "|---|---|---|---|"]
    names = {"zh-HK": "Cantonese", "zh-CN": "Mandarin"}
    for name, row in result["cer_of_sets"].items():
        lines.append(f"| {names[name]} | {row['n']} | {row['faster-whisper']:.1f} % | {row['cantowhisper']:.1f} % |")
    low, high = result["cer_minus_faster_whisper_interval"]
    lines.append(
        f"| all | {result['n_recordings']} | {result['cer']['faster-whisper']:.1f} % | "
        f"**{result['cer']['cantowhisper']:.1f} %** |"
    )
    quarter, three_quarters = result["cpu_ratio_quartiles"]
    lines += [
        "",
        f"(Stock whisper-base, int8, greedy; faster-whisper with its voice activity detection. Difference "
        f"{result['cer_minus_faster_whisper_points']:+.1f} points, {low:+.1f} to {high:+.1f}. CPU time: "
        f"**{result['cpu_ratio']:.1f} times less** here, {quarter:.1f}–{three_quarters:.1f} for the middle half of the "
        f"recordings; {where(result['machine'])}.)",
        *([_tuned_long_form(result["tuned"])] if "tuned" in result else []),
    ]
    return "\n".join(lines)


def speakers(result: dict) -> str:
    """Who speaks, from results/speakers.json."""
    names = {
        "zh-HK long forms": "Cantonese, one speaker or six",
        "zh-CN in table order": "Mandarin, five clips as they come",
        "zh-HK conversations": "Cantonese, three take turns",
        "zh-CN conversations": "Mandarin, three take turns",
    }
    lines = [
        "| | recordings | rows right | speakers found | CER | cpCER | … of one speaker |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in (*result["sets"].items(), ("all", result["all"])):
        right = f"{row['rows_right']:.0%} of {row['rows']}"
        lines.append(
            f"| {names.get(name, name)} | {row['n']} | **{right}** | {row['found']} of {row['speakers']} | "
            f"{row['cer']:.1f} % | {row['cpcer']:.1f} % | {row['cpcer_of_one_speaker']:.1f} % |"
        )
    low, high = result["all"]["cpcer_minus_cer_interval"]
    known = result["all"]["rows_right_with_number"]
    lines += [
        "",
        f"(Stock whisper-base; clips joined with 0.6 s of silence, {result['minutes']:g} minutes. A row is right by "
        f"the best one-to-one mapping of numbers to speakers; where their number is given, {known:.1%} of the "
        f"pieces are. CER is without speakers, and {result['all']['cer_with_speakers']:.1f} % with; cpCER minus CER "
        f"{low:+.1f} to {high:+.1f} points. Telling speakers apart takes **{result['cpu_s_a_second']:.2f} s** of one "
        f"core for a second of sound; {where(result['machine'])}.)",
    ]
    return "\n".join(lines)


def _tuned_long_form(row: dict) -> str:
    low, high = row["cer_minus_faster_whisper_interval"]
    sets = ", ".join(
        f"{name} ({one['n']}) {one['cantowhisper']:.1f} % here and {one['faster-whisper']:.1f} %"
        for name, one in row["cer_of_sets"].items()
    )
    return (
        f"whisper-base tuned with 54 zh-HK clips of other speakers, on the {row['n_recordings']} recordings that it "
        f"did not hear: CER {sets} through faster-whisper; difference "
        f"{row['cer_minus_faster_whisper_points']:+.1f} points, {low:+.1f} to {high:+.1f}, CPU time "
        f"{row['cpu_ratio']:.1f} times less."
    )


def words(result: dict) -> str:
    """A list of words beside none, from results/words.json."""
    lines = [
        "| clips | listed words said | missed without a list | missed with it | CER of the rest, without | with |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in (*result["sets"].items(), ("all", result)):
        missed = (
            f"{rate:.0f} % ({n})" for rate, n in zip(row["listed_term_error"], row["listed_term_errors"], strict=True)
        )
        rest = (f"{rate:.1f} %" for rate in row["other_text"])
        lines.append(f"| {name} | {row['places']} | {' | '.join((*missed, *rest))} |")
    low, high = (f"{100 * end:+.0f}" for end in result["listed_term_error_change_interval"])
    least, most = result["other_text_interval"]
    quickest, slowest = result["time_ratio_range"]
    before, after = result["listed_but_not_said"]
    forced = result["terms_in_noise_taken_for_speech"]
    lines += [
        "",
        f"(Stock whisper-base, {result['clips']} Common Voice clips; {len(result['listed'])} words of their sentences "
        f"and {len(result['distractors'])} others in one list. Missed words: "
        f"**{100 * result['listed_term_error_change']:+.0f} %** of what they were ({low} to {high} %); the rest: "
        f"**{result['other_text_points']:+.2f} points** ({least:+.2f} to {most:+.2f}). Listed words that nobody said: "
        f"{before} without the list, {after} with it. CPU time: **{result['time_ratio']:.2f} times** that without "
        f"a list ({quickest:.2f}–{slowest:.2f} in {result['rounds']} rounds), {result['time_ratio_recordings']:.2f} "
        f"for recordings of several sentences. Listed words in {result['noise_minutes']:g} minutes of noise: "
        f"**{result['terms_in_noise']}**, and {forced[1]} where noise is taken for speech "
        f"({forced[0]} without a list). {where(result['machine'])}.)",
    ]
    return "\n".join(lines)


def punctuation(result: dict) -> str:
    """Marks from pauses and from the stock model, from results/punctuation.json."""
    names = {"zh-HK": "Cantonese", "zh-CN": "Mandarin", "zh-TW": "Mandarin of Taiwan"}
    sources = {"pauses": "pauses", "cantowhisper": "whisper-base", "faster-whisper": "whisper-base, faster-whisper"}
    lines = [
        "| sentences | marks from | any mark | commas | full stops | inside of sentences |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["sets"].items():
        for source in filter(row.get, sources):
            cells = (_found(row[source][kind]) for kind in ("any", "comma", "stop", "inside"))
            lines.append(f"| {names[name]} ({row['n_sentences']}) | {sources[source]} | {' | '.join(cells)} |")
    lines += [
        "",
        f"(Precision / recall, and the number of true marks. Pauses of {result['comma_s']:g} s are commas and of "
        f"{result['stop_s']:g} s full stops, as chosen on Japanese clips; {where(result['machine'])}.)",
    ]
    return "\n".join(lines)


def _found(rate: dict) -> str:
    shares = ("–" if rate[name] is None else f"{rate[name]:.0%}" for name in ("precision", "recall"))
    return f"{' / '.join(shares)} ({rate['true']})"
