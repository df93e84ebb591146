"""`cantowhisper study`: variants that are what their names say, runs that go on, verdicts that follow from the rows."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import small_features, temporary_folder
from training_runs import ALIKE_S

from cantowhisper.cli.main import main
from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.curation.subset import FeatureFolder, write_changed
from cantowhisper.features.plan import sentence_key
from cantowhisper.studies.run import run
from cantowhisper.studies.splits import part, swapped, write_features
from cantowhisper.studies.study import run_study
from cantowhisper.studies.table import (
    LOWERS,
    NO_DIFFERENCE,
    ONE_SEED,
    RAISES,
    by_chance,
    regained,
    report_lines,
    verdict,
    verdict_lines,
    write_report,
)
from cantowhisper.studies.variants import COUNTED, STUDIES, DataChange, lasting, settled
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.load import load_split
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.schedules import read_accumulation, step_sizes

TINY = PRESETS["demo"].with_overrides(
    max_steps=2,
    batch_size=4,
    full_context_batch_size=1,
    full_context_share=0.0,
    warmup_steps=1,
    evaluate_every_steps=2,
    save_every_steps=2,
    log_every_steps=1,
    validation_clips=1,
)
RATES = st.lists(st.floats(0, 1), min_size=2, max_size=5)


# --------------------------------------------------------------------------------------------------- going on


def test_a_study_that_is_stopped_goes_on_with_what_is_missing(tmp_path, capsys):
    jobs = []

    def stopped_before(n):
        def execute(job):
            if len(jobs) == n:
                raise KeyboardInterrupt
            jobs.append(Path(job.folder).name)
            return run(job)

        return execute

    out = tmp_path / "out"
    study = lambda execute, **more: run_study(
        "size", small_features(ALIKE_S), out, **{"config": TINY, "n_seeds": 1, "execute": execute, **more}
    )
    with pytest.raises(KeyboardInterrupt):
        study(stopped_before(1))
    (first,) = json.loads((out / "results.json").read_text())["rows"]
    assert jobs == ["0-20"] and not (out / "runs" / "0-20").exists() and not (out / "table.md").exists()
    results = study(stopped_before(2))
    assert jobs == ["0-20", "1-20"] and results["rows"][0] == first
    assert [row["variant"] for row in results["rows"]] == ["miniature", "miniature, 2 layers of 64"]
    small = results["rows"][1]
    assert small["data"] == {"miniature": {"width": 64, "layers": 2}} and small["clips"] == 24 and small["steps"] == 2
    assert small["parameters"] < first["parameters"] and small["train_seconds"] > 0 and small["test"]["n"] == 4
    assert sorted(path.name for path in out.iterdir()) == ["plot.png", "results.json", "table.md"]
    assert study(stopped_before(2))["rows"] == results["rows"]  # nothing is left to run
    said = capsys.readouterr().out
    assert "2/2 miniature, 2 layers of 64, seed 20\n" in said and "  validation CER 1" in said
    with pytest.raises(CantowhisperError, match="was made with max_steps 2 instead of 3: choose another folder"):
        study(stopped_before(2), config=TINY.with_overrides(max_steps=3))
    (out / "results.json").write_text('{"rows": [')
    with pytest.raises(CantowhisperError, match="is not readable as a study's results"):
        study(stopped_before(2))


def test_the_model_that_was_asked_for_cleans(tmp_path):
    judges = []

    def until_cleaning(job):
        if job.judge:
            judges.append(job.judge)
            raise KeyboardInterrupt
        return run(job)

    with pytest.raises(KeyboardInterrupt):
        features, other = small_features(ALIKE_S), "openai/whisper-base"
        run_study("noise", features, tmp_path / "out", config=TINY, n_seeds=1, other=other, execute=until_cleaning)
    assert judges == ["openai/whisper-base"]


def test_what_is_no_study_is_one_line(tmp_path, capsys):
    features = str(small_features())
    (tmp_path / "notes.txt").write_text("mine")
    out = str(tmp_path / "out")
    refused = [
        (["luck", features, out], 2, "there is no study 'luck'; choose one of learning-rate, "),
        (["languages", features, out], 2, "this study needs --other, features of that language"),
        (["amount", features, out, "--other", features], 2, "this study takes no --other"),
        (["size", features, out, "--model", "openai/whisper-base"], 2, "this study needs --other, another model"),
        (["amount", features, features], 1, "exists and is no study; choose another folder"),
        (["amount", features, str(tmp_path)], 1, "exists and is no study; choose another folder"),
        (["amount", str(tmp_path), out], 1, "is no finished feature dataset"),
        (["amount", features, out, "--set", "hub_checkpoints=a/b"], 2, "takes neither accumulation_schedule nor hub_"),
        (["amount", features, out, "--preset", "cup"], 2, "there is no preset 'cup'"),
    ]
    for words, code, message in refused:
        assert main(["study", *words]) == code, words
        said = capsys.readouterr().err.splitlines()[-1]  # above it may be the bar of `datasets`
        assert said.startswith("cantowhisper: ") and message in said, said
    assert not Path(out).exists()


def test_the_list_says_what_each_study_asks(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["study", "--list"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and all(f"  {name} " in said and one.asks in said for name, one in STUDIES.items())


# ------------------------------------------------------------------------------------------------------ variants


def shortened(steps: int) -> TrainConfig:
    """What `study --steps` makes of the preset for the miniature."""
    return PRESETS["demo"].with_overrides(**dict.fromkeys(COUNTED), max_steps=steps)


@pytest.mark.parametrize("name", STUDIES)
def test_variants_are_options_that_train_takes(name):
    config = settled(shortened(400), 850)
    study = STUDIES[name]
    variants = study.planned(config, "other" if study.other_is_needed else None)
    assert len({one.name for one in variants}) == len(variants) > 1
    for one in variants:
        changed = config.with_overrides(**one.options)
        assert changed.save_every_steps == changed.evaluate_every_steps <= changed.max_steps


def test_variants_hear_as_many_clips():
    config = settled(shortened(400), 850)
    for one in STUDIES["learning-rate"].planned(config, None):
        changed = config.with_overrides(**one.options)
        assert changed.batch_size * changed.max_steps == 16 * 400
        assert changed.warmup_steps / changed.max_steps == pytest.approx(config.warmup_steps / 400)
    for one in STUDIES["growing-batch"].planned(config, None):
        changed = config.with_overrides(**one.options)
        stages = read_accumulation(changed.accumulation_schedule or "1@0")
        assert sum(step_sizes(stages, changed.max_steps)) == 400


def test_what_is_left_to_the_data_becomes_numbers():
    config = settled(PRESETS["cpu"].with_overrides(epochs=6.0), 60)
    assert (config.batch_size, config.max_steps, config.warmup_steps, config.evaluate_every_steps) == (4, 90, 9, 23)
    assert settled(config, 60) == config
    assert lasting(config, 45) == {
        "max_steps": 45,
        "warmup_steps": 4,
        "evaluate_every_steps": 12,
        "save_every_steps": 12,
        "log_every_steps": 2,
    }
    with pytest.raises(UsageError, match="learning_rate=2e-3"):
        fresh = PRESETS["demo"].with_overrides(learning_rate=0.0)
        STUDIES["learning-rate"].planned(settled(fresh, 60), None)


# ---------------------------------------------------------------------------------------------------------- data


@given(n=st.integers(1, 300), seed=st.integers(0, 99), share=st.floats(0.01, 1), larger=st.floats(0.01, 1))
def test_amounts_nest(n, seed, share, larger):
    share, larger = sorted((share, larger))
    few, many = part(n, share, seed), part(n, larger, seed)
    assert set(few) <= set(many) and few == sorted(set(few)) and len(few) == max(1, round(share * n))
    assert part(n, 1.0, seed) == list(range(n))


def test_amounts_are_drawn_by_seed():
    assert part(100, 0.1, 1) == part(100, 0.1, 1) != part(100, 0.1, 2)


@given(
    sentences=st.lists(st.sampled_from("食飲行走坐企瞓醒講聽讀寫"), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_exactly_the_share_of_texts_is_swapped_and_none_is_the_same_sentence(sentences, share, seed):
    texts = [text + "。" * (row % 2) for row, text in enumerate(sentences)]
    wanted = round(share * len(texts))
    try:
        found = swapped(texts, share, seed)
    except UsageError:
        # Only where there is no way, or one sentence is half of what was drawn.
        assert wanted < 2 or max(map(sentences.count, sentences)) * 2 > wanted
        return
    wrong = [row for row, text in enumerate(texts) if sentence_key(found[row]) != sentence_key(text)]
    assert len(wrong) == wanted and sorted(found) == sorted(texts)
    assert all(found[row] == texts[row] for row in set(range(len(texts))) - set(wrong))


def test_a_changed_dataset_has_the_clips_that_it_should(tmp_path):
    own = {split: load_split(small_features(), split) for split in ("train", "validation", "test")}
    write_features(str(small_features()), tmp_path / "part", DataChange(share=0.25), seed=3)
    assert load_split(tmp_path / "part", "train")["id"] == [own["train"]["id"][row] for row in part(24, 0.25, 3)]
    write_features(str(small_features()), tmp_path / "noise", DataChange(swapped=0.3), seed=3)
    noisy = load_split(tmp_path / "noise", "train")
    assert noisy["id"] == own["train"]["id"] and noisy["text"] == swapped(own["train"]["text"], 0.3, 3)
    for split in ("validation", "test"):
        assert load_split(tmp_path / "noise", split)["text"] == own[split]["text"]
    written = (tmp_path / "noise" / "stats.json").stat().st_mtime_ns
    write_features(str(small_features()), tmp_path / "noise", DataChange(swapped=0.3), seed=3)
    assert (tmp_path / "noise" / "stats.json").stat().st_mtime_ns == written


@pytest.fixture(scope="module")
def german() -> Path:
    """The small dataset's training clips as ten of another language; the first two say what an own clip says."""
    origin, folder = FeatureFolder(small_features()), temporary_folder() / "de"
    train = origin.split("train").select(range(10))
    columns = {
        "id": [f"de-{row}" for row in range(10)],
        "speaker": [f"other-{row % 3}" for row in range(10)],
        "text": [*train["text"][:2], *(f"Satz {row}" for row in range(8))],
        "language": ["de"] * 10,
    }
    for name, values in columns.items():
        train = train.remove_columns(name).add_column(name, values)
    empty = train.select([])
    write_changed(origin, folder, {"train": train, "validation": empty, "test": empty}, identity={}, notes=[])
    return folder


