"""Listed words: what they add to a text's score, what they never do, and where they may be written."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import DecodingOptions, UsageError
from cantowhisper.serving.engines import rivals
from cantowhisper.serving.engines.rivals import greedy_with_words
from cantowhisper.serving.engines.search import Rules, beam_search, greedy
from cantowhisper.serving.engines.words import START, Words
from cantowhisper.serving.glossary import MAX_CHARACTERS, MAX_WORDS, favoured, read_words, tokenisations
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from tests.serving_model import inputs, random_model

END, VOCABULARY = 7, 8
tokens = st.integers(0, 3)  # few, so that words share beginnings and overlap
token_lists = st.lists(tokens, min_size=1, max_size=4).map(tuple)
term_lists = st.lists(st.lists(token_lists, min_size=1, max_size=3), max_size=5)
texts = st.lists(tokens, max_size=20)


def ends(terms, text) -> int:
    """How many words end somewhere in a text, each counted once at a place, by looking at all of it."""
    places = range(1, len(text) + 1)
    return sum(any(tuple(text[max(0, i - len(t)) : i]) == t for t in term) for term in terms for i in places)


@given(term_lists, texts)
def test_a_text_gains_the_weight_of_its_whole_words_and_nothing_else(terms, text):
    assert Words(terms, weight=2.5).gain_of(text) == pytest.approx(2.5 * ends(terms, text))


@given(term_lists, texts)
def test_what_a_beginning_was_given_is_taken_back(terms, text):
    words = Words(terms, weight=2.5)
    apart = [token for token in text if not any(token in one for term in terms for one in term)]
    cut = [4, *text[:-1]] if ends(terms, text[:-1]) == 0 else apart
    assert words.gain_of(cut) == pytest.approx(0)
    state = words.after(cut)
    assert words.gain(state, 99) == pytest.approx(-words.held(state)) and words.step(state, 99) == START


@settings(max_examples=30)
@given(term_lists, texts)
def test_all_scores_at_once_are_those_of_each_token(terms, text):
    words = Words(terms, weight=1.5)
    beginnings = {ids[:n] for term in terms for ids in term for n in range(len(ids) + 1)}  # that is, in all states
    for state in {words.after(beginning) for beginning in (*beginnings, text)}:
        at_once = words.encourage(np.zeros((1, 6)), [state])[0]
        assert at_once == pytest.approx([words.gain(state, token) for token in range(6)])
        opened, states = words.openings(state)
        assert [words.step(state, token) for token in opened.tolist()] == states
        assert set(words.continuations(state)[0].tolist()) <= set(opened.tolist())


class Table:
    """search.Decoding whose log-probabilities are drawn for each beginning of a text, always the same ones."""

    def __init__(self, clips):
        self.clips, self.written = list(clips), [()] * len(clips)

    def advance(self, ids):
        n = len(ids) // len(self.clips)
        self.written = [(*old, *new) for old, new in zip(self.written, ids.tolist(), strict=True)]
        return np.stack([self.logits(self.clips[i // n], text) for i, text in enumerate(self.written)])

    @staticmethod
    def logits(clip, text):
        drawn = np.random.default_rng([clip, len(text), *text]).normal(size=VOCABULARY) * 1.5
        drawn[END] -= 1
        return drawn.astype(np.float32)

    def select(self, rows, clips):
        self.clips, self.written = [self.clips[i] for i in clips], [self.written[i] for i in rows]


PROMPT = (5, 6)
RULES = Rules(end=END, never=[6], never_first=[END], max_new_tokens=12)


def searched(search, clips, rules=RULES, **options):
    return search(Table(clips), np.tile(np.array(PROMPT), (len(clips), 1)), rules, **options)


clip_lists = st.lists(st.integers(0, 50), min_size=1, max_size=4)
few = settings(max_examples=25, deadline=None)  # a text is a few hundred draws


@few
@given(term_lists, clip_lists, st.sampled_from([0.5, 2.0, 6.0]))
def test_no_clip_depends_on_those_beside_it(terms, clips, weight):
    words = Words(terms, weight=weight)
    together = searched(greedy_with_words, clips, words=words)
    alone = [searched(greedy_with_words, [clip], words=words)[0] for clip in clips]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    assert [one.mean_log_prob for one in together] == pytest.approx([one.mean_log_prob for one in alone], abs=1e-5)


@few
@given(term_lists, clip_lists, st.sampled_from([1, 3]))
def test_probabilities_stay_the_models_own(terms, clips, beam_size):
    words = Words(terms, weight=4.0)
    options = {"words": words} if beam_size == 1 else {"favours": words, "beam_size": beam_size}
    found = searched(greedy_with_words if beam_size == 1 else beam_search, clips, **options)
    for clip, one in zip(clips, found, strict=True):
        text, logs = PROMPT, []
        for token in [*one.token_ids, END][: RULES.max_new_tokens]:
            logits = RULES.allowed(Table.logits(clip, text)[np.newaxis], [text[2:]])[0]
            logs.append(logits[token] - np.log(np.exp(logits).sum()))
            text = (*text, token)
        assert one.mean_log_prob == pytest.approx(np.mean(logs), abs=1e-4)
        assert one.log_probs == pytest.approx(logs[: len(one.token_ids)], abs=1e-4)


@few
@given(term_lists, clip_lists)
def test_words_that_cannot_be_finished_change_nothing(terms, clips):
    unsayable = [[(*ids, 6) for ids in term] for term in terms]  # 6 is never written
    found = searched(greedy_with_words, clips, words=Words(unsayable, weight=9.0))
    assert [one.token_ids for one in found] == [one.token_ids for one in searched(greedy, clips)]


@few
@given(clip_lists)
def test_an_empty_list_changes_nothing(clips):
    nothing = Words([], weight=2.0)
    assert not nothing
    assert searched(greedy_with_words, clips, words=nothing) == searched(greedy, clips)
    beams = [searched(beam_search, clips, beam_size=3, **options) for options in ({}, {"favours": nothing})]
    assert beams[0] == beams[1]


def test_a_word_is_written_where_it_is_nearly_as_likely_and_not_where_it_is_not(monkeypatch):
    monkeypatch.setattr(rivals, "NEAR", 50.0)  # so that the weight alone decides
    clips = list(range(60))
    plain = searched(greedy, clips)
    # The second likeliest beginning of each text, with what the model would write after it.
    written = {1.0: 0, 6.0: 0}
    for clip, own in zip(clips, plain, strict=True):
        first = RULES.allowed(Table.logits(clip, PROMPT)[np.newaxis], [()])[0]
        second = int(np.argsort(first)[-2])
        after = RULES.allowed(Table.logits(clip, (*PROMPT, second))[np.newaxis], [(second,)])[0]
        word = (second, int(after.argmax()))
        for weight in written:
            (found,) = searched(greedy_with_words, [clip], words=Words([[word]], weight=weight))
            written[weight] += tuple(found.token_ids[:2]) == word != tuple(own.token_ids[:2])
    assert 5 < written[1.0] < written[6.0] - 10


class AtALoss(Table):
    """Token 1 is nearly as likely as 0 in the beginning; in clip 0 nothing is likely any more two tokens after it."""

    @staticmethod
    def logits(clip, text):
        said = text[len(PROMPT) :]
        if not said:
            return np.log(np.array([0.55, 0.40, *[0.01] * 5, 1e-9], np.float32))
        if said[0] == 1 and len(said) == 2 and not clip:
            return np.zeros(VOCABULARY, np.float32)
        return np.where(np.arange(VOCABULARY) == 1 + len(said), 5, 0).astype(np.float32)


def test_a_word_that_leaves_the_model_at_a_loss_is_not_written():
    words, prompts = Words([[(1,)]], weight=2.0), np.array([PROMPT] * 2)
    lost, sure = greedy_with_words(AtALoss([0, 1]), prompts, replace(RULES, max_new_tokens=4), words)
    assert (lost.token_ids, sure.token_ids) == ([0, 2, 3, 4], [1, 2, 3, 4])


def test_a_word_goes_on_from_text_that_was_written_before(monkeypatch):
    monkeypatch.setattr(rivals, "NEAR", 50.0)
    words = Words([[(1, 2, 3)]], weight=50.0)
    rules = replace(RULES, written=(1, 2))
    (found,) = greedy_with_words(Table([4]), np.array([[*PROMPT, 1, 2]]), rules, words)
    assert found.token_ids[0] == 3


# -------------------------------------------------------------------------------------------------------- lists


def test_a_list_is_read_as_people_write_it():
    text = "\ufeff\n深水埗，屯門、 陳大文 ,\r\n# 朋友, 同事\n \t# 鄰居\n\nAlice   Wong;屯門\n C# \n"
    assert read_words(text.lstrip("\ufeff")) == ("深水埗", "屯門", "陳大文", "Alice Wong", "C#")
    assert read_words("") == read_words("# nothing\n ,、\n") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n".join(f"字{i}" for i in range(MAX_WORDS + 1)), f"at most {MAX_WORDS}"),
        ("長" * (MAX_CHARACTERS + 1), f"at most {MAX_CHARACTERS}"),
        ("x," * 6000, "at most 10,000"),
    ],
)
def test_a_list_that_is_too_long_is_refused_in_a_line(text, said):
    with pytest.raises(UsageError, match=said) as error:
        read_words(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 120
    assert len(read_words("\n".join(f"字{i}" for i in range(MAX_WORDS)))) == MAX_WORDS


def test_a_word_is_known_in_both_scripts_and_in_all_its_tokens():
    pieces = {"們": [1], "们": [2], "我": [3], "我們": [4], "我们": [5], " 我們": [9, 4], " 我们": [6]}
    assert set(tokenisations("我們", pieces.__getitem__)) == {(4,), (3, 1), (5,), (3, 2), (6,)}
    assert tokenisations("Al", {"Al": [1], " Al": [2]}.__getitem__) == [(1,), (2,)]
    words = favoured(["我們"], pieces.__getitem__, weight=3.0)
    assert words.gain_of([3, 1]) == words.gain_of([5]) == words.gain_of([9, 4]) == 3.0


# ------------------------------------------------------------------------------------------------------ the engine


@pytest.fixture(scope="module")
def opened():
    pytest.importorskip("onnxruntime")
    from cantowhisper.serving.recognizer import Recognizer

    return Recognizer.open(random_model(), threads=1)


def sounds(n: int):
    rng = np.random.default_rng(3)
    return [(rng.normal(size=8000 + 3000 * i) * 0.1).astype(np.float32) for i in range(n)]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_engine_writes_listed_words_for_each_clip_as_if_alone(opened, monkeypatch, beam_size):
    monkeypatch.setattr(rivals, "NEAR", 9.0)
    prompt = opened._prompt(None)
    plain = DecodingOptions(
        max_new_tokens=10, suppress_tokens=opened.vocabulary.suppressed_but_timestamps, beam_size=beam_size
    )
    ids = opened.vocabulary.text_ids(opened.vocabulary.ids.values())
    words = Words([[(one, other)] for one, other in zip(ids[40:60], ids[60:80], strict=True)], weight=9.0)
    listed = replace(plain, words=words)
    pieces = sounds(4)
    mels, windows = inputs(opened, *pieces)
    together = opened.engine.decode(mels, windows, prompt, listed)
    alone = [opened.engine.decode(*inputs(opened, piece), prompt, listed)[0] for piece in pieces]
    # Weights drawn by chance make near ties, and 8-bit activations differ by thousandths between batches: the text may
    # differ there, but what it is worth does not by as much as a word.
    worth = lambda one: sum(one.log_probs) + words.gain_of(one.token_ids)
    assert list(map(worth, together)) == pytest.approx(list(map(worth, alone)), abs=1.0)
    without = opened.engine.decode(mels, windows, prompt, plain)
    assert sum(words.gain_of(one.token_ids) for one in together) > sum(words.gain_of(o.token_ids) for o in without)
    assert opened.engine.decode(mels, windows, prompt, replace(plain, words=Words([], weight=3.0))) == without


def test_a_recording_and_a_live_pass_take_a_list(opened):
    speech = sounds(3)[2]
    assert opened.takes_words
    assert opened.decode(speech, words=()) == opened.decode(speech)
    written = opened.decode(speech).text
    opened.decode(speech, written[:1], words=(written[1:3] or "字", "深水埗"))
    opened.transcribe(speech, words=("深水埗",))


def test_an_engine_without_words_says_so(opened):
    class Plain:
        name, takes_words = "transformers", False

    from cantowhisper.serving.recognizer import Recognizer

    other = Recognizer(Plain(), opened.vocabulary.tokenizer, opened.facts)
    with pytest.raises(UsageError, match="needs the model's export"):
        other.transcribe(np.zeros(16000, np.float32), words=["深水埗"])
    assert other.transcribe(np.zeros(16000, np.float32)) == []


def test_a_listed_word_is_heard_in_real_speech_and_confidence_stays_the_models(real_speech, stock_model, monkeypatch):
    """Beside words that nobody says; and in noise none is heard."""
    monkeypatch.setattr(rivals, "NEAR", 3.0)  # the word is at the edge: 8-bit weights differ by processor
    whisper = Recognizer.open(stock_model, threads=1)
    speech = load_audio(real_speech / "common_voice_6_layout/zh-TW/clips/common_voice_zh-TW_17433248.mp3")

    def heard(sound, *words: str):
        return whisper.transcribe(sound, language="zh", script="traditional", words=words)

    (plain,) = heard(speech)
    assert "救星" not in plain.text and heard(speech, "深水埗", "屯門") == [plain]
    (listed,) = heard(speech, "深水埗", "救星", "屯門")
    assert "救星" in listed.text and listed.confidence < plain.confidence
    noise = np.random.default_rng(0).normal(size=80_000).astype(np.float32) * 0.1
    assert (
        heard(noise, "救星", "屯門") == [] and "救星" not in whisper.decode(noise, language="zh", words=["救星"]).text
    )
