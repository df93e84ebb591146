"""A mixed load: six visitors who behave, and in every other turn two who hold as much as they can."""

import base64
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import httpx
import numpy as np

from benchmarks.attack.attempts import World
from benchmarks.attack.network import ELSEWHERE, visitor
from benchmarks.attack.page import OFFLINE, ONLINE, ROOT, Page, client

N_DRIPPERS = 2
TURN_S = 60.0  # with drippers and without in turn, so that what else the machine does falls on both
WARM_UP_S = 45.0
PAUSE_S = 1.0  # of a visitor between an answer and the next request
PUSH_S, RATE = 0.25, 16_000
LONGEST_WAIT_S = 60.0  # for a place on the live page; then it counts as lost
OPTIONS = {
    # Nothing an hour is counted, and files go after a minute: the disk is to be seen flat within the test.
    OFFLINE: ("--max-requests-per-hour", "0", "--max-upload-bytes-per-hour", "0", "--keep-files-s", "60",
              "--look-for-old-files-s", "10"),
    ONLINE: (),
}  # fmt: skip


@dataclass
class Answers:
    """What the visitors who behave got: seconds by page and by whether drippers were there, and what was lost."""

    seconds: dict = field(default_factory=lambda: defaultdict(list))
    lost: list[str] = field(default_factory=list)
    dripping: bool = False
    counted: bool = False
    over: threading.Event = field(default_factory=threading.Event)


def run(world: World, *, minutes: float) -> dict:
    """Serve both pages under load; figures for the result."""
    answers, busy = Answers(), os.getloadavg()[1]
    with world.page(OFFLINE, *OPTIONS[OFFLINE]) as offline, world.page(ONLINE, *OPTIONS[ONLINE]) as online:
        pages = (offline, online)
        visitors = [(_by_openai, offline), (_by_openai, offline), (_by_gradio, offline), (_by_link, offline)]
        visitors += [(_live, online), (_live, online)]
        threads = [
            threading.Thread(target=_visit, args=(world, answers, way, page, visitor(100 + number)), daemon=True)
            for number, (way, page) in enumerate(visitors)
        ]
        for thread in threads:
            thread.start()
        time.sleep(WARM_UP_S)
        # Once with drippers before anything is measured: what they make the pages allocate stays allocated.
        _turn(answers, pages, dripping=True, seconds=WARM_UP_S)
        time.sleep(15)
        before = _taken(pages)
        answers.counted, samples = True, []
        for number in range(max(2, round(minutes * 60 / TURN_S))):
            _turn(answers, pages, dripping=number % 2 == 1, seconds=TURN_S)
            samples.append(_taken(pages))
            n = sum(map(len, answers.seconds.values()))
            print(
                f"turn {number + 1}: {n} answers, {len(answers.lost)} lost {answers.lost[-1:]}, {samples[-1]}",
                flush=True,
            )
        answers.counted = False
        answers.over.set()
        for thread in threads:
            thread.join(120)
        time.sleep(75)  # what was uploaded last is old now
        after = _taken(pages)
        said = [line for page in pages for line in page.said().splitlines() if "Traceback" in line]
    return _figures(answers, before, after, samples) | {
        "minutes": minutes,
        "tracebacks": len(said),
        "load_average": [round(busy, 1), round(os.getloadavg()[1], 1)],  # before and after
    }


def _turn(answers: Answers, pages, *, dripping: bool, seconds: float) -> None:
    drippers = []
    if dripping:
        command = [sys.executable, "-m", "benchmarks.attack.drippers", *(page.url for page in pages)]
        drippers = [
            subprocess.Popen([*command, visitor(150 + number)], cwd=ROOT, stdout=subprocess.DEVNULL)
            for number in range(N_DRIPPERS)
        ]
        time.sleep(2)  # until they hold what they can
    answers.dripping = dripping
    time.sleep(seconds)
    for dripper in drippers:
        dripper.kill()
        dripper.wait()
    answers.dripping = False


def _taken(pages) -> dict:
    return {f"{page.kind}_{what}": round(getattr(page, what), 2) for page in pages for what in ("rss_mb", "disk_mb")}