def test_clips_of_another_language_are_mixed_in_but_none_that_says_the_same(german, tmp_path):
    for ratio, expected in ((1 / 3, 8), (1.0, 8), (0.25, 6)):
        out = tmp_path / f"{ratio}"
        write_features(str(small_features()), out, DataChange(mixed=ratio), seed=1, other=str(german))
        rows = load_split(out, "train")
        added = [text for text, language in zip(rows["text"], rows["language"], strict=True) if language == "de"]
        assert len(rows) == 24 + expected and len(added) == expected
        assert all(text.startswith("Satz") for text in added)
    with pytest.raises(UsageError, match="has no training clip that"):
        same = str(small_features())
        write_features(same, tmp_path / "same", DataChange(mixed=1.0), seed=1, other=same)


# ------------------------------------------------------------------------------------------------------ verdicts


@given(before=RATES, after=RATES)
def test_a_verdict_needs_ranges_that_lie_apart(before, after):
    found = verdict(before, after)
    assert (found == LOWERS) == all(x < y for x in after for y in before)
    assert (found == RAISES) == all(x > y for x in after for y in before)
    assert verdict(after, before) == {LOWERS: RAISES, RAISES: LOWERS}.get(found, NO_DIFFERENCE)
    assert verdict(before, before) == NO_DIFFERENCE
    assert verdict(before[:1], after) == verdict(before, after[:1]) == ONE_SEED


