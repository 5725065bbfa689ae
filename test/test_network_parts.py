# SPDX-License-Identifier: Apache-2.0
"""Parts of the network: parameters counted by hand, shapes, and what each encoder gives."""

import pytest
import timm
import torch

from monodvps_ros.config import NetworkConfig
from monodvps_ros.errors import ConfigError, ShapeError, WeightsError
from monodvps_ros.network import MonoDVPS, PoseNetwork, measure_complexity
from monodvps_ros.network.blank import without_values
from monodvps_ros.network.blocks import Head
from monodvps_ros.network.decoder import ASPP, Decoder, DecoderStage, DetailStage
from monodvps_ros.network.dense_depth import DenseDepthDecoder
from monodvps_ros.network.depth import DepthHead
from monodvps_ros.network.encoder import Encoder
from monodvps_ros.network.flow import FlowDecoder


def parameters(part):
    return sum(parameter.numel() for parameter in part.parameters())


def conv_norm(kernel, channels_in, channels_out):
    """A convolution without bias, and the scale and shift of its batch normalisation."""
    return kernel * kernel * channels_in * channels_out + 2 * channels_out


def separable(kernel, channels_in, channels_out):
    """A depthwise convolution and a 1x1 convolution, both normalised."""
    return kernel * kernel * channels_in + 2 * channels_in + conv_norm(1, channels_in, channels_out)


def test_aspp_parameters_by_hand():
    # 1x1, three dilated 3x3, image pooling with bias and no norm, and the 1x1 over all five.
    by_hand = conv_norm(1, 2048, 256) + 3 * conv_norm(3, 2048, 256) + (2048 * 256 + 256) + conv_norm(1, 5 * 256, 256)
    assert by_hand == 15_534_848
    assert parameters(ASPP(2048, 256, 32)) == by_hand
    assert parameters(ASPP(2048, 256, 16)) == by_hand
    by_hand = conv_norm(1, 960, 64) + 3 * separable(3, 960, 64) + (960 * 64 + 64) + conv_norm(1, 5 * 64, 64)
    assert parameters(ASPP(960, 64, 16, use_separable=True)) == by_hand


def test_decoder_stage_parameters_by_hand():
    # The second semantic stage on ResNet-50: 256 channels in, res2 (256) projected to 32.
    by_hand = conv_norm(1, 256, 32) + (25 * 288 + 2 * 288) + (288 * 256 + 2 * 256)
    assert by_hand == 90_272
    assert parameters(DecoderStage(256, 256, 32, 256)) == by_hand


def test_head_parameters_by_hand():
    semantic = (25 * 256 + 512) + (256 * 256 + 512) + (256 * 19 + 19)
    assert parameters(Head(256, 256, 19)) == semantic == 77_843
    offset = (25 * 128 + 256) + (128 * 32 + 64) + (32 * 2 + 2)
    assert parameters(Head(128, 32, 2)) == offset == 7_682


def test_depth_head_parameters_by_hand():
    by_hand = separable(5, 256, 64) + conv_norm(1, 64, 16) + separable(5, 64 + 16, 32) + (32 + 1)
    assert parameters(DepthHead(256, 64, 16)) == by_hand


def plain(channels_in, channels_out):
    return 9 * channels_in * channels_out + channels_out


def test_dense_depth_decoder_parameters_by_hand():
    decoder = DenseDepthDecoder((16, 24, 40, 112, 320), 96)
    reduce = plain(96, 64) + plain(64, 48) + plain(48, 32) + plain(32, 16)
    join = plain(64 + 112, 64) + plain(48 + 40, 48) + plain(32 + 24, 32) + plain(16 + 16, 16)
    assert parameters(decoder) == reduce + join + plain(64, 1) + plain(48, 1) + plain(32, 1) + plain(16, 1)


