"""The benchmark of fine-tuning: folds that share nothing, recipes that take their steps, figures that add up."""

import copy
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.real_cantonese.curve import Clock, KeepWeights
from benchmarks.real_cantonese.folds import N_FOLDS, assign_folds, joined, split_of
from benchmarks.real_cantonese.further import averaged_runs, made
from benchmarks.real_cantonese.recipes import RECIPES, averaged, edits_of, fit, interpolated, mean_of, mixed, replayed
from benchmarks.real_cantonese.tables import compared, difference, real_cantonese, real_cantonese_table
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.training.results.analysis import is_loop
from cantowhisper.training.results.scoring import transcribe_split
from cantowhisper.training.trainer import prepare_model

CLIPS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(CLIPS)
def test_folds_share_no_speaker_and_no_sentence(clips):
    speakers, texts = zip(*clips, strict=True)
    fold = assign_folds(speakers, texts)
    for values in (np.array(speakers), np.array(texts)):
        assert all(len(set(fold[values == value])) == 1 for value in set(values.tolist()))
    assert fold.shape == (len(clips),) and set(fold.tolist()) <= set(range(N_FOLDS))


def test_folds_are_even_where_speakers_have_a_few_clips_each():
    fold = assign_folds(np.repeat(np.arange(40), 3), np.arange(120))
    assert np.ptp(np.bincount(fold, minlength=N_FOLDS)) <= 3


