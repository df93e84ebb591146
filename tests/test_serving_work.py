"""A visitor's recording within the limits, and how refusals are worded; without a model and without a browser."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tongues import foreign

from cantowhisper.contracts import ModelFacts, Segment, UsageError
from cantowhisper.serving.offline.limits import LimitError, Limits
from cantowhisper.serving.offline.service import Result
from cantowhisper.serving.offline.transcription import StopRequests, friendly, transcribe_file, write_files
from cantowhisper.serving.offline.view import note_of, sections, segments_table, title_of
from cantowhisper.serving.texts.say import LANGUAGES, Say, said
from cantowhisper.serving.web.refusal import FullDisk
from cantowhisper.speech.audio import AudioError
from cantowhisper.speech.mel import SAMPLE_RATE

SEGMENTS = [Segment(0.0, 1.0, "食咗飯未", 0.9), Segment(1.5, 2.0, "<b>", 0.2, ("low_confidence",))]


class Told:
    """A recognizer that answers SEGMENTS, one batch each."""

    def stream(self, waveform, *, should_stop, **options):
        for segment in SEGMENTS:
            if should_stop():
                return
            yield segment


@pytest.fixture
def recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    return tmp_path / "a.wav"


def test_progress_goes_from_nothing_to_all(recording):
    steps = list(transcribe_file(Told(), recording, limits=Limits()))
    assert [len(s.segments) for s in steps] == [0, 1, 2, 2]
    assert [round(s.share, 2) for s in steps] == [0, 0.5, 1, 1]
    assert steps[-1].finished and steps[-1].duration_s == 2 and not steps[-1].cut_short


def test_work_ends_when_its_time_is_used_up_or_the_visitor_says_so(recording):
    *_, last = transcribe_file(Told(), recording, limits=Limits(max_work_s=0))
    assert last.cut_short == "time" and last.finished
    *_, last = transcribe_file(Told(), recording, limits=Limits(), should_stop=lambda: True)
    assert last.cut_short == "stopped" and last.segments == ()


def test_what_is_wrong_with_a_recording_is_told(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    *_, last = transcribe_file(Told(), tmp_path / "cut.wav", limits=Limits())
    assert last.notes == ("1.00 s of the sound is damaged or missing",)
    assert last.notes[0] in sections([Result("cut.wav", tmp_path / "cut.wav", last)], [""], Say())
    assert note_of(last.notes[0], Say("zh-HK")) == "留意：有 1.00 秒聲壞咗或者唔見咗。"
    *_, last = transcribe_file(Told(), tmp_path / "a.wav", limits=Limits())
    assert last.notes == ()


def test_limits_are_kept(recording):
    with pytest.raises(LimitError, match="the limit is"):
        list(transcribe_file(Told(), recording, limits=replace(Limits(), max_file_bytes=1000)))
    with pytest.raises(AudioError) as refusal:
        list(transcribe_file(Told(), recording, limits=replace(Limits(), max_audio_s=1.0)))
    assert refusal.value.reason == "too_long"


def test_every_refusal_is_worded_in_each_language_without_paths(recording, tmp_path):
    (tmp_path / "page.wav").write_text("<html>")
    with pytest.raises(AudioError) as unreadable:
        list(transcribe_file(Told(), tmp_path / "page.wav", limits=Limits()))
    errors = [unreadable.value, AudioError(f"cannot open {tmp_path}/x: gone", reason="unreadable")]
    errors += [LimitError(said("link.redirects", most=5)), FullDisk(), RuntimeError("bug at /home/x")]
    errors += [AudioError("the recording is longer than 9 s", reason="too_long", limit_s=9.0)]
    for error in errors:
        for language in LANGUAGES:
            told = friendly(error, Say(language))
            assert told and not foreign(told, language)
            assert str(tmp_path) not in told and "/home" not in told
    assert "not a recording" in friendly(unreadable.value), "English has the details"
    assert friendly(UsageError("'tlh' is no language"), Say("zh-HK")) == "做唔到：'tlh' is no language"


def test_files_are_named_after_the_recording_and_stay_in_their_folder(tmp_path):
    paths = write_files(SEGMENTS, tmp_path, "../../talk", ["txt", "srt"])
    assert paths == [str(tmp_path / "talk.txt"), str(tmp_path / "talk.srt")]
    assert (tmp_path / "talk.txt").read_text(encoding="utf-8") == "食咗飯未\n<b>\n"


def test_the_table_shows_text_as_text_and_marks_what_is_unsure():
    table = segments_table(SEGMENTS, Say())
    assert "&lt;b&gt;" in table and "<b>" not in table and table.count("class='unsure'") == 1
    assert segments_table([], Say()) == ""


def test_stop_requests_are_per_visitor_and_bounded():
    stops = StopRequests(at_most=2)
    for visitor in "abc":
        stops.ask(visitor)
    assert [stops.asked(v) for v in "abc"] == [False, True, True]
    stops.clear("b")
    assert not stops.asked("b") and stops.asked("c")


def test_limits_describe_themselves():
    for language, row in (("zh-HK", ("長度", "30 分鐘")), ("en", ("duration", "30 min"))):
        said = Limits().described(Say(language))
        assert row in said and all(all(row) for row in said)


def test_the_title_says_what_the_model_was_made_for():
    told = lambda token, language="": title_of(ModelFacts(language=language, language_token=token), Say())
    assert told("<|yue|>") == told("<|zh|>", "yue") == "Cantonese to text"
    assert told("<|zh|>") == "Chinese to text" and told("<|kk|>", "ky") == "Kyrgyz to text"
    assert [title_of(ModelFacts(), Say(reader)) for reader in LANGUAGES] == [
        "語音轉文字",
        "语音转文字",
        "Speech to text",
    ]
    assert title_of(ModelFacts(language="de"), Say("zh-HK")) == "德文轉文字"


def test_the_table_puts_the_base_models_text_beside_by_time():
    table = segments_table(SEGMENTS, Say(), before=[Segment(0.0, 1.0, "食左飯未", 0.9), Segment(3.0, 4.0, "多謝", 0.9)])
    assert table.count("<tr") == 4 and "食左飯未" in table and "多謝" in table
