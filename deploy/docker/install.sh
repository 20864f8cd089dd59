#!/bin/sh
# What the image's first stage does: a virtual environment with the worker, pinned, and nothing that only builds.
# Read by the Dockerfile and run by a test: VARIANT, TORCH_INDEX and EXTRAS as there.
set -eu
target=$1
python3 -m venv "$target"
case "${VARIANT:-cpu}" in
  cpu | cuda) ;;
  *) echo "VARIANT must be cpu or cuda, not ${VARIANT}" >&2; exit 2 ;;
esac
if [ "${VARIANT:-cpu}" = cpu ] && [ -n "${TORCH_INDEX:-}" ]; then
  "$target/bin/pip" install --no-compile --constraint constraints.txt --index-url "$TORCH_INDEX" torch
fi
"$target/bin/pip" install --no-compile --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"
"$target/bin/pip" check
find "$target" -depth \( -name __pycache__ -o -name tests -path '*/torch/*' \) -prune -exec rm -rf {} +
