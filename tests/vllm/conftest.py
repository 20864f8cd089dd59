"""Only where vLLM is installed, which has an environment of its own: `make test-vllm`."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("vllm") else ["test_vllm_contract.py"]
