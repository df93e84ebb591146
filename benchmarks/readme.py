"""Write the measured figures into README.md from benchmarks/results: python -m benchmarks.readme [--check]

README marks each place by `<!-- name:begin -->` and `<!-- name:end -->`; what stands between is rendered from
results/name.json and from nothing else. --check exits with 1 where README says something else.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from cantowhisper.training.scoring import score_table

README = Path(__file__).resolve().parents[1] / "README.md"
RESULTS = Path(__file__).resolve().parent / "results"


def demo(result: dict) -> str:
    """The headline, and what the demo prints, from results/demo.json."""
    before, after = (result["scores"][which]["known voices"] for which in ("before", "after"))
    machine = result["machine"]
    lines = [
        f"**CER {after['cer_no_punctuation']:.1%}** on sentences that it has never heard (n={after['n']} clips, known "
        f"voices, no punctuation; {before['cer_no_punctuation']:.0%} before training), {result['minutes']:g} minutes "
        f"after `make demo` has its packages, on {machine['cores']} CPU cores without a GPU ({machine['processor']}, "
        f"{machine['date']}). The voices are synthetic: it shows that every stage works, not how well people are "
        "recognised.",
        "",
        "```",
        *score_table(result["scores"]).splitlines(),
        *(line for line in result["output"] if line.startswith("  ") or "(CER " in line),
        "```",
    ]
    return "\n".join(lines)


RENDERERS: dict[str, Callable[[dict], str]] = {"demo": demo}


def render(text: str) -> str:
    """README's text with every marked place rendered anew."""

    def place(match: re.Match) -> str:
        name = match[1]
        result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        return f"<!-- {name}:begin -->\n{RENDERERS[name](result)}\n<!-- {name}:end -->"

    return re.sub(r"<!-- (\w+):begin -->\n.*?<!-- \1:end -->", place, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = README.read_text(encoding="utf-8")
    rendered = render(text)
    if check and rendered != text:
        sys.exit("README.md differs from benchmarks/results; run python -m benchmarks.readme")
    README.write_text(rendered, encoding="utf-8")


if __name__ == "__main__":
    main()
