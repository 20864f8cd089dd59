"""What shells complete beside commands and options: names of topics, by the settings. No broker is asked."""

import typer


def published_topics(ctx: typer.Context, incomplete: str) -> list[str]:
    """What workers publish and `tail` follows, as the settings name it that the command would read."""
    from stream_worker.cli.options import flags, settings_file
    from stream_worker.errors import StreamWorkerError
    from stream_worker.settings import Settings
    from stream_worker.settings.loader import load_settings

    try:
        settings = load_settings(settings_file(ctx.params.get("config")), flags(None))
    except StreamWorkerError:
        # Whoever types is not told here that a file is wrong; the command tells.
        settings = Settings()
    names = settings.topics
    topics = (settings.output_topic(each) for each in (names.replies, names.deltas, names.analysis, names.metrics))
    return [topic for topic in topics if topic.startswith(incomplete)]