@given(clean=RATES, lost=st.floats(0.01, 0.5), share=st.floats(0, 1))
@settings(max_examples=50)
def test_what_cleaning_regains_is_a_share_of_what_was_lost(clean, lost, share):
    noisy = [rate + lost for rate in clean]
    cleaned = [rate + lost * (1 - share) for rate in clean]
    assert regained(clean, noisy, cleaned) == pytest.approx(share, abs=1e-6)
    assert regained(noisy, clean, clean) is None


def test_ranges_lie_apart_by_chance_as_often_as_is_said():
    assert by_chance(3, 3) == pytest.approx(0.1) and by_chance(2, 2) == pytest.approx(1 / 3)


def made_up_results() -> dict:
    """The noise study by hand: nothing, 30 % swapped, cleaned again."""
    runs = {
        "as they are": ({}, [0.30, 0.32, 0.31], [10.0, 12.0, None]),
        "swapped": ({"swapped": 0.3}, [0.50, 0.54, 0.52], [9.0, 9.0, 9.0]),
        "cleaned": ({"swapped": 0.3, "cleaned": True}, [0.35, 0.34, 0.33], [9.0, 9.0, 9.0]),
        "not run": ({}, [], []),
    }
    rows = [
        {
            "variant": name,
            "seed": 22 - n,  # rows are in the order in which they ended
            "data": data,
            "metric": "cer_no_punctuation",
            "validation": {"rate": rate + 0.01, "n": 100},
            "test": {"rate": rate, "n": 90},
            "train_seconds": second,
        }
        for name, (data, rates, seconds) in runs.items()
        for n, (rate, second) in enumerate(zip(rates, seconds, strict=True))
    ]
    chosen = {"study": "noise", "model": "openai/whisper-base", "max_steps": 48, "batch_size": 4}
    return {"asks": "What does noise cost?", "variants": list(runs), "settings": chosen, "rows": rows}


