"""The canary's results as a table: see benchmarks/readme.py."""


def canary(result: dict) -> str:
    """Versions and what came of each step, one column a set, from results/canary.json."""
    sets = list(result.values())
    names = {"colab": "Colab's packages", "newest": "newest releases"}
    lines = [f"| | {' | '.join(names[name] for name in result)} |", "|---" * (len(sets) + 1) + "|"]
    lines.append(f"| date | {' | '.join(one['date'] for one in sets)} |")
    lines.append(f"| Python | {' | '.join(one['python'] for one in sets)} |")
    for package in sets[0]["versions"]:
        lines.append(f"| {package} | {' | '.join(one['versions'].get(package) or '–' for one in sets)} |")
    for step in sets[0]["steps"]:
        outcomes = [f"{o['result']} ({o['seconds']} s)" for o in (one["steps"][step] for one in sets)]
        lines.append(f"| **{step}** | {' | '.join(outcomes)} |")
    return "\n".join(lines)
