"""`python -m stream_worker` is `stream-worker`."""

from stream_worker.cli.app import main

if __name__ == "__main__":
    main()
