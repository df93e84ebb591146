"""Packed windows and times in labels: every clip is where its label says, and nothing outgrows Whisper or memory."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training_batching import IGNORED, collator, configs, epoch, lengths, miniature, real, windows_of
from training_data import CORPUS, small_split

from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.context import MAX_DECODER_TOKENS
from cantowhisper.speech.mel import N_FRAMES, log_mel, n_frames, pad_to
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.augment import augment
from cantowhisper.training.data.collator import FeatureRows, windows_and_inputs
from cantowhisper.training.data.packing import (
    PAUSE_FRAMES,
    ClipSize,
    FrameRange,
    fill_windows,
    join_clips,
    timed_labels,
)
from cantowhisper.training.data.sampling import BucketBatchSampler, clip_context, frame_counts
from cantowhisper.training.presets import PRESETS

PACKED = TrainConfig(packed_share=1.0, full_context_share=0.0, full_context_batch_size=3, augment_from=0.0)
VARIED = {"stretch": 0.1, "gain_db": 3.0, "time_masks": 1, "feature_masks": 1}


@pytest.fixture(scope="module", params=["miniature", "real"])
def model_and_processor(request):
    return miniature() if request.param == "miniature" else real(request.getfixturevalue("real_weights"))


# ------------------------------------------------------------------------------------------------------- windows

clips = st.lists(st.tuples(st.integers(3, N_FRAMES), st.integers(4, MAX_DECODER_TOKENS)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(clips, st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 99))
def test_windows_hold_their_clips_however_chance_falls(shapes, stretch, seed):
    wanted = [ClipSize(row, *shape) for row, shape in enumerate(shapes)]
    windows = list(fill_windows(wanted, stretch=stretch))
    assert list(itertools.chain(*windows)) == wanted
    rng, config = np.random.default_rng(seed), TrainConfig(stretch=stretch)
    for window in windows:
        mels = [augment(rng.uniform(-1, 1, (4, clip.n_frames)), rng, config) for clip in window]
        joined, spans = join_clips(mels, rng)
        assert joined.shape[1] <= N_FRAMES
        for mel, span in zip(mels, spans, strict=True):
            assert span.start % 2 == 0 and span.end - span.start == max(mel.shape[1] - 2, 1)
        assert spans[-1].start + mels[-1].shape[1] == joined.shape[1]
        for before, after in itertools.pairwise(spans):
            assert PAUSE_FRAMES[0] <= after.start - before.end - 2 <= PAUSE_FRAMES[1] + 2
        labels = [[1, 2, 9, *range(20, 16 + clip.n_tokens), 3] for clip in window]  # a prompt of three, and an end
        assert [len(label) for label in labels] == [clip.n_tokens for clip in window]
        timed = timed_labels(labels, spans, no_timestamps=9)
        assert len(timed) <= MAX_DECODER_TOKENS + (len(window) == 1)  # the sampler counts one more for those


def test_a_packed_window_is_the_spectrogram_of_the_joined_recordings():
    """Physically: the same numbers as for the waveforms with digital silence between them."""
    paths = sorted((CORPUS / "clips").glob("*.mp3"))[:4]
    waveforms = [load_audio(path) for path in paths]
    joined, spans = join_clips([log_mel(waveform) for waveform in waveforms], np.random.default_rng(5))
    whole = np.zeros((spans[-1].end + 10) * 160, np.float32)
    for waveform, span in zip(waveforms, spans, strict=True):
        whole[span.start * 160 : span.start * 160 + len(waveform)] = waveform
        assert span.end == span.start + n_frames(len(waveform)) - 2
    expected = log_mel(whole)[:, : joined.shape[1]]
    # The first two frames of a clip see its reflection when it stands alone, and the silence before it here.
    at_a_start = np.zeros(joined.shape[1], bool)
    for span in spans[1:]:
        at_a_start[max(span.start - 2, 0) : span.start + 2] = True
    assert np.abs(joined - expected)[:, ~at_a_start].max() < 1e-4
    assert at_a_start.sum() <= 4 * len(spans)


# -------------------------------------------------------------------------------------------------------- labels


def packed_batches(processor_and_model, split, config, n_batches):
    model, processor = processor_and_model
    collate = collator(model, processor, config)
    sampler = BucketBatchSampler(
        frame_counts(split), config, n_batches=n_batches, n_tokens=collate.label_lengths(split["text"])
    )
    rows = FeatureRows(split)
    return [(keys, collate(rows.__getitems__(keys))) for keys in sampler]


def read_label(tokenizer, labels) -> tuple[list[str], list[tuple[float, float, str]]]:
    """The prompt of a label with times, and (start_s, end_s, text) of each clip, by the tokenizer's own decoding."""
    ids = [int(i) for i in labels if i != IGNORED]
    assert ids[-1] == tokenizer.eos_token_id
    first = tokenizer.convert_tokens_to_ids("<|0.00|>")
    prompt = tokenizer.convert_ids_to_tokens(
        list(itertools.takewhile(lambda i: tokenizer.eos_token_id < i < first, ids))
    )
    text = tokenizer.decode(ids, decode_with_timestamps=True, skip_special_tokens=False)
    found = re.findall(r"<\|(\d+\.\d\d)\|>(.*?)<\|(\d+\.\d\d)\|>", text)
    return prompt, [(float(start), float(end), said) for start, said, end in found]