def test_the_table_follows_from_the_rows(tmp_path):
    results = made_up_results()
    lines = list(report_lines(results, n_planned=12))
    assert lines[2].startswith("9 of 12 runs; model whisper-base, 48 steps of up to 4 clips")
    assert "n=100 validation and 90 test clips" in lines[2]
    assert lines[6:9] == [
        "| as they are | 3 | 32.0% (31.0%–33.0%) | 31.0% (30.0%–32.0%) | 11 (10–12) |",
        "| swapped | 3 | 53.0% (51.0%–55.0%) | 52.0% (50.0%–54.0%) | 9 (9–9) |",
        "| cleaned | 3 | 35.0% (34.0%–36.0%) | 34.0% (33.0%–35.0%) | 9 (9–9) |",
    ]
    assert list(verdict_lines(results))[:4] == [
        f"swapped: +21.0 points of test CER beside as they are: {RAISES}.",
        f"cleaned: +3.0 points of test CER beside as they are: {RAISES}.",
        "Lowest on validation: as they are, with a test CER of 31.0%.",
        "Cleaning: test CER 31.0% → 52.0% → 34.0%; with wrong texts dropped, it regained 86% of what it lost.",
    ]
    write_report(results, tmp_path, n_planned=12)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == "# noise\n\n" + "\n".join(lines) + "\n"
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_choice_is_made_on_validation():
    results = made_up_results()
    for row in results["rows"]:
        if row["variant"] == "swapped":
            row["validation"]["rate"] = 0.2
    assert "Lowest on validation: swapped, with a test CER of 52.0%." in list(verdict_lines(results))


# --------------------------------------------------------------------------------------------- real processes


def command(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "cantowhisper.cli", "study", *words], text=True, stderr=subprocess.PIPE
    )


def options(**changes) -> list[str]:
    short = {"batch_size": 4, "validation_clips": 2, "full_context_share": 0.0, **changes}
    return [word for key, value in short.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.slow
def test_a_killed_study_takes_its_run_along_and_goes_on(tmp_path):
    words = ["noise", str(small_features()), str(tmp_path / "out"), "--seeds", "1", "--steps", "4", *options()]
    begun = command(*words)
    job = tmp_path / "out" / "runs" / "1-20" / "job.json"
    deadline = time.monotonic() + 300
    while not job.exists():
        assert begun.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    begun.kill()
    begun.wait()
    while running(job):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["rows"]) == 1
    again = command(*words)
    _, said = again.communicate(timeout=600)
    # Weights that have learned nothing cannot clean; what was done before stays.
    assert again.returncode == 1 and "does not know the language" in said.splitlines()[-1]
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [row["variant"] for row in rows] == ["texts as they are", "10% of texts swapped", "30% of texts swapped"]
    assert (tmp_path / "out" / "runs" / "2-20" / "model" / "metrics.json").exists()  # the judge is kept


def running(job: Path) -> bool:
    """Whether a process has this file among its arguments."""
    found = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    return any(str(job) in line for line in found.splitlines())


@pytest.mark.slow
def test_a_study_that_ctrl_c_stopped_goes_on_from_the_checkpoint_to_its_end(tmp_path):
    out = tmp_path / "out"
    changes = options(save_every_steps=200, evaluate_every_steps=200)
    words = ["size", str(small_features()), str(out), "--seeds", "1", "--steps", "60", *changes]
    begun = command(*words)
    log = out / "runs" / "0-20" / "log.txt"
    deadline = time.monotonic() + 300
    while not (log.exists() and "to go: until" in log.read_text()):  # said after ten steps
        assert begun.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(begun.pid, signal.SIGINT)
    _, said = begun.communicate(timeout=120)
    assert begun.returncode == 1 and said.splitlines()[-1] == "stopped; the same command resumes from here"
    (checkpoint,) = (log.parent / "model" / "checkpoints").glob("checkpoint-*")
    assert 10 < int(checkpoint.name.removeprefix("checkpoint-")) < 60
    again = command(*words)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    rows = json.loads((out / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["steps"], row["train_seconds"] is None) for row in rows] == [(60, True), (60, False)]
    assert rows[0]["parameters"] > 2 * rows[1]["parameters"] and all(row["peak_mib"] > 100 for row in rows)
    assert sorted(path.name for path in out.iterdir()) == ["plot.png", "results.json", "table.md"]
