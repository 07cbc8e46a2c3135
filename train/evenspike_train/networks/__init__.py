"""Spiking networks by name, at any width: VGG-16 and ResNet-19, and AGC's without batch norm.

A network is added by writing one file that puts it into `NETWORKS`.
"""

from __future__ import annotations

from evenspike_train.networks.agc import AttentionNetwork
from evenspike_train.networks.base import (
    IMAGE_SIZE,
    LEARNED,
    NETWORKS,
    PIXEL_SCALE,
    ConvNorm,
    NetworkConfig,
    SpikingConv,
    SpikingNetwork,
    build,
    channels_last,
    prunable,
)
from evenspike_train.networks.resnet19 import ResNet19
from evenspike_train.networks.vgg16 import VGG16

__all__ = [
    "IMAGE_SIZE",
    "LEARNED",
    "NETWORKS",
    "PIXEL_SCALE",
    "VGG16",
    "AttentionNetwork",
    "ConvNorm",
    "NetworkConfig",
    "ResNet19",
    "SpikingConv",
    "SpikingNetwork",
    "build",
    "channels_last",
    "prunable",
]