@pytest.mark.parametrize("variations", [{}, VARIED], ids=["plain", "varied"])
def test_energy_lies_inside_the_times_of_the_labels(model_and_processor, variations):
    """Where a label says that a clip is heard, it is; and between, there is digital silence."""
    config = dataclasses.replace(PACKED, **variations)
    split = small_split("train")
    tokenizer = model_and_processor[1].tokenizer
    windows = 0
    for keys, batch in packed_batches(model_and_processor, split, config, 4):
        rows = windows_of(keys)
        assert batch["input_features"].shape[:2] == (len(rows), 80)
        weights = batch["log_weights"].exp().sum(dim=1).numpy()
        assert weights == pytest.approx(N_FRAMES / 2, abs=0.01)  # all 30 s, whatever is merged at the end
        for window, mel, labels in zip(rows, batch["input_features"].numpy(), batch["labels"], strict=True):
            prompt, said = read_label(tokenizer, labels)
            if prompt[-1] == "<|notimestamps|>":
                continue
            assert prompt == ["<|zh|>", "<|transcribe|>"]
            assert [text for _, _, text in said] == [split["text"][row] for row in window]
            mel = pad_to(mel, N_FRAMES)
            loud = (mel > mel.min() + 1e-3).any(axis=0)
            inside = np.zeros(N_FRAMES, bool)
            for start, end, _ in said:
                assert loud[round(start * 100) : round(end * 100)].mean() > 0.5
                inside[round(start * 100) : round(end * 100) + 4] = (
                    True  # 20 ms of rounding, and two frames that see it
                )
            assert not (loud & ~inside).any()
            assert all(0.1 <= after[0] - before[1] <= 1.06 for before, after in itertools.pairwise(said))
            assert len(said) > 3 and said[0][0] == 0.0
            windows += 1
    assert 2 <= windows <= 10


def test_half_of_the_windows_are_the_text_of_all_their_clips(model_and_processor):
    """A model that sees none of these stops after one sentence where it is asked for text without times."""
    split = small_split("train")
    tokenizer = model_and_processor[1].tokenizer
    untimed = total = 0
    for keys, batch in packed_batches(model_and_processor, split, PACKED, 20):
        for window, labels in zip(windows_of(keys), batch["labels"], strict=True):
            total += 1
            prompt, _ = read_label(tokenizer, labels)
            if prompt[-1] != "<|notimestamps|>":
                continue
            untimed += 1
            said = tokenizer.decode(labels[labels != -100], skip_special_tokens=True)
            assert said == "".join(split["text"][row] for row in window) and len(window) > 3
    assert untimed / total == pytest.approx(0.5, abs=0.2)


def test_decoder_inputs_of_packed_windows_are_the_labels_moved_right(model_and_processor):
    from transformers.models.whisper.modeling_whisper import shift_tokens_right

    model = model_and_processor[0]
    for _, batch in packed_batches(model_and_processor, small_split("train"), PACKED, 2):
        shifted = shift_tokens_right(batch["labels"], model.config.pad_token_id, model.config.decoder_start_token_id)
        assert np.array_equal(batch["decoder_input_ids"], shifted)
        assert batch["labels"].shape[1] <= MAX_DECODER_TOKENS
        windows, inputs = windows_and_inputs(batch)
        with ContextSeam.on(model).of(windows):
            assert np.isfinite(model(**inputs).loss.item())


def test_a_share_of_single_clips_has_times(model_and_processor):
    config = TrainConfig(packed_share=0.0, full_context_share=0.3, timestamps_share=0.3, batch_size=4)
    split = small_split("train")
    tokenizer = model_and_processor[1].tokenizer
    seconds = [(n - 2) / 100 for n in frame_counts(split)]
    timed = total = 0
    for keys, batch in packed_batches(model_and_processor, split, config, 60):
        for key, labels in zip(keys, batch["labels"], strict=True):
            prompt, said = read_label(tokenizer, labels)
            total += 1
            if prompt[-1] == "<|notimestamps|>":
                assert said == []
                continue
            timed += 1
            ((start, end, text),) = said
            assert start == 0 and end == pytest.approx(seconds[key.row], abs=0.011) and text == split["text"][key.row]
    assert timed / total == pytest.approx(0.3, abs=0.1)


