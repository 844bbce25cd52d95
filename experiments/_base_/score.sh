# Sourced after env.sh by every eval_*.sh. Gives
#   $data, $answers                   data.root_dir and infer.answer_dir of config.yaml, unless DATA or ANSWERS say otherwise
#   score SCRIPT TASK DATASET META [options]      runs ../../src/eval/SCRIPT.py on the answers of TASK to DATASET
#   judge TASK DATASET META [options]             the same for long answers, by a language model (VERSION=v2: its other question)
#   $status                           0, or what the last failing of them exited with: what one lacks does not stop the others
data=${DATA:-$("$PYTHON" -m depictqa.config config.yaml data.root_dir)} || exit
answers=${ANSWERS:-$("$PYTHON" -m depictqa.config config.yaml infer.answer_dir)} || exit
status=0

score() {
    script=$1 name=$2_$3 meta=$4
    shift 4
    echo "== $name"
    pred_path=$answers/$name.json
    "$PYTHON" "../../src/eval/$script.py" --pred_path "$pred_path" --gt_path "$data/$meta" "$@" || {
        status=$?
        [ -f "$pred_path" ] || echo "'sh infer_${0##*eval_}' writes these answers" >&2
    }
}

judge() {
    task=$1 dataset=$2 meta=$3 version=${VERSION:-v1}
    shift 3
    score "cal_gpt4_score_detail_$version" "$task" "$dataset" "$meta" \
        --save_path "$answers/${task}_${dataset}_judge_$version.json" "$@"
}
