#include "ddpm/model/simple_unet.h"

#include <ATen/ATen.h>

#include <array>
#include <string>

#include "ddpm/core/check.h"
#include "ddpm/model/timestep_embedding.h"

namespace ddpm {
namespace {

constexpr int64_t kTimeChannels = 32;
constexpr int64_t kSizeFactor = 16;
constexpr std::array<int64_t, 5> kChannels{64, 128, 256, 512, 1024};

void check_input(const Tensor& x, const Tensor& t, int64_t image_channels) {
  check_arg(x.dim() == 4 && x.size(1) == image_channels,
            "[SimpleUnet] x does not fit: expected [N, ", image_channels, ", H, W], got ",
            x.sizes());
  check_arg(x.size(2) % kSizeFactor == 0 && x.size(3) % kSizeFactor == 0,
            "[SimpleUnet] height and width must survive the downsampling: expected multiples of ",
            kSizeFactor, ", got ", x.size(2), " x ", x.size(3));
  check_arg(t.dim() == 1 && t.size(0) == x.size(0),
            "[SimpleUnet] t must hold one timestep an image: expected [", x.size(0), "], got ",
            t.sizes());
}

}  // namespace

SimpleBlockImpl::SimpleBlockImpl(int64_t in_channels, int64_t out_channels,
                                 SimpleDirection direction) {
  const bool up = direction == SimpleDirection::kUp;
  const Conv2dImpl::Options resampling{.kernel = 4, .stride = 2, .padding = 1, .transposed = up};
  time_mlp_ = register_module("time_mlp", Linear(kTimeChannels, out_channels));
  conv1_ = register_module("conv1", Conv2d(up ? 2 * in_channels : in_channels, out_channels));
  transform_ = register_module("transform", Conv2d(out_channels, out_channels, resampling));
  conv2_ = register_module("conv2", Conv2d(out_channels, out_channels));
  batch_norm1_ = register_module("batch_norm1", BatchNorm2d(out_channels));
  batch_norm2_ = register_module("batch_norm2", BatchNorm2d(out_channels));
}

Tensor SimpleBlockImpl::forward(const Tensor& x, const Tensor& e) {
  const Tensor time = at::relu(time_mlp_->forward(e)).unsqueeze(2).unsqueeze(3);
  Tensor h = batch_norm1_->forward(at::relu(conv1_->forward(x))) + time;
  h = batch_norm2_->forward(at::relu(conv2_->forward(h)));
  return transform_->forward(h);
}

SimpleUnetImpl::SimpleUnetImpl(const SimpleUnetConfig& config)
    : image_channels_(config.image_channels) {
  time_mlp_ =
      add_list(*this, "time_mlp")->register_module("1", Linear(kTimeChannels, kTimeChannels));
  conv0_ = register_module("conv0", Conv2d(image_channels_, kChannels.front()));
  const auto down_list = add_list(*this, "down_blocks");
  const auto up_list = add_list(*this, "up_blocks");
  const size_t num_levels = kChannels.size() - 1;
  for (size_t i = 0; i < num_levels; ++i) {
    const std::string name = std::to_string(i);
    down_blocks_.push_back(down_list->register_module(
        name, SimpleBlock(kChannels[i], kChannels[i + 1], SimpleDirection::kDown)));
    up_blocks_.push_back(up_list->register_module(
        name, SimpleBlock(kChannels[num_levels - i], kChannels[num_levels - i - 1],
                          SimpleDirection::kUp)));
  }
  output_ = register_module("output", Conv2d(kChannels.front(), image_channels_,
                                             Conv2dImpl::Options{.kernel = 1, .padding = 0}));
}

Tensor SimpleUnetImpl::forward(const Tensor& x, const Tensor& t, const Tensor& class_labels) {
  check_input(x, t, image_channels_);
  check_arg(!class_labels.defined(),
            "[SimpleUnet] this network has no classes: expected no class_labels, got some");
  const auto wave_dtype = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor waves = timestep_embedding(
      t, {.size = kTimeChannels, .flip_sin_to_cos = false, .freq_shift = 1, .dtype = wave_dtype});
  const Tensor e = at::relu(time_mlp_->forward(waves.to(x.scalar_type())));
  Tensor h = conv0_->forward(x.contiguous(at::MemoryFormat::ChannelsLast));
  std::vector<Tensor> skips;
  for (SimpleBlock& block : down_blocks_) skips.push_back(h = block->forward(h, e));
  for (SimpleBlock& block : up_blocks_) {
    h = block->forward(at::cat({h, skips.back()}, /*dim=*/1), e);
    skips.pop_back();
  }
  return output_->forward(h);
}

}  // namespace ddpm
