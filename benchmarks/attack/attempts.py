"""What is tried, and what was answered."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from benchmarks.attack.network import Elsewhere
from benchmarks.attack.page import Page


@dataclass(frozen=True)
class World:
    """What all attempts share."""

    model: Path
    recording: bytes  # WAV, 3 s
    elsewhere: Elsewhere
    certificate: Path
    folder: Path  # for visitors' files and logs

    def page(self, kind: str, *options: str, **variables: str) -> Page:
        """A page that trusts the certificate of the servers elsewhere."""
        root = self.folder / f"{kind}-files"
        return Page(kind, self.model, root, *options, SSL_CERT_FILE=str(self.certificate), **variables)


@dataclass(frozen=True)
class Attempt:
    """A request with its answer. `item` is a line of ITEMS; `held` says whether the page did as it should."""

    item: int
    page: str
    request: str
    answer: str
    held: bool


ITEMS = {
    1: "Gradio's own doors: nothing is fetched or relayed, bytes are counted where they arrive",
    2: "one visitor cannot freeze the others",
    3: "nothing stays",
    4: "limits that fit: options, variables, proxies, Retry-After",
    5: "addresses that are not public, names in other scripts",
    6: "OpenAI's API as its clients use it",
    7: "operators: health, metrics, messages, sub-path",
    8: "deploying checks first",
}


class Notes:
    """Collects attempts on one page for one item."""

    def __init__(self, item: int, page: str):
        self.item, self.page, self.attempts = item, page, []

    def expect(self, request: str, answer, held: bool) -> None:
        """Note an answer: a response, or words."""
        self.attempts.append(Attempt(self.item, self.page, request, said(answer), bool(held)))

    def status(self, request: str, answer: httpx.Response, *expected: int) -> httpx.Response:
        """Note a response that should have one of these statuses."""
        self.expect(request, answer, answer.status_code in expected)
        return answer


def said(answer) -> str:
    """One line, not too long, without this machine's folders."""
    if isinstance(answer, httpx.Response):
        after = f" (Retry-After {answer.headers['retry-after']})" if "retry-after" in answer.headers else ""
        answer = f"{answer.status_code}{after} {answer.text}"
    return " ".join(str(answer).replace(f"{tempfile.gettempdir()}/", "").split())[:240]


Trial = Callable[[World], Iterator[Notes]]


def as_rows(notes: list[Notes]) -> list[dict]:
    return [asdict(attempt) for one in notes for attempt in one.attempts]


def attack(result: dict) -> str:
    """What was tried and what held, from results/attack.json, for the documents."""
    lines = ["| | requests | held |", "|---|---|---|"]
    for item, text in result["items"].items():
        rows = [row for row in result["attempts"] if row["item"] == int(item)]
        lines.append(f"| {text} | {len(rows)} | {sum(row['held'] for row in rows)} |")
    ends, pages = result["endings"].values(), result["without_and_with_drippers"]
    slowest = max(one["next_start_serves_s"] for one in ends)
    p95 = [pages["offline"]["p95_s"], pages["online"]["p95_s"]]
    answers = sum(page["answers"] for page in pages.values())
    lines += [
        "",
        f"Ends, {next(iter(ends))['times']} times each ({', '.join(result['endings'])}): exit codes right, "
        f"{result['files_left']} files left, the next start served within {slowest:.1f} s.",
        "",
        f"{result['minutes']:.0f} minutes of mixed load, six visitors and in every other minute two who hold what they "
        f"can: {answers:,} answers, {result['answers_lost']} lost; 95 % of the answers came within {p95[0][0]:.2f} s "
        f"without the two and {p95[0][1]:.2f} s with them on the page for recordings, {p95[1][0]:.2f} s and "
        f"{p95[1][1]:.2f} s on the live page. Memory grew by {result['rss_growth_mb']:.0f} MB, "
        f"{result['rss_growth_second_half_mb']:.1f} MB of it in the second half. "
        f"({result['machine']['cores']} CPU cores, {result['machine']['processor']}, {result['machine']['date']}; "
        "miniature model.)",
    ]
    return "\n".join(lines)
