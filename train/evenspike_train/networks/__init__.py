"""Spiking networks by name, at any width: VGG-16, ResNet-19, and those of ADMM and AGC.

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
from evenspike_train.networks.lenet5 import LeNet5
from evenspike_train.networks.resnet19 import ResNet19
from evenspike_train.networks.strided10 import Strided10
from evenspike_train.networks.vgg16 import VGG16

__all__ = [
    "IMAGE_SIZE",
    "LEARNED",
    "NETWORKS",
    "PIXEL_SCALE",
    "VGG16",
    "AttentionNetwork",
    "ConvNorm",
    "LeNet5",
    "NetworkConfig",
    "ResNet19",
    "SpikingConv",
    "SpikingNetwork",
    "Strided10",
    "build",
    "channels_last",
    "prunable",
]
