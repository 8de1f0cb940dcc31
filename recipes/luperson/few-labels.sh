#!/bin/sh
# What pre-training without labels is worth, with few labels and with all: IDE and Trip on a tenth of the people and on all
# of them, begun from nothing and from an encoder that saw other images without their labels, three seeds each.
# Images of 64 x 32 and a ResNet-18, so that two CPU cores are enough (three hours with --engine.precision bf16);
# docs/results.md has what came out. The seeds draw other people, other first weights and other batches.
#
#   uv run sh recipes/luperson/few-labels.sh IMAGES DATA OUT [OPTION...]
#
# IMAGES: what to pre-train on, such as Market-1501's folder or a crop set. DATA: what to train and test on, such as
# cuhk03-np/detected. OUT: folder of the runs. OPTIONs are passed to every command, such as --engine.precision bf16.
# IMAGENET=FILE uv run sh ... begins from ImageNet's weights of a ResNet-18 as well, FILE or the word imagenet.
# All begin with the extra batch normalisation that the paper gives to encoders without labels, so that it is no part of
# the difference. Finished runs are skipped and interrupted ones resume: run it again after a stop.
set -eu
[ $# -ge 3 ] || { echo "usage: sh $0 IMAGES DATA OUT [OPTION...]" >&2; exit 2; }
images=$1 data=$2 out=$3
shift 3
here=$(dirname "$0")

rewho pretrain "$images" --recipe "$here/moco-small.yaml" --model.input_size 64 32 --sampler.batch 64 \
  --contrast.reference_batch 0 --optimizer.learning_rate 0.06 --epochs 14 --evaluate_every 0 --out "$out/encoder" "$@"
for seed in 1 2 3; do
  for run in "ide 0.1 40" "trip 0.1 80" "ide 1.0 12" "trip 1.0 8"; do
    for init in none ${IMAGENET:-} "$out/encoder"; do
      # shellcheck disable=SC2086 # three words: method, share of the people, epochs
      set -- $run "$@"
      method=$1 share=$2 epochs=$3
      shift 3
      rewho train --recipe "$here/$method-fast.yaml" --data.root "$data" --data.share "$share" --data.split_seed "$seed" \
        --seed "$seed" --model.backbone resnet18 --model.pretrained "$init" --model.input_size 64 32 --model.extra_bn yes \
        --augment.crop_padding 3 --epochs "$epochs" --evaluate_every 0 \
        --out "$out/$method-$share-$(basename "$init")-$seed" "$@"
    done
  done
done
