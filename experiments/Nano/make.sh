#!/bin/sh
# Make Nano from a folder of photos: data, vision encoder, delta, answers about held-out photos, their accuracy.
#   sh make.sh PHOTOS OUT [MINUTES] [ITEMS]      e.g. sh make.sh ~/photos ~/nano 30 20000
# ours: the photos of that time (docs/nano.md), MINUTES 6.5 and ITEMS 60000 on an H100; now photos.py makes DIR/photos
# Everything goes to OUT; what is finished there is kept, what was interrupted goes on.
cd "$(dirname "$0")" || exit
here=$(pwd)
. ../_base_/env.sh

if [ $# -lt 2 ]; then sed -n '2,5s/^# //p' make.sh >&2; exit 2; fi
photos=$1 out=$2 minutes=${3:-30} items=${4:-20000}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit
made="data.root_dir=$out/data model.vision_encoder_path=$out/clip_nano.pt model.delta_path=$out/ckpt/ckpt.pt"
set -e

"$PYTHON" ../../build_datasets/nano/build.py --test --out "$out/data/test"
"$PYTHON" ../../build_datasets/nano/build.py --photos "$photos" --out "$out/data/train" --num "$items"
[ -e "$out/clip_nano.pt" ] ||
    "$PYTHON" ../../build_datasets/nano/pretrain_clip.py --photos "$photos" --out "$out/clip_nano.pt" --minutes "$minutes"
[ -e "$out/ckpt/ckpt.pt" ] ||
    "$PYTHON" ../../src/train.py --cfg config.yaml --resume auto --set $made model.delta_path=null \
        "train.save_dir=$out/ckpt" "train.log_dir=$out/log"
for kind in A_brief refA_brief AB_rating refAB_rating; do
    sh infer_$kind.sh --set $made "infer.answer_dir=$out/answers"
    DATA=$out/data ANSWERS=$out/answers sh eval_$kind.sh
done
"$PYTHON" ../../src/eval/report.py --answers "$out/answers" --gt_paths "$out/data/test/metas" --save_path "$out/report.html"
echo "made $out/clip_nano.pt and $out/ckpt/ckpt.pt; compare $here/ckpt"
