"""Options: each says what it takes and why; every value that it does not take is refused in one line."""

import dataclasses
import json
import re
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.cli.main import main
from cantowhisper.contracts import UsageError
from cantowhisper.features.config import FeatureConfig
from cantowhisper.options import Options, describe
from cantowhisper.serving.captions.rules import CaptionRules
from cantowhisper.serving.live.engine import LiveLimits
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.pace import PaceOptions
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.segments import SegmentOptions
from cantowhisper.training.adapt import AdaptConfig
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.presets import PRESETS

CLASSES = [FeatureConfig, TrainConfig, AdaptConfig, Limits, CaptionRules]
CLASSES += [LiveLimits, PaceOptions, LiveOptions, SegmentOptions]
every_class = pytest.mark.parametrize("options", CLASSES, ids=lambda options: options.__name__)
every_option = pytest.mark.parametrize(
    ("options", "field"),
    [
        pytest.param(options, field, id=f"{options.__name__}.{field.name}")
        for options in CLASSES
        for field in dataclasses.fields(options)
        if field.type is not SegmentOptions
    ],
)

texts, booleans = st.text(max_size=9), st.booleans()
whole, fractions = st.integers(-(10**400), 10**400), st.integers(-9, 9).map(lambda n: n + 0.5)
others = st.sampled_from([[], {}, [80], b"80", 1j, object()])


def fields(options) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(options) if field.type is not SegmentOptions]


def kinds(field) -> set[type]:
    return set(typing.get_args(field.type) or [field.type])


def of_another_type(field) -> st.SearchStrategy:
    """Values that are not of the field's type."""
    all_kinds = {str: texts, bool: booleans, int: whole, type(None): st.none()}
    wrong = [strategy for kind, strategy in all_kinds.items() if kind not in kinds(field)]
    if float in kinds(field):  # which takes whole numbers as well
        wrong.remove(whole)
    else:
        wrong.append(fractions)
    return st.one_of(others, *wrong)


def out_of_range(field) -> st.SearchStrategy:
    """Values of the right type that the field's rule leaves out; nothing where it leaves out none."""
    rule, strategies = field.metadata["rule"], []
    if rule.choices:
        return (whole if isinstance(rule.choices[0], int) else texts).filter(lambda value: value not in rule.choices)
    if str in kinds(field):
        return st.sampled_from(["two\nlines", *([] if field.default == "" else ["", "  "])])
    if bool in kinds(field):
        return st.nothing()
    number = st.floats if float in kinds(field) else st.integers
    open_end = {"exclude_max": True} if number is st.floats else {}
    step = 0 if number is st.floats else 1
    if rule.least is not None:
        strategies.append(number(max_value=rule.least - step, **open_end))
    if rule.above is not None:
        strategies.append(number(max_value=rule.above))
    open_end = {"exclude_min": True} if number is st.floats else {}
    if rule.most is not None:
        strategies.append(number(min_value=rule.most + step, **open_end))
    if rule.below is not None:
        strategies.append(number(min_value=rule.below))
    if rule.even:
        strategies.append(st.integers(1, 1000).map(lambda n: 2 * n + 1))
    return st.one_of(*strategies, *([st.just(float("nan"))] if number is st.floats else []))


def refusal(options, name: str, value) -> str:
    """The message with which a value is refused, however it comes in."""
    with pytest.raises(UsageError) as caught:
        options.from_dict({name: value})
    with pytest.raises(UsageError):
        options(**{name: value})
    return str(caught.value)


@every_class
def test_each_option_says_what_it_takes_and_why(options):
    for field in fields(options):
        rule = field.metadata["rule"]
        assert len(rule.reason) >= 12, field.name
        if not (rule.choices or field.type is bool):
            assert rule.unit, f"{field.name} has no unit"
        if kinds(field) & {int, float}:
            assert rule.range() or rule.choices, f"{field.name} takes any number"
        assert describe(field)


@every_option
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_values_of_another_type_and_out_of_range_are_refused_in_one_line(options, field, data):
    for strategy in (of_another_type(field), out_of_range(field)):
        if not strategy.is_empty:
            message = refusal(options, field.name, data.draw(strategy))
            assert message.startswith(f"{field.name} takes {describe(field)}; not ")
            assert "\n" not in message and len(message) < 250