@pytest.mark.parametrize("last_stride", [16, 32])
def test_dense_depth_decoder_gives_four_scales_and_the_finest_alone(last_stride):
    decoder = DenseDepthDecoder((4, 5, 6, 7, 8), 9)
    features = tuple(torch.rand(2, c, 64 // s, 96 // s) for c, s in ((4, 2), (5, 4), (6, 8), (7, 16), (8, last_stride)))
    context = torch.rand(2, 9, 64 // last_stride, 96 // last_stride)
    disparities, levels = decoder((context, features[2], features[1]), features)
    assert [tuple(d.shape[1:]) for d in disparities] == [(1, 32, 48), (1, 16, 24), (1, 8, 12), (1, 4, 6)]
    assert [level.shape[1] for level in levels] == [16, 32, 48, 64]
    assert all(0.05 < d.mean().item() < 0.15 for d in disparities)  # INITIAL_DISPARITY is 0.1
    finest, _ = decoder((context, features[2], features[1]), features, finest_only=True)
    assert len(finest) == 1
    assert torch.equal(finest[0], disparities[0])


def test_flow_decoder_parameters_by_hand():

    projections = sum(channels * 32 + 32 for channels in (256, 512, 1024))
    estimator = plain(81 + 32 + 2, 64) + plain(64, 64) + plain(64, 32) + plain(32, 2)
    context = plain(32 + 2, 32) + 2 * plain(32, 32) + plain(32, 2)
    assert parameters(FlowDecoder((64, 256, 512, 1024, 2048), 64)) == projections + estimator + context


def test_complexity_of_resnet50_by_hand():
    config = NetworkConfig(encoder="resnet50", output_stride=32, separable_aspp=False)
    costs = {cost.name: cost for cost in measure_complexity(config)}
    # A classifier of 2048 x 1000 + 1000 is what the encoder lacks of the whole ResNet-50.
    with without_values():
        whole = parameters(timm.create_model("resnet50"))
    assert costs["encoder"].parameters == whole - 2_049_000 == 23_508_032
    pixels = (192 // 32) * (640 // 32)
    aspp = pixels * (2048 * 256 + 3 * 9 * 2048 * 256 + 5 * 256 * 256) + 2048 * 256
    assert costs["semantic_decoder.aspp"].live_multiply_adds == aspp
    pixels = (192 // 4) * (640 // 4)
    assert costs["semantic_head"].live_multiply_adds == pixels * (25 * 256 + 256 * 256 + 256 * 19)
    # Live, only the finest of four disparities is computed.
    assert costs["depth_head"].live_multiply_adds < costs["depth_head"].training_multiply_adds
    # Remembering: 1x1 to 32 channels at strides 4, 8 and 16; it is part of the flow decoder's cost.
    with_memory = costs["flow_decoder"].live_multiply_adds
    assert with_memory > sum(192 * 640 // s**2 * c * 32 for s, c in ((4, 256), (8, 512), (16, 1024)))
    total = sum(cost.parameters for cost in costs.values())
    with without_values():
        assert total == parameters(MonoDVPS(config))


def test_complexity_of_heads_at_stride_2_by_hand():
    config = NetworkConfig(encoder="resnet50", output_stride=32, semantic_channels=96, head_stride=2)
    costs = {cost.name: cost for cost in measure_complexity(config)}
    coarse, fine = (192 // 4) * (640 // 4), (192 // 2) * (640 // 2)
    mixed = 48 + 16
    stage = coarse * 96 * 48 + fine * (64 * 16 + 25 * mixed + mixed * 48)
    assert costs["semantic_decoder.stage2"].live_multiply_adds == stage
    assert costs["semantic_head"].live_multiply_adds == fine * (25 * 48 + 48 * 48 + 48 * 19)
    with without_values():
        assert sum(cost.parameters for cost in costs.values()) == parameters(MonoDVPS(config))


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [
        ("resnet50", 32, (64, 256, 512, 1024, 2048)),
        ("resnet50", 16, (64, 256, 512, 1024, 2048)),
        pytest.param("hrnet_w48", 32, (64, 128, 256, 512, 1024), marks=pytest.mark.slow),
        ("mobilenetv3_large_100", 16, (16, 24, 40, 112, 960)),
        ("mobilenetv3_small_050", 32, (16, 8, 16, 24, 288)),
        ("convnext_atto", 32, (16, 40, 80, 160, 320)),
    ],
)
def test_encoder_gives_maps_at_their_strides(name, stride, channels):
    with without_values():
        encoder = Encoder(name, stride).eval()
        maps = encoder(torch.zeros(2, 3, 64, 96))
    assert encoder.channels == channels
    sizes = [(2, count, 64 // s, 96 // s) for count, s in zip(channels, (2, 4, 8, 16, stride), strict=True)]
    assert [tuple(entry.shape) for entry in maps] == sizes


def test_encoder_without_stride_two_gets_a_stem():
    assert Encoder("convnext_atto", 32).stem is not None
    assert Encoder("mobilenetv3_small_050", 32).stem is None


def test_encoder_refuses_what_it_cannot_be():
    with pytest.raises(ConfigError, match=r"'resnet999' is not a timm model"):
        Encoder("resnet999")
    with pytest.raises(ConfigError, match=r"hrnet_w48.*output stride 16.*set network.output_stride to 32"):
        Encoder("hrnet_w48", 16)
    with pytest.raises(ConfigError, match=r"ends at stride 16"):
        Encoder("vit_tiny_patch16_224", 32)


def test_asked_for_encoder_weights_are_never_replaced_by_random_ones(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"no such file"):
        Encoder("mobilenetv3_small_050", weights=str(tmp_path / "absent.safetensors"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"cannot be loaded"):
        Encoder("mobilenetv3_small_050", weights=str(damaged))

    def no_connection(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_connection)
    with pytest.raises(WeightsError, match=r"'hub'.*no connection.*leave encoder weights empty"):
        Encoder("mobilenetv3_small_050", weights="hub")


def test_encoder_weights_from_a_file(tmp_path):
    whole = timm.create_model("mobilenetv3_small_050")
    file = tmp_path / "weights.pth"
    torch.save(whole.state_dict(), file)
    encoder = Encoder("mobilenetv3_small_050", weights=str(file))
    assert torch.equal(encoder.body.conv_stem.weight, whole.conv_stem.weight)
    # Six channels: the filters are spread over both images and halved, so that two equal images excite as one did.
    spread = Encoder("mobilenetv3_small_050", in_channels=6, weights=str(file)).body.conv_stem.weight
    assert torch.allclose(spread[:, :3], whole.conv_stem.weight / 2)
    assert torch.allclose(spread[:, 3:], whole.conv_stem.weight / 2)


def test_aspp_trains_on_a_batch_of_one():
    aspp = ASPP(8, 4, 32).train()
    maps = torch.randn(1, 8, 2, 3, requires_grad=True)
    aspp(maps).sum().backward()
    assert maps.grad.isfinite().all()


def test_aspp_rates_follow_the_output_stride():
    rates = [[b[0].dilation[0] for b in ASPP(8, 4, stride).branches] for stride in (16, 32)]
    assert rates == [[1, 6, 12, 18], [1, 3, 6, 9]]


def test_decoder_maps():
    sizes = {"aspp_channels": 5, "channels": 7, "skips": (3, 2, 1), "separable_aspp": False}
    features = tuple(torch.randn(1, c, 64 // s, 96 // s) for c, s in ((4, 2), (6, 4), (8, 8), (10, 16), (12, 16)))
    decoder = Decoder((4, 6, 8, 10, 12), 16, **sizes).eval()
    assert [tuple(m.shape) for m in decoder(features)] == [(1, 5, 4, 6), (1, 7, 8, 12), (1, 7, 16, 24)]
    assert decoder.channels == 7
    finer = Decoder((4, 6, 8, 10, 12), 16, **sizes, stride=2).eval()
    finer.load_state_dict(decoder.state_dict(), strict=False)
    *same, detail = finer(features)
    assert all(torch.equal(a, b) for a, b in zip(same, decoder(features), strict=True))
    assert detail.shape == (1, 3, 32, 48)
    assert finer.channels == 3


def test_detail_stage_parameters_by_hand():
    by_hand = conv_norm(1, 96, 48) + conv_norm(1, 32, 16) + separable(5, 48 + 16, 48)
    assert parameters(DetailStage(96, 32, 16)) == by_hand


def test_pose_is_small_and_respects_order():
    torch.manual_seed(0)
    network = PoseNetwork("mobilenetv3_small_050").eval()
    first, second = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)
    rotation, translation = network(first, second)
    assert rotation.shape == translation.shape == (2, 3)
    assert rotation.abs().max() < 0.01
    assert not torch.allclose(rotation, network(second, first)[0], atol=1e-7)
    # Rotation stands first among the six outputs.
    with torch.no_grad():
        network.decoder[-1].weight.zero_()
        network.decoder[-1].bias.copy_(torch.arange(6.0))
    rotation, translation = network(first, second)
    assert torch.allclose(rotation[0], torch.tensor([0.0, 0.01, 0.02]))
    assert torch.allclose(translation[0], torch.tensor([0.03, 0.04, 0.05]))
    with pytest.raises(ShapeError, match=r"second is .* but first is"):
        network(first, second[..., :64])


def test_pose_shrinks_frames_by_averaging():
    torch.manual_seed(0)
    whole = PoseNetwork("mobilenetv3_small_050").eval()
    shrinking = PoseNetwork("mobilenetv3_small_050", shrink=2).eval()
    shrinking.load_state_dict(whole.state_dict())
    small = torch.rand(2, 1, 3, 64, 96)
    large = small.repeat_interleave(2, 3).repeat_interleave(2, 4)
    for a, b in zip(whole(*small), shrinking(*large), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_pose_sees_the_first_frame_first():
    network = PoseNetwork("mobilenetv3_small_050").eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    assert (seen[0][:, :3] < 0).all()
    assert (seen[0][:, 3:] > 0).all()
