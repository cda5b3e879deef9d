"""Model Garden's Mask R-CNN with a ResNet and a feature pyramid, as the arguments want it."""

from pathlib import Path

import tensorflow as tf
from official.vision.configs import backbones, common, decoders
from official.vision.configs import maskrcnn as configs
from official.vision.modeling import factory


def build_model(args):
    """The model, its variables made. Without weights for its backbone it begins from nothing."""
    side = (args.image_size, args.image_size, 3)
    decay = tf.keras.regularizers.l2(args.weight_decay / 2) if args.weight_decay else None
    model = factory.build_maskrcnn(tf.keras.layers.InputSpec(shape=(None, *side)), _config(args), decay)
    model(tf.keras.Input(side), image_shape=tf.keras.Input((2,)), training=False)
    if args.backbone_weights:
        _load_backbone(model.backbone, Path(args.pretrained, args.backbone_weights))
    if args.batch_norm != "train":
        _freeze(model.backbone if args.batch_norm == "freeze-backbone" else model)
    return model


def _config(args):
    """The arguments in Model Garden's words."""
    return configs.MaskRCNN(
        num_classes=args.classes,
        input_size=[args.image_size, args.image_size, 3],
        min_level=args.min_level,
        max_level=args.max_level,
        anchor=configs.Anchor(num_scales=1, aspect_ratios=args.aspect_ratios, anchor_size=args.anchor_size),
        backbone=backbones.Backbone(
            type="resnet", resnet=backbones.ResNet(model_id=args.resnet, depth_multiplier=args.resnet_width)
        ),
        decoder=decoders.Decoder(type="fpn", fpn=decoders.FPN(num_filters=args.filters)),
        rpn_head=configs.RPNHead(num_convs=1, num_filters=args.filters),
        detection_head=configs.DetectionHead(num_convs=0, num_fcs=2, fc_dims=args.box_units),
        roi_generator=configs.ROIGenerator(
            pre_nms_top_k=2 * args.proposals,
            num_proposals=args.proposals,
            test_pre_nms_top_k=args.proposals,
            test_num_proposals=args.proposals,
        ),
        roi_sampler=configs.ROISampler(num_sampled_rois=args.rois, foreground_fraction=args.foreground),
        detection_generator=configs.DetectionGenerator(
            pre_nms_top_k=args.proposals, max_num_detections=args.max_objects
        ),
        mask_head=configs.MaskHead(num_convs=args.mask_convolutions, num_filters=args.filters),
        mask_sampler=configs.MaskSampler(num_sampled_masks=args.masks),
        # Ranks average their gradients, not what batch normalisation sees: Model Garden's way is tf.distribute's alone.
        norm_activation=common.NormActivation(norm_momentum=0.9, norm_epsilon=1e-4, use_sync_bn=False),
    )


def _load_backbone(backbone, path):
    """Begin with the weights of a classifier that Model Garden trained."""
    try:
        tf.train.Checkpoint(backbone=backbone).read(str(path)).expect_partial().assert_existing_objects_matched()
    except (tf.errors.NotFoundError, AssertionError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(
            f"{path} is no checkpoint of this backbone ({why}). Give its --resnet and --resnet-width, or none."
        ) from None


def _freeze(model):
    """Let batch normalisation stay as it is: neither its statistics nor its scale are learned."""
    for layer in model._flatten_layers():
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.trainable = False