@every_option
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_values_in_range_are_taken_in_the_options_own_type(options, field, data):
    rule, kind = field.metadata["rule"], next(iter(kinds(field) - {type(None)}))
    if rule.choices or kind in (bool, str):
        value = data.draw(st.sampled_from(rule.choices or {bool: [False, True], str: [field.default]}[kind]))
    else:
        least = rule.least if rule.least is not None else rule.above if rule.above is not None else -100
        most = rule.most if rule.most is not None else rule.below if rule.below is not None else least + 100
        inside = (
            st.floats(least, most, exclude_min=True, exclude_max=True) if kind is float else st.integers(least, most)
        )
        value = data.draw(inside)
        value -= value % 2 if rule.even else 0
    try:
        taken = getattr(options.from_dict({field.name: value}), field.name)
    except UsageError as error:  # it does not go with another option's default
        assert " takes " not in str(error)
    else:
        assert taken == value and type(taken) in kinds(field)


@every_class
def test_help_shows_each_default_as_it_can_be_given(options):
    shown = re.findall(r"^  (\w+)=(\S+)  \S", options.help(), re.MULTILINE)
    assert options.read(f"{name}={text}" for name, text in shown) == {f.name: f.default for f in fields(options)}


@pytest.mark.parametrize(("command", "options"), [("train", TrainConfig), ("features", FeatureConfig)])
def test_help_of_a_command_lists_every_option(capsys, command, options):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for field in fields(options):
        rule = field.metadata["rule"]
        assert f"{field.name}=" in shown and describe(field) in shown and " ".join(rule.reason.split()) in shown


def test_help_shows_what_presets_change():
    lines = TrainConfig.help(PRESETS).splitlines()
    (line,) = [line for line in lines if line.startswith("  max_clips_heard=64000 ")]
    assert line.endswith("; cpu 1000; gpu 128000")
    (line,) = [line for line in lines if line.startswith("  max_steps=null ")]
    assert line.endswith(f" or null; demo {PRESETS['demo'].max_steps}")
    (line,) = [line for line in lines if line.startswith("  seed=")]
    assert "demo" not in line


@every_class
@settings(deadline=None, max_examples=15)
@given(texts)
def test_an_option_that_does_not_exist_is_refused_in_one_line(options, name):
    if name in {field.name for field in dataclasses.fields(options)}:
        return
    with pytest.raises(UsageError) as caught:
        options.from_dict({name: 1})
    assert re.search(r"has no option .*; (did you mean|there are:) \w", str(caught.value))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="has no option"):
        options.read([f"{name.replace('=', '-')}x="])


@given(st.one_of(texts, st.integers().map(str), st.just("null"), st.just("true"), st.just("NaN")))
def test_text_is_read_as_it_stands(text):
    as_json = json.loads(text) if re.fullmatch(r'"[^"\\]*"', text, re.DOTALL) and text.isprintable() else text
    assert FeatureConfig.read([f"salt={text}"]) == {"salt": as_json}


def test_numbers_and_truths_are_read_as_json():
    pairs = ["max_hours=1e1", "workers=null", "strict=true", "language=no", "split_policy=validated", "n_mels=128"]
    config = FeatureConfig.from_dict(FeatureConfig.read(pairs))
    assert (config.max_hours, config.workers, config.strict, config.n_mels) == (10.0, None, True, 128)
    assert (config.language, config.split_policy) == ("no", "validated")
    with pytest.raises(UsageError, match="--set takes key=value, not 'strict'"):
        FeatureConfig.read(["strict"])


def test_a_whole_number_and_its_fraction_make_the_same_dataset():
    assert repr(FeatureConfig(max_hours=10)) == repr(FeatureConfig(max_hours=10.0))


@pytest.mark.parametrize(
    ("options", "together"),
    [
        (FeatureConfig, {"min_seconds": 5, "max_seconds": 5}),
        (TrainConfig, {"full_context_share": 0.6, "packed_share": 0.5}),
        (TrainConfig, {"accumulation_schedule": "2@0", "gradient_accumulation_steps": 2}),
        (TrainConfig, {"accumulation_schedule": "2@1"}),
        (LiveOptions, {"trim_over_s": 20.0}),
        (PaceOptions, {"step_s": 5.0}),
        (PaceOptions, {"late_s": 11.0}),
        (SegmentOptions, {"joined_max_s": 16.0}),
        (SegmentOptions, {"silence_threshold": 0.4}),
    ],
)
def test_values_that_do_not_go_together_are_refused(options, together):
    with pytest.raises(UsageError) as caught:
        options.from_dict(together)
    assert next(iter(together)) in str(caught.value) and " takes " not in str(caught.value)


def test_every_kind_of_options_is_tested_here():
    assert set(Options.__subclasses__()) == set(CLASSES)