def test_each_clip_is_tested_once_and_validated_once():
    speakers, texts = [i // 2 for i in range(30)], [f"sentence {i}" for i in range(30)]
    rows = datasets.Dataset.from_dict({"id": list(range(30)), "speaker": speakers, "text": texts})
    splits = [split_of(rows, fold) for fold in range(N_FOLDS)]
    for name in ("test", "validation"):
        assert sorted(int(i) for split in splits for i in split[name]["id"]) == list(range(30))
    turns = [split_of(rows, 1, turn=turn) for turn in range(N_FOLDS - 1)]
    assert {frozenset(turn["test"]["id"]) for turn in turns} == {frozenset(splits[1]["test"]["id"])}
    held_out = [splits[1]["test"], *(turn["validation"] for turn in turns)]
    assert sorted(int(i) for part in held_out for i in part["id"]) == list(range(30))
    for split in splits + turns:
        speakers = [set(map(int, split[name]["speaker"])) for name in ("train", "validation", "test")]
        assert sum(map(len, speakers)) == len(set.union(*speakers)) == 15


def test_clips_one_after_the_other_are_recordings_of_several_sentences(real_speech):
    release = next(real_speech.glob("common_voice_17_layout/*/zh-HK"))
    names = sorted(path.stem for path in (release / "clips").glob("*.mp3"))[:9]
    seconds = [load_audio(release / "clips" / f"{name}.mp3").size / SAMPLE_RATE for name in names]
    spoken = {"text": [f"句子{n}" for n in range(9)], "speaker": [f"s{n // 2}" for n in range(9)]}
    recordings = joined(real_speech, datasets.Dataset.from_dict({"id": names, "language": ["yue"] * 9, **spoken}))
    found = [name.split("+") for name in recordings["id"]]
    assert len(found) > 1 and all(len(parts) > 1 for parts in found)
    heard = [name for parts in found for name in parts]
    assert heard == [name for name in names if name in heard]
    for parts, recording in zip(found, recordings, strict=True):
        rows = [names.index(name) for name in parts]
        pauses = 0.6 * (len(rows) - 1)
        assert recording["duration_s"] == pytest.approx(sum(seconds[row] for row in rows) + pauses, abs=1e-3)
        assert recording["duration_s"] <= 14 and len(recording["features"]) == pytest.approx(
            100 * recording["duration_s"], abs=8
        )
        assert recording["text"] == "".join(f"句子{row}" for row in rows)
        assert recording["speaker"] == f"s{rows[0] // 2}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["usual", "ours", "by itself"])
def test_a_recipe_takes_its_steps_and_ends_with_its_best_weights(name, tmp_path):
    from training_data import small_split

    from cantowhisper.training.miniature import build_miniature

    rows = small_split().select(range(6)).with_format("numpy")
    splits = {"train": rows, "validation": rows.select([0, 1]).with_format("numpy")}
    config = (
        RECIPES[name]
        .config(tmp_path, 20)
        .with_overrides(max_steps=2, warmup_steps=0, evaluate_every_steps=1, save_every_steps=9, model="miniature")
    )
    model, processor = build_miniature(rows["text"], language="yue")
    keeper = fit(RECIPES[name], model, processor, config, splits, tmp_path, blends=True)
    curve = keeper.curve
    assert [point["step"] for point in curve] == [0, 1, 2]
    for seconds in ("train_s", "train_cpu_s"):
        assert 0 == curve[0][seconds] < curve[1][seconds] < curve[2][seconds]
    written = transcribe_split(model, processor, splits["validation"], config=config, context=RECIPES[name].context)
    best = keeper.best
    if not RECIPES[name].by_itself:
        assert best == min(curve, key=lambda point: (point["validation"][0] / point["validation"][1], point["step"]))
    assert np.sum(edits_of(written), axis=0).tolist() == best["validation"]
    mean = averaged(keeper)
    assert mean.keys() == model.state_dict().keys()
    for name_of, weights in mean.items():  # of steps 0, 1, 2 only the last is in the second half
        torch.testing.assert_close(weights, keeper.weights(2)[name_of])
    share = interpolated(RECIPES[name], model, processor, config, splits, keeper)
    stock, tuned = keeper.weights(0), keeper.weights(best["step"])
    for name_of, weights in model.state_dict().items():
        torch.testing.assert_close(weights, stock[name_of] + share * (tuned[name_of] - stock[name_of]))


@pytest.mark.slow
def test_replayed_clips_have_the_text_that_the_model_writes():
    from training_data import small_split

    rows = small_split().select(range(4)).with_format("numpy")
    config = RECIPES["replay"].config(Path("miniature"), 20)
    model, processor = prepare_model(config, rows["text"])
    own = replayed(model, processor, config, rows, n=2)
    written = transcribe_split(model, processor, rows.select([0, 2]), config=config, context="full")
    assert list(own["text"]) == [one.prediction for one in written if one.prediction and not is_loop(one)]
    both = mixed(rows, own, at_most=2)
    assert list(both["text"]) == [*rows["text"], *own["text"]] and both.column_names == rows.column_names


@pytest.mark.slow
def test_weights_of_several_runs_are_averaged(tmp_path):
    from training_data import small_split

    rows = small_split().select(range(6)).with_format("numpy")
    turns = [
        {"train": rows.select(train).with_format("numpy"), "validation": rows.select(chosen).with_format("numpy")}
        for train, chosen in (([2, 3, 4, 5], [0, 1]), ([0, 1, 2, 3], [4, 5]))
    ]
    recipe = RECIPES["four turns averaged"]
    config = recipe.config(tmp_path, 20).with_overrides(
        max_steps=2, warmup_steps=0, evaluate_every_steps=1, save_every_steps=9, model="miniature"
    )
    configs = [config, config.with_overrides(seed=21)]
    runs = []
    for one, splits in zip(configs, turns, strict=True):
        torch.manual_seed(one.seed)
        model, processor = prepare_model(one, turns[0]["train"]["text"])
        fit(recipe, model, processor, one, splits, made(tmp_path / f"alone_{one.seed}"))
        runs.append({name: weights.clone() for name, weights in model.state_dict().items()})
    torch.manual_seed(20)
    model, processor = prepare_model(config, turns[0]["train"]["text"])
    curve = averaged_runs(recipe, model, processor, configs, turns, tmp_path / "both")
    assert [point["step"] for point in curve] == [0, 1, 2, 0, 1, 2]
    assert curve[-1]["train_s"] > curve[2]["train_s"]  # the clock goes on
    for name, weights in mean_of(runs).items():
        torch.testing.assert_close(model.state_dict()[name], weights)


@pytest.mark.parametrize("every", [False, True])
def test_the_best_weights_are_kept_and_the_others_only_for_blends(tmp_path, every):
    clock, model = Clock(), torch.nn.Linear(1, 1)
    keeper = KeepWeights(tmp_path, clock, every=every)
    for step, edits in ((0, 5), (1, 3), (2, 4), (3, 3)):
        model.weight.data.fill_(step)
        keeper.add(step, [edits, 10], model)
    assert keeper.best["step"] == 1 and keeper.weights(1)["weight"].item() == 1
    as_train = KeepWeights(tmp_path, clock, n_clips=20)
    as_train.curve = keeper.curve
    assert as_train.best["step"] == 3  # of those near the lowest, the last
    assert {path.stem for path in tmp_path.iterdir()} == ({"0", "1", "2", "3"} if every else {"1"})


def row(recipe: str, fold: int, edits: int, *, speed: float = 1.0) -> dict:
    scores = {"ids": ["a", "b"], "speakers": [f"{fold}a", f"{fold}b"], "edits": [[edits, 10], [edits, 10]], "loops": 0}
    kinds = {kind: copy.deepcopy(scores) for kind in ("test_variable", "test_full", "mandarin", "english")}
    curve = [
        {"step": s, "train_s": s / speed, "train_cpu_s": 2 * s / speed, "validation": [max(edits, 9 - s), 10]}
        for s in range(0, 9, 2)
    ]
    trained = {"curve": curve, "peak_mib": 100, "train_minutes": 4.0, "options": {"seed": 20}}
    return {"recipe": recipe, "fold": fold, "seed": 20, **kinds, **(trained if recipe != "stock" else {})}


def test_figures_of_runs_that_are_known():
    rows = [row("stock", fold, 6) for fold in range(N_FOLDS)]
    rows += [row("usual", fold, 4) for fold in range(N_FOLDS)]
    assert compared(rows[: N_FOLDS - 1]) == {}  # not on all folds yet
    rows += [row("ours", fold, 3, speed=4) for fold in range(N_FOLDS)]
    found = compared(rows)
    assert (found["stock_cer"], found["tuned_cer"]) == (60.0, 30.0)
    assert found["ours_minus_usual_best_points"] == -10.0
    assert found["ours_minus_usual_interval"] == [-10.0, -10.0]  # all speakers alike
    assert found["contexts_apart_points"] == 0.0 and found["canary_loss_points"] == -30.0
    assert found["canary_loss_interval"] == [-30.0, -30.0]
    # The usual recipe is at 40 % after 6 steps, of a second each; the other takes a quarter of that for a step.
    assert found["time_to_usual_best_ratio"] == 4.0
    machine = {"cores": 2, "processor": "a", "date": "2026-01-01"}
    told = found | {"machine": machine, "steps": 8, "clips_a_step": 4}
    assert "60.0 % to **30.0 %**" in real_cantonese(told) and "**4.0 times sooner**" in real_cantonese_table(told)


def test_all_seeds_of_a_recipe_count():
    rows = [row("stock", fold, 6) for fold in range(N_FOLDS)]
    rows += [row("ours", fold, edits) | {"seed": seed} for fold in range(N_FOLDS) for seed, edits in ((20, 8), (21, 5))]
    found = compared(rows)
    assert found["tuned_cer"] == 65.0 and found["recipes"]["ours"]["minus_stock_interval"] == [5.0, 5.0]
    assert found["canary_loss_points"] == 5.0 and found["canary_loss_interval"] == [5.0, 5.0], "not the first seed's 20"


def test_the_best_recipe_on_validation_is_the_one_compared():
    rows = [row("stock", fold, 6) for fold in range(N_FOLDS)] + [row("usual", fold, 4) for fold in range(N_FOLDS)]
    rows += [row("ours", fold, 5, speed=4) for fold in range(N_FOLDS)]
    counted = [
        row("ours with sentences", fold, 3, speed=4) | {"language_model": {"n_sentences": 9444}}
        for fold in range(N_FOLDS)
    ]
    for one in counted:
        one["test_variable"]["edits"] = [[2, 10], [2, 10]]
    found = compared(rows + counted)
    assert found["best_recipe"] == "ours with sentences" and found["tuned_cer"] == 20.0
    assert found["ours_minus_usual_best_points"] == -20.0 and found["time_to_usual_best_ratio"] == 4.0
    told = found | {"machine": {"cores": 2, "processor": "a", "date": "2026-01-01"}, "steps": 8, "clips_a_step": 4}
    promise = real_cantonese(told)
    assert "to **50.0 %**" in promise and "9,444 further sentences it is **20.0 %**" in promise
    assert "this one, with a language model of further sentences, is there after" in real_cantonese_table(told)


def test_a_recipe_that_never_gets_as_low_is_said_not_to():
    rows = [row("stock", fold, 6) for fold in range(N_FOLDS)] + [row("usual", fold, 4) for fold in range(N_FOLDS)]
    found = compared(rows + [row("ours", fold, 5, speed=4) for fold in range(N_FOLDS)])
    assert "time_to_usual_best_ratio" not in found and found["ours_minus_usual_best_points"] == 10.0
    told = found | {"machine": {"cores": 2, "processor": "a", "date": "2026-01-01"}, "steps": 8, "clips_a_step": 4}
    assert "does not get there: 50.0 %" in real_cantonese_table(told)


def test_intervals_draw_speakers_and_not_clips():
    one = row("ours", 0, 0)
    one["test_full"] |= {"speakers": ["a"] * 25 + ["b"] * 25, "edits": [[1, 10]] * 25 + [[0, 10]] * 25}
    other = copy.deepcopy(one)
    other["test_full"]["edits"] = [[0, 10]] * 50
    assert difference({20: [one]}, "test_full", [other], "test_full") == [0.0, 10.0]  # of clips it would be 3 to 7
