"""In CI a test that needs a broker or a model must run: its skip is a failure. No test fails for a slow machine."""

import os
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How fast examples are made is the machine's doing: a busy one must not fail a property.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
#: For `make fuzz`. What takes this long for some kilobytes hangs, on any machine.
settings.register_profile("fuzz", settings.get_profile("any-machine"), max_examples=500, deadline=timedelta(seconds=10))
settings.load_profile("any-machine")

_MUST_RUN = tuple(Path(__file__).parent / name for name in ("kafka", "e2e"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _refuse_skip(item.path, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _refuse_skip(collector.path, report)
    return report


def _refuse_skip(path: Path, report: Any) -> None:
    if os.environ.get("CI") == "true" and any(path.is_relative_to(folder) for folder in _MUST_RUN):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where it must run: {report.longrepr}"
