#!/bin/bash
# The Shakespeare recipe at 9.5M parameters on one GPU: three teachers, a student, and the scores of the student.
#
#     benchmarks/voice_gpu.sh BOOKS OUT [CORPUS] [STEPS]
#
# BOOKS is the file of books (docs/training.md), OUT a folder for runs, logs and scores, CORPUS one of
# period-shakespeare-dev (choices), period-shakespeare (the final model) or period-shakespeare-passages. Everything is
# resumable: the same command continues after an interruption. Development runs are scored on the development plays only;
# the test texts are scored by the final model, once.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
BOOKS=$1 OUT=$2 CORPUS=${3:-period-shakespeare-dev} STEPS=${4:-5000}
SEEDS=${SEEDS:-"1 2 3"}
SHAPE=${SHAPE:-"--n-layer 7 --n-head 5 --n-embd 320 --batch-size 16 --lr 0.005 --muon-lr 0.02"}
FLAGS=${FLAGS:-}
mkdir -p "$OUT"

[ -f "${INKHORN_CACHE:-$HOME/.cache/inkhorn}/built/$CORPUS/build.json" ] ||
  inkhorn data "$CORPUS" --books "$BOOKS" | tee "$OUT/data.log"

# A small model does not fill a GPU: the teachers train side by side.
run() { # NAME FLAGS...
  local name=$1
  shift
  # shellcheck disable=SC2086
  inkhorn train shakespeare --corpus "$CORPUS" --steps "$STEPS" --out "$OUT/$name" --resume $SHAPE $FLAGS "$@" > "$OUT/$name.log" 2>&1
}
pids=() teachers=()
for seed in $SEEDS; do
  run "teacher-$seed" --seed "$seed" &
  pids+=($!) teachers+=("$OUT/teacher-$seed")
done
for pid in "${pids[@]}"; do wait "$pid"; done
run student --seed 0 --teachers "${teachers[@]}"

score() { # MODEL FLAGS...
  local model=$1
  shift
  inkhorn eval --model "$model" --json "$@" | tee -a "$OUT/scores.jsonl"
}
case $CORPUS in
  *-dev) texts="--corpus=shakespeare-dev" ;;
  *-passages) texts="--corpus=shakespeare-passages" ;;
  *) texts="--corpus=shakespeare --corpus=tiny-shakespeare" ;;
esac
models=("$OUT/student")
[ "$CORPUS" = period-shakespeare-dev ] && models+=("${teachers[@]}")
for model in "${models[@]}"; do
  for text in $texts; do
    score "$model" "$text"
    score "$model" "$text" --stride 256
    [ "$text" != --corpus=shakespeare-passages ] || score "$model" "$text" --max-length 256
  done
done
