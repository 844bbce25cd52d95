#!/bin/sh
# Make Nano: pictures of Debian's packages, scenes, vision encoder, delta, and the table of its figures.
#   sh make.sh OUT [SCENES] [QUESTIONS]      e.g. sh make.sh ~/nano 12000 40000
# Everything goes to OUT; what is finished there is kept, what was interrupted goes on. docs/nano.md says how long it takes.
cd "$(dirname "$0")" || exit
here=$(pwd)
. ../_base_/env.sh

if [ $# -lt 1 ]; then sed -n '2,4s/^# //p' make.sh >&2; exit 2; fi
out=$1 scenes=${2:-12000} questions=${3:-40000}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit
made=../../build_datasets/nano
set -e

[ -e "$out/pictures/others" ] || "$PYTHON" $made/photos.py --out "$out/pictures"
# the delta is trained on other scenes than the encoder: it must not learn to trust judgements more than they deserve
"$PYTHON" $made/scenes.py --pictures "$out/pictures" --out "$out/scenes_encoder" --num "$scenes" --seed 131
"$PYTHON" $made/scenes.py --pictures "$out/pictures" --out "$out/scenes_delta" --num "$((scenes / 2))" --seed 132
[ -e "$out/encoder" ] || "$PYTHON" $made/train_encoder.py --scenes "$out/scenes_encoder" --out "$out/encoder"
"$PYTHON" $made/train_delta.py --cfg config.yaml --encoder "$out/encoder" --scenes "$out/scenes_delta" --out "$out/delta" \
    --questions "$questions"
sh evaluate.sh --encoder "$out/encoder" --delta "$out/delta/delta.pt" --out "$out/table.md"
echo "made $out/encoder and $out/delta/delta.pt; compare $here/ckpt"