def _figures(answers: Answers, before: dict, after: dict, samples: list[dict]) -> dict:
    figures, ratios = {}, {}
    for kind in (OFFLINE, ONLINE):
        alone, beside = (answers.seconds[kind, dripping] for dripping in (False, True))
        p95 = [float(np.percentile(one, 95)) for one in (alone, beside)]
        ratios[kind] = round(p95[1] / p95[0], 3)
        figures[kind] = {
            "answers": len(alone) + len(beside),
            "median_s": [round(statistics.median(one), 3) for one in (alone, beside)],
            "p95_s": [round(one, 3) for one in p95],
            "p95_ratio": ratios[kind],
        }

    def grown(what: str, since: dict) -> float:
        return round(max(after[f"{kind}_{what}"] - since[f"{kind}_{what}"] for kind in (OFFLINE, ONLINE)), 1)

    middle = samples[len(samples) // 2 - 1]
    return {
        "clients": 6 + N_DRIPPERS,
        "dripping_clients": N_DRIPPERS,
        "answers_lost": len(answers.lost),
        "lost": answers.lost[:20],
        "others_p95_ratio": max(ratios.values()),
        "rss_growth_mb": grown("rss_mb", before),
        # Caches and the places for kept tabs fill in the first minutes; what leaks goes on.
        "rss_growth_second_half_mb": grown("rss_mb", middle),
        "disk_growth_mb": grown("disk_mb", before),
        "without_and_with_drippers": figures,
        "before": before,
        "after": after,
        "turns": samples,
        "most": {name: max(sample[name] for sample in samples) for name in before},
    }


# ------------------------------------------------------------------------------------------- visitors who behave


def _visit(world: World, answers: Answers, way, page: Page, address: str) -> None:
    with client(address) as http:
        while not answers.over.is_set():
            dripping, counted = answers.dripping, answers.counted
            try:
                took_s = way(world, page, http)
            except Exception as error:  # whatever it was, a visitor got no answer
                if counted:
                    answers.lost.append(f"{way.__name__.strip('_')}: {type(error).__name__} {error}"[:200])
                time.sleep(PAUSE_S)
                continue
            if counted and answers.counted and dripping == answers.dripping:  # else it belongs to both turns
                answers.seconds[page.kind, dripping].append(took_s)
            time.sleep(PAUSE_S)


def _by_openai(world: World, page: Page, http: httpx.Client) -> float:
    began = time.monotonic()
    page.transcribe(http, world.recording).raise_for_status().json()["text"]
    return time.monotonic() - began


def _by_gradio(world: World, page: Page, http: httpx.Client) -> float:
    began = time.monotonic()
    (path,) = page.upload(http, world.recording).raise_for_status().json()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    _complete(page.call(http, "transcribe", [file, "", "", 1, False]))
    return time.monotonic() - began


def _by_link(world: World, page: Page, http: httpx.Client) -> float:
    began = time.monotonic()
    _complete(page.call(http, "transcribe_url", [f"http://{ELSEWHERE}/talk.wav", "", "", 1, False]))
    return time.monotonic() - began


def _live(world: World, page: Page, http: httpx.Client) -> float:
    """Speak for three seconds, and wait for the final text: seconds from the last word on, and for a place before.

    Where all places are taken, it asks again, as the page does.
    """
    asked = time.monotonic()
    while "session" not in (answer := _complete(page.call(http, "start", ["", "", 0, ""]))):
        if time.monotonic() - asked > LONGEST_WAIT_S:
            raise RuntimeError(f"no place in {LONGEST_WAIT_S:.0f} s")
        time.sleep(answer["retry_s"])
    name, waited_s = answer["session"], time.monotonic() - asked
    sound, step, seen, at = world.recording[44:], int(PUSH_S * RATE) * 2, 0, 0
    while at < len(sound):
        audio = base64.b64encode(sound[at : at + step]).decode()
        view = _complete(page.call(http, "push", [name, at // 2, audio, -1, seen, False]))
        at, seen = view["have"] * 2, view["seen"]
        time.sleep(PUSH_S)
    began = time.monotonic()
    view = _complete(page.call(http, "finish", [name, at // 2, seen]))
    while not view["final"]:
        time.sleep(0.1)
        view = _complete(page.call(http, "poll", [name, view["seen"]]))
    while view["events"]:  # the session goes when all of it was seen
        view = _complete(page.call(http, "poll", [name, view["seen"]]))
    return waited_s + time.monotonic() - began


def _complete(told: tuple[str, object]):
    event, data = told
    if event != "complete" or "error" in data[0] or "unknown" in data[0] or "busy" in data[0]:
        raise RuntimeError(json.dumps(told, ensure_ascii=False)[:150])
    return data[0]
