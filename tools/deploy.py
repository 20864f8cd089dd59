"""Writes deploy/grafana and deploy/prometheus from tools/watching, and what of the chart follows from the code.

With `--check` it names what is stale and exits 1.

`--docs` and `--grafana` say where the documentation and Grafana are, for the links in panels and alerts. By default
they are relative: give both, and a folder with `--out`, when you generate the files for your own installation.
"""

import argparse
import sys
from pathlib import Path

from tools import chart
from tools.watching.grafana import dashboards
from tools.watching.rules import for_operator, plain

ROOT = Path(__file__).parent.parent
_DOCS = "docs"
_GRAFANA = ""


def files(docs: str = _DOCS, grafana: str = _GRAFANA) -> dict[str, str]:
    """Every file's text by its path below deploy/."""
    rules = {
        "prometheus/rules.yaml": plain(docs, grafana),
        "prometheus/prometheus-rule.yaml": for_operator(docs, grafana),
    }
    of_chart = {
        "helm/stream-worker/README.md": chart.readme(),
        "helm/stream-worker/files/topics.json": chart.topics(),
        "helm/stream-worker/files/users.json": chart.users(),
    }
    return {f"grafana/{name}": text for name, text in dashboards(docs).items()} | rules | of_chart


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--docs", default=_DOCS)
    parser.add_argument("--grafana", default=_GRAFANA)
    parser.add_argument("--out", type=Path, default=ROOT / "deploy")
    given = parser.parse_args()
    stale = []
    for name, text in files(given.docs, given.grafana).items():
        file = given.out / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not given.check:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    if given.check and stale:
        sys.stderr.write(f"stale, run `make gen`: {', '.join(f'deploy/{name}' for name in stale)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
