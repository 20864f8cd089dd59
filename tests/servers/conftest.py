"""Only where a server's program is named: `make test-openai`."""

import os

collect_ignore = [] if "STREAM_WORKER_TEST_VLLM" in os.environ else ["test_openai_server.py"]
