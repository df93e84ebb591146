"""Both pages attacked and operated as on the open internet: python -m benchmarks.attack --json FILE

Everything runs on this machine in a network namespace of its own (see network.py), with a model of random weights.
`attempts` are requests with their answers, `endings` what is left after kill -9, SIGTERM, Ctrl-C and a full disk, and
the rest is a mixed load by 8 clients of which 2 drip. The exit code is 1 where something did not hold.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import soundfile

from benchmarks.attack import behind_nginx, doors, endings, interfaces, load
from benchmarks.attack.attempts import ITEMS, World, as_rows
from benchmarks.attack.network import ELSEWHERE, Elsewhere, certificate, enter
from benchmarks.attack.page import PAGES, ROOT, client, files_in
from benchmarks.machine import describe
from benchmarks.random_model import build_talker
from cantowhisper.repository import repository_file
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

TRIALS = (
    doors.gradios_doors,
    doors.one_against_the_others,
    doors.nothing_stays,
    doors.limits,
    doors.addresses,
    interfaces.openai_api,
    interfaces.realtime_api,
    interfaces.operators,
    behind_nginx.nginx,
    interfaces.deploying,
)
MAX_P95_RATIO = 1.5
MAX_TAKEN_MB, MAX_GROWTH_MB = 100.0, 10.0  # in all of the load, and in its second half
SAMPLES, CLIP_S = repository_file("samples/corpus/clips"), 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/attack.json"))
    parser.add_argument("--minutes", type=float, default=20.0, help="of mixed load; 0 leaves it out (default: 20)")
    parser.add_argument("--times", type=int, default=10, help="each end; 0 leaves them out (default: 10)")
    parser.add_argument("--only", default="", help="trials whose names hold this; - for none")
    parser.add_argument("--model", type=Path, help="folder of a model (default: a miniature with random weights)")
    parser.add_argument("--keep", action="store_true", help="keep what FILE has of parts that are not measured now")
    parser.add_argument("--note", default="", help="what else the machine was doing; goes into the result")
    arguments = parser.parse_args()
    enter()
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        before = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.keep else {}
        result = measure(arguments, Path(folder), before)
    print(json.dumps({k: v for k, v in result.items() if k != "attempts"}, indent=2, ensure_ascii=False))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if result["all_held"] else 1


def measure(arguments: argparse.Namespace, folder: Path, before: dict) -> dict:
    """The result; what `before` has of parts that are left out now stays as it is there."""
    pem = certificate(folder)
    sound = recording()
    world = World(arguments.model or build_talker(folder / "models", sound), sound, Elsewhere(sound, pem), pem, folder)
    part = {"machine": describe(), "note": arguments.note}
    result = {"attempts": [], "items": ITEMS, **before, **part}
    for trial in TRIALS:
        if arguments.only in trial.__name__:
            _try(world, trial, result)
    if not arguments.only:
        result["urls_fetched_by_framework_alone"] = control(world)
    result["attempts_failed"] = [row for row in result["attempts"] if not row["held"]]
    result["n_attempts"] = len(result["attempts"])
    if arguments.times:
        result["endings"] = endings.run(world, times=arguments.times)
        result["files_left"] = sum(one["files_left"] for one in result["endings"].values())
    if arguments.minutes:
        result |= load.run(world, minutes=arguments.minutes)
    return result | {"all_held": held(result)}


def _try(world: World, trial, result: dict) -> None:
    began, asked = time.monotonic(), len(world.elsewhere.asked)
    rows = [{"trial": trial.__name__, **row} for row in as_rows(list(trial(world)))]
    result["attempts"] = [row for row in result["attempts"] if row["trial"] != trial.__name__] + rows
    if trial is doors.gradios_doors:
        theirs = [path for _, path in world.elsewhere.asked[asked:]]
        result["urls_fetched_by_framework"] = len(theirs)
    failed = [row for row in rows if not row["held"]]
    print(f"{trial.__name__}: {len(rows)} attempts, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    for row in failed:
        print(f"  {row['page']}: {row['request']}: {row['answer']}", flush=True)
    left = [path for path in files_in(world.folder) if "-files/" in str(path)]
    if left:
        print(f"  {len(left)} files left", flush=True)


def control(world: World) -> int:
    """How often Gradio alone fetches for one request of each kind."""
    asked, url = len(world.elsewhere.asked), f"http://{PAGES}:7862"
    command = [sys.executable, "-m", "benchmarks.attack.unfiltered", str(world.model), "7862"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        http, ends = client(timeout_s=30), time.monotonic() + 60
        while time.monotonic() < ends:
            try:
                http.get(f"{url}/config")
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        file = {"path": f"http://{ELSEWHERE}/theirs.wav", "meta": {"_type": "gradio.FileData"}}
        http.post(f"{url}/gradio_api/call/transcribe", json={"data": [file, "", "", 1, False]})
        http.get(f"{url}/gradio_api/file=http://{ELSEWHERE}/theirs")
        time.sleep(5)
    finally:
        process.kill()
        process.wait()
    return len(world.elsewhere.asked) - asked


def held(result: dict) -> bool:
    """Whether everything is as it should be, of what was measured."""
    ends = result.get("endings", {}).values()
    return not result["attempts_failed"] and all(
        (
            result.get("urls_fetched_by_framework", 0) == 0,
            result.get("answers_lost", 0) == 0,
            result.get("others_p95_ratio", 0) <= MAX_P95_RATIO,
            result.get("rss_growth_mb", 0) < MAX_TAKEN_MB,
            max(result.get("rss_growth_second_half_mb", 0), result.get("disk_growth_mb", 0)) < MAX_GROWTH_MB,
            result.get("files_left", 0) == 0,
            all(one["exit_codes_right"] and one["next_start_serves_s"] <= endings.SERVES_WITHIN_S for one in ends),
            all(one.get("recovered", one["times"]) == one["times"] for one in ends),
            all(one.get("refused_in_one_line", one["times"]) == one["times"] for one in ends),
        )
    )


def recording() -> bytes:
    """The first 3 s of a sample, as WAV: tones and noise would be heard as such, and nothing be written."""
    clip = next(path for path in sorted(SAMPLES.glob("*.mp3")) if soundfile.info(path).duration > CLIP_S)
    waveform = load_audio(clip)[: round(CLIP_S * SAMPLE_RATE)]
    out = io.BytesIO()
    soundfile.write(out, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
