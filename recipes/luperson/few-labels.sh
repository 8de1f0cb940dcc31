#!/bin/sh
# What pre-training without labels is worth where there are few: IDE and Trip on a tenth of the people and on all of them,
# begun from nothing, from ImageNet, and from an encoder that saw other pictures without their labels. Three seeds each.
#
#   sh recipes/luperson/few-labels.sh PICTURES DATA [OUT] [IMAGENET]
#
# PICTURES: what to pre-train on, such as Market-1501 or a crop set. DATA: what to train and test on, such as
# cuhk03-np/detected. OUT: folder of the runs. IMAGENET: a file with ImageNet's weights of a ResNet-18; by default they
# are downloaded by name. Finished runs are skipped, interrupted ones go on: run it again after a stop.
set -eu
pictures=$1 data=$2 out=${3:-runs/few-labels} imagenet=${4:-imagenet}
here=$(dirname "$0")

rewho pretrain "$pictures" --recipe "$here/moco-small.yaml" --out "$out/encoder"
for seed in 1 2 3; do
  for share in 0.1 1.0; do
    for method in ide trip; do
      for init in none "$imagenet" "$out/encoder"; do
        name=$method-$share-$(basename "$init")-$seed
        rewho train --recipe "$here/$method-fast.yaml" --data.root "$data" --data.share "$share" --data.split_seed "$seed" \
          --seed "$seed" --model.backbone resnet18 --model.input_size 128 64 --augment.crop_padding 5 \
          --model.pretrained "$init" --evaluate_every 0 --out "$out/$name"
      done
    done
  done
done
