"""Batches: what the model is given, and in which order."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import made_up_rows, small_split, tiny_whisper
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.limits import too_many_tokens
from cantowhisper.speech.context import MAX_DECODER_TOKENS, stack
from cantowhisper.speech.mel import N_FRAMES, n_frames, pad_to
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import IGNORED, Collator, FeatureRows, check_mels
from cantowhisper.training.data.sampling import BucketBatchSampler, Key, clip_context, frame_counts
from cantowhisper.training.miniature import build_miniature
from cantowhisper.training.model import set_language

TEXTS = ["你好呀我哋今日去邊度食飯", "唔該畀碗雲吞麵我呀多謝", "電話係二三四五六七八九"]
CONFIG = TrainConfig(batch_size=8, max_batch_frames=6000, packed_share=0.0, timestamps_share=0.0)


@functools.cache
def miniature():
    return build_miniature(TEXTS)


def real(weights):
    tokenizer = WhisperTokenizer.from_pretrained(weights / "whisper_tokenizer")
    model = tiny_whisper(tokenizer)
    set_language(model, tokenizer, "yue")
    return model, WhisperProcessor(WhisperFeatureExtractor(), tokenizer)


@pytest.fixture(scope="module", params=["miniature", "real"])
def model_and_processor(request):
    """The miniature, and a tiny model with the tokenizer of the published Whispers."""
    return miniature() if request.param == "miniature" else real(request.getfixturevalue("real_weights"))


def collator(model, processor, config=CONFIG) -> Collator:
    return Collator(processor, config, start_token_id=model.config.decoder_start_token_id)


# ------------------------------------------------------------------------------------------------------ collator


def test_the_start_token_occurs_once_and_the_end_token_last(model_and_processor):
    model, processor = model_and_processor
    tokenizer = processor.tokenizer
    start, end = model.config.decoder_start_token_id, tokenizer.eos_token_id
    rows = made_up_rows([100, 200, 300])
    for row, text in zip(rows, ["好", "唔該畀碗雲吞麵我呀多謝", "English, 食飯！😀"], strict=True):
        row["text"] = text
    batch = collator(model, processor)(rows)
    for labels, inputs, row in zip(batch["labels"].tolist(), batch["decoder_input_ids"].tolist(), rows, strict=True):
        said = [i for i in labels if i != IGNORED]
        assert labels == said + [IGNORED] * (len(labels) - len(said))
        assert start not in said and said.count(end) == 1 and said[-1] == end
        assert inputs.count(start) == 1 and inputs[0] == start
        assert inputs[1 : len(said)] == said[:-1] and set(inputs[len(said) :]) <= {end}
        assert tokenizer.convert_ids_to_tokens(said[:3]) == ["<|zh|>", "<|transcribe|>", "<|notimestamps|>"]
        assert tokenizer.decode(said, skip_special_tokens=True) == row["text"]


def test_decoder_inputs_are_those_that_the_model_makes_of_the_labels(model_and_processor):
    from transformers.models.whisper.modeling_whisper import shift_tokens_right

    model, processor = model_and_processor
    rows = made_up_rows([100, 200])
    rows[1]["text"] = "唔該畀碗雲吞麵我呀多謝"
    batch = collator(model, processor)(rows)
    shifted = shift_tokens_right(batch["labels"], model.config.pad_token_id, model.config.decoder_start_token_id)
    assert torch.equal(batch["decoder_input_ids"], shifted)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(3, N_FRAMES), min_size=1, max_size=4))
def test_inputs_are_the_clips_refilled_to_the_longest_and_its_margin(lengths):
    rows = made_up_rows(lengths)
    batch = collator(*miniature())(rows)
    windows = stack([CONFIG.context.window(n) for n in lengths])
    features = batch["input_features"]
    assert features.shape == (len(rows), 80, windows.n_frames) and features.dtype == torch.float32
    for clip, row in zip(features.numpy(), rows, strict=True):
        assert np.array_equal(clip, pad_to(row["features"].T, windows.n_frames))
    for name in ("columns", "positions", "log_weights"):
        assert np.array_equal(batch[name].numpy(), getattr(windows, name))


def test_full_windows_are_what_whispers_own_extractor_gives():
    from cantowhisper.speech.mel import log_mel

    waveform = np.random.default_rng(1).normal(0, 0.05, 23_456).astype(np.float32)
    mel = log_mel(waveform)
    row = {"features": mel.T.astype(np.float16), "text": "你好", "language": "", **Key(0, full=True)._asdict()}
    features = collator(*miniature())([row])["input_features"]
    assert features.shape == (1, 80, N_FRAMES)
    expected = WhisperFeatureExtractor()(waveform, sampling_rate=16_000, return_tensors="np")["input_features"]
    assert np.abs(features.numpy() - expected).max() <= 5e-4


def test_a_text_beyond_the_decoder_is_refused_in_one_line():
    rows = made_up_rows([100], text="呀" * 500)
    with pytest.raises(CantowhisperError, match="Whisper takes 448: 呀呀") as caught:
        collator(*miniature())(rows)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    ids = collator(*miniature()).label_ids("呀" * 444)
    assert len(ids) == 448


def test_a_dataset_holds_no_text_beyond_the_decoder(tmp_path):
    """What features let through, measured at the limit: training refuses none of it."""
    model, processor = miniature()
    processor.tokenizer.save_pretrained(tmp_path)
    written = collator(model, processor)
    kept = [n for n in range(440, 449) if not too_many_tokens("呀" * n, str(tmp_path))]
    assert kept == list(range(440, 444)), "443, the prompt of 4 and the end are 448"
    assert max(len(written.label_ids("呀" * n)) for n in kept) <= MAX_DECODER_TOKENS


def test_control_tokens_written_in_a_sentence_are_spelt():
    model, processor = miniature()
    ids = collator(model, processor).label_ids("你<|nospeech|>好<|endoftext|>")
    end = processor.tokenizer.eos_token_id
    assert [i for i in ids if i >= end] == [*processor.tokenizer.prefix_tokens[1:], end]
    assert processor.tokenizer.decode([i for i in ids if i < end]) == "你<|nospeech|>好<|endoftext|>"


def test_features_for_another_model_are_refused():
    processor = WhisperProcessor(WhisperFeatureExtractor(feature_size=128), miniature()[1].tokenizer)
    check_mels(small_split("train"), miniature()[1])
    with pytest.raises(CantowhisperError, match="80 Mel channels and the model takes 128") as caught:
        check_mels(small_split("train"), processor)
    assert "\n" not in str(caught.value)


def test_frames_are_counted_from_durations_without_reading_features():
    split = small_split("train")
    stored = [len(features) for features in split.with_format("numpy")["features"]]
    assert frame_counts(split).tolist() == stored


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 480_000), min_size=1, max_size=20))
def test_frames_are_counted_exactly_from_any_duration(samples):
    import datasets

    seconds = [np.float32(n / 16_000) for n in samples]
    split = datasets.Dataset.from_dict(
        {"duration_s": seconds}, features=datasets.Features({"duration_s": datasets.Value("float32")})
    )
    assert frame_counts(split).tolist() == [n_frames(n) for n in samples]


def test_rows_are_read_by_key():
    split = small_split("train")
    rows = FeatureRows(split).__getitems__([(3, False), (0, True)])
    assert [row["text"] for row in rows] == [split["text"][3], split["text"][0]]
    assert [row["full"] for row in rows] == [False, True]
    assert rows[0]["features"].shape == (frame_counts(split)[3], 80)
    assert np.array_equal(rows[0]["features"], FeatureRows(split)[(3, False)]["features"])


def test_the_decoder_is_told_wrong_in_training_and_only_there():
    """token_dropout of the characters, none of the control tokens, and never where nothing is to be varied."""
    model, processor = miniature()
    config = dataclasses.replace(CONFIG, token_dropout=0.3)
    rows = [{**row, "batch": 4} for row in made_up_rows([100] * 40, text=TEXTS[0] * 4)]
    for full in (False, True):
        told = {
            vary: collator(model, processor, config)(
                [{**row, "vary": vary, "full": full} for row in rows[: 2 if full else 40]]
            )
            for vary in (False, True)
        }
        right, wrong = told[False]["decoder_input_ids"], told[True]["decoder_input_ids"]
        assert torch.equal(right[:, 1:], told[False]["labels"][:, :-1])  # equally long sentences: nothing is padded
        assert torch.equal(told[True]["labels"], told[False]["labels"])
        control = right >= processor.tokenizer.eos_token_id
        assert torch.equal(wrong[control], right[control])
        assert (wrong != right)[~control].float().mean() == pytest.approx(0.3, abs=0.1)


def test_variations_begin_with_their_share_of_the_run_and_are_drawn_anew_for_every_batch():
    config = TrainConfig(augment_from=0.5, batch_size=2, stretch=0.1, full_context_share=0.0, packed_share=0.0)
    batches = list(BucketBatchSampler([300] * 4, config, n_batches=10))
    assert [batch[0].vary for batch in batches] == [False] * 5 + [True] * 5
    assert [batch[0].batch for batch in batches] == list(range(10))
    collate = Collator(miniature()[1], config, start_token_id=miniature()[0].config.decoder_start_token_id)
    row = made_up_rows([300])[0]
    early, late, later, late_again = (
        collate([{**row, "batch": number, "vary": vary}])["input_features"]
        for number, vary in ((0, False), (5, True), (6, True), (5, True))
    )
    assert np.array_equal(early[0, :, :300].numpy(), row["features"].T.astype(np.float32))
    assert torch.equal(late, late_again)
    assert late.shape != later.shape or not torch.equal(late, later)


# ------------------------------------------------------------------------------------------------------- sampler

lengths = st.lists(st.integers(30, N_FRAMES), min_size=1, max_size=200)
configs = st.builds(
    TrainConfig,
    batch_size=st.integers(1, 32),
    max_batch_frames=st.integers(N_FRAMES, 20_000),
    full_context_batch_size=st.integers(1, 8),
    full_context_share=st.floats(0, 0.9) | st.just(1.0),
    packed_share=st.just(0.0),
    seed=st.integers(0, 3),
)


def windows_of(batch) -> list[list[int]]:
    """Rows of each input of a batch: packed ones have several. A batch may hold a clip twice, where there are few."""
    numbered = enumerate(batch)
    windows = itertools.groupby(numbered, key=lambda pair: pair[1].window if pair[1].window >= 0 else -2 - pair[0])
    return [[key.row for _, key in group] for _, group in windows]


def epoch(n, config, number=0, **known):
    """The batches of an epoch, those of 30 s windows between them included."""
    batches = itertools.dropwhile(
        lambda batch: batch[0].part[0] < number, BucketBatchSampler(n, config, n_batches=10**6, **known)
    )
    return list(itertools.takewhile(lambda batch: batch[0].part[0] == number, batches))


@settings(deadline=None, max_examples=40)
@given(lengths, configs)
def test_every_clip_comes_once_an_epoch(n, config):
    keys = [key for batch in epoch(n, config) for key in batch]
    natural = sorted(key.row for key in keys if not key.full)
    if config.full_context_share + config.packed_share < 1:
        assert natural == list(range(len(n)))
    else:
        assert not natural and {key.row for key in keys} == set(range(len(n)))


@settings(deadline=None, max_examples=40)
@given(lengths, configs)
def test_no_batch_exceeds_its_budgets(n, config):
    for batch in itertools.chain(epoch(n, config), epoch(n, config, 1)):
        (full,) = {key.full for key in batch}
        clips = len(windows_of(batch))
        assert 1 <= clips <= (config.full_context_batch_size if full else config.batch_size)
        context = N_FRAMES if full else clip_context(max(n[key.row] for key in batch), config)
        assert clips * context <= config.max_batch_frames


@settings(deadline=None, max_examples=30)
@given(lengths, configs, st.integers(0, 40), st.integers(0, 40))
def test_a_resumed_run_sees_the_rest_of_the_same_stream(n, config, done, more):
    whole = list(BucketBatchSampler(n, config, n_batches=done + more))
    assert len(whole) == done + more
    again = list(itertools.islice(BucketBatchSampler(n, config, n_batches=done + more), done, None))
    assert whole[done:] == again
    longer = BucketBatchSampler(n, config, n_batches=done + more + 7)
    assert list(itertools.islice(longer, done + more)) == whole


def test_epochs_and_seeds_differ():
    n = np.random.default_rng(0).integers(100, 900, 400)
    assert epoch(n, CONFIG) == epoch(n, CONFIG)
    members = lambda batches: {frozenset(key.row for key in batch) for batch in batches}
    assert epoch(n, CONFIG) != epoch(n, CONFIG, 1)
    common = members(epoch(n, CONFIG)) & members(epoch(n, CONFIG, 1))
    assert len(common) < 5, "other neighbours, not the same batches in another order"
    assert epoch(n, CONFIG) != epoch(n, dataclasses.replace(CONFIG, seed=21))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15, 0.5, 0.9])
def test_the_share_of_full_windows_is_that_of_the_config(share):
    n = np.random.default_rng(0).integers(100, 900, 800)
    config = dataclasses.replace(CONFIG, full_context_share=share, packed_share=0.0)
    batches = list(BucketBatchSampler(n, config, n_batches=1500))
    assert np.mean([batch[0].full for batch in batches]) == pytest.approx(share, abs=0.02)


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 200), st.sampled_from([0.02, 0.1, 0.25, 0.9]), st.sampled_from([0.0, 0.1]), st.integers(20, 900))
def test_shares_of_windows_hold_for_any_number_of_clips_at_any_step(n_clips, packed, full, n_batches):
    n = np.random.default_rng(n_clips).integers(100, 900, n_clips)
    config = TrainConfig(packed_share=packed, full_context_share=full)
    batches = list(BucketBatchSampler(n, config, n_batches=n_batches))
    after = np.arange(1, n_batches + 1)
    n_packed = np.cumsum([batch[0].window >= 0 for batch in batches])
    n_full = np.cumsum([batch[0].full and batch[0].window < 0 for batch in batches])
    assert np.abs(n_packed - packed * after).max() < 1
    assert np.abs(n_full - full * after).max() < 2


def test_windows_come_at_random_places():
    """Else one of several processes, which take batches in turn, might get all of them."""
    n = np.random.default_rng(0).integers(100, 900, 60)
    batches = list(BucketBatchSampler(n, TrainConfig(packed_share=0.1), n_batches=1000))
    places = [number % 10 for number, batch in enumerate(batches) if batch[0].window >= 0]
    assert len(places) == 100 and np.bincount(places, minlength=10).max() < 30


def padding_overhead(n, config) -> float:
    """Frames computed beyond each clip's own context, as a share of those."""
    natural = [batch for batch in epoch(n, config) if not batch[0].full]
    own = sum(clip_context(int(length), config) for length in n)
    return sum(len(b) * clip_context(max(int(n[key.row]) for key in b), config) for b in natural) / own - 1


def durations_s(table) -> np.ndarray:
    rows = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:])
    return np.array([float(row[1]) / 1000 for row in rows])


def test_clips_of_like_length_share_batches(samples):
    n = np.ceil(durations_s(samples / "clip_durations.tsv") * 100).astype(int)
    assert padding_overhead(n, TrainConfig()) < 0.05


@pytest.mark.parametrize("language", ["zh-HK", "zh-CN"])
def test_real_lengths_are_padded_little(real_speech, language):
    (table,) = real_speech.glob(f"common_voice_17_layout/*/{language}/clip_durations.tsv")
    rng = np.random.default_rng(0)
    n = np.ceil(100 * rng.choice(durations_s(table), 3000) * rng.uniform(0.95, 1.05, 3000)).astype(int)
    assert padding_overhead(n, TrainConfig()) < 0.15
    assert padding_overhead(n, TrainConfig(batch_size=64, max_batch_frames=64_000)) < 0.15