def test_no_times_before_the_variations_begin():
    config = dataclasses.replace(PACKED, packed_share=0.5, timestamps_share=1.0, augment_from=0.5, batch_size=4)
    batches = packed_batches(miniature(), small_split("train"), config, 20)
    with_times = [read_label(miniature()[1].tokenizer, batch["labels"][0])[1] != [] for _, batch in batches]
    single = [keys[0].window < 0 for keys, _ in batches]
    assert with_times[:10] == [False] * 10
    assert all(timed for timed, alone in zip(with_times[10:], single[10:], strict=True) if alone)
    assert any(timed for timed, alone in zip(with_times[10:], single[10:], strict=True) if not alone)
    assert {keys[0].window >= 0 for keys, _ in batches[10:]} == {True, False}


def test_batches_are_drawn_again_alike():
    config = dataclasses.replace(PACKED, packed_share=0.4, timestamps_share=0.5, **VARIED)
    first, again = (packed_batches(miniature(), small_split("train"), config, 8) for _ in range(2))
    for (keys, batch), (keys_again, batch_again) in zip(first, again, strict=True):
        assert keys == keys_again
        assert all(np.array_equal(batch[name], batch_again[name]) for name in batch)
    other = packed_batches(miniature(), small_split("train"), dataclasses.replace(config, seed=21), 8)
    assert any(keys != others for (keys, _), (others, _) in zip(first, other, strict=True))


def test_a_label_that_is_full_gets_no_times():
    collate = collator(*miniature(), TrainConfig(timestamps_share=1.0))
    full = [collate.label_ids("呀" * 444)]
    row = {"batch": 0}
    assert collate._sometimes_timed([row], [np.zeros((80, 500))], full) == full
    (room,) = collate._sometimes_timed([row], [np.zeros((80, 500))], [collate.label_ids("呀" * 443)])
    assert len(room) == MAX_DECODER_TOKENS


# ------------------------------------------------------------------------------------------------------- budgets

mixed = st.builds(
    dataclasses.replace,
    configs,
    full_context_share=st.sampled_from([0.0, 0.1, 0.5]),
    packed_share=st.sampled_from([0.0, 0.2, 0.5]),
    max_batch_tokens=st.sampled_from([448, 700, 4000]),
    stretch=st.sampled_from([0.0, 0.1]),
)


@settings(deadline=None, max_examples=40)
@given(lengths, mixed, st.data())
def test_no_batch_exceeds_its_frames_or_its_tokens(n, config, data):
    tokens = data.draw(st.lists(st.integers(4, 447), min_size=len(n), max_size=len(n)))
    batches = epoch(n, config, n_tokens=tokens)
    for batch in batches:
        windows = windows_of(batch)
        longest = max(1 + sum(tokens[row] for row in window) for window in windows)
        context = N_FRAMES if batch[0].full else clip_context(max(n[key.row] for key in batch), config)
        assert len(windows) * context <= config.max_batch_frames
        assert len(windows) * longest <= config.max_batch_tokens
        assert longest <= MAX_DECODER_TOKENS
        assert len(windows) <= (config.full_context_batch_size if batch[0].full else config.batch_size)
    natural = sorted(key.row for batch in batches for key in batch if not key.full)
    assert natural == (list(range(len(n))) if config.full_context_share + config.packed_share < 1 else [])


@pytest.mark.parametrize(("full", "packed"), [(0.0, 0.1), (0.15, 0.1), (0.3, 0.7), (0.0, 1.0)])
def test_the_shares_of_windows_are_those_of_the_config(full, packed):
    n = np.random.default_rng(0).integers(100, 900, 800)
    config = TrainConfig(batch_size=8, full_context_share=full, packed_share=packed)
    batches = list(BucketBatchSampler(n, config, n_batches=1500, n_tokens=n // 20))
    in_windows = [batch[0].window >= 0 for batch in batches]
    assert np.mean(in_windows) == pytest.approx(packed, abs=0.02)
    assert np.mean([batch[0].full for batch in batches]) == pytest.approx(full + packed, abs=0.02)


def test_packed_windows_are_well_filled():
    n = np.random.default_rng(0).integers(200, 700, 800)
    windows = [window for batch in epoch(n, PACKED) for window in windows_of(batch)]
    heard = [sum(n[row] for row in window) for window in windows]
    assert np.mean(heard) > 0.7 * N_FRAMES


def test_the_demo_has_neither_and_the_gpu_presets_have_both():
    assert (PRESETS["demo"].packed_share, PRESETS["demo"].timestamps_share) == (0.0, 0.0)
    for name in ("t4", "gpu"):
        config = PRESETS[name]
        assert 0 < config.packed_share + config.full_context_share < 0.5 and 0 < config.timestamps_share < 0.5


def test_a_clip_of_30_seconds_has_a_window_to_itself():
    mel = np.random.default_rng(0).uniform(-1, 1, (80, N_FRAMES)).astype(np.float32)
    joined, spans = join_clips([mel], np.random.default_rng(0))
    assert spans == [FrameRange(0, N_FRAMES - 2)] and np.array_equal(joined, pad_to(mel, N_FRAMES))
    assert timed_labels([[7, 9, 20, 3]], [FrameRange(0, N_FRAMES)], no_timestamps=9) == [7, 10, 20, 1510, 3]
