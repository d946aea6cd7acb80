#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/model/attention.h"
#include "ddpm/model/resample.h"
#include "ddpm/model/resnet_block.h"
#include "ddpm/model/time_projections.h"

namespace ddpm {

/// What stands at the end of a level, between it and the next; kPlain has no weights.
enum class LevelResampling { kNone, kPlain, kConv, kResnet };

/// One level of a U-Net's way down or up.
struct LevelOptions {
  int64_t num_layers = 2;
  bool attention = false;               ///< one after each res block.
  bool attention_last_up_only = false;  ///< on the way up, after the last res block alone.
  LevelResampling resampling = LevelResampling::kConv;
  int64_t downsample_padding = 1;  ///< of kConv on the way down.
  ResnetOptions resnet;
  AttentionOptions attention_options;
};

/// Channels that enter an up level: from below, and with the maps of the way down that it takes
/// over.
struct UpChannels {
  int64_t below = 0;  ///< of the map that comes from the level below.
  int64_t skip = 0;   ///< of the last map taken over; the others have `out`.
  int64_t out = 0;    ///< of this level.
};

/// num_layers of (res block, attention), then the downsampling. Names: attentions, resnets,
/// downsamplers.
class DownBlockImpl : public torch::nn::Module {
 public:
  DownBlockImpl(int64_t in_channels, int64_t out_channels, const LevelOptions& options);

  /// @param time  of the res blocks that come next.
  /// @param skips every map that an up level will take over is appended. The last, if there is one,
  ///              is x, in whose place comes what its first reader gives back.
  Tensor forward(const Tensor& x, TimeRows& time, std::vector<Tensor>& skips);
  /// In the order in which they run.
  std::vector<ResnetBlock> res_blocks() const;

 private:
  std::vector<ResnetBlock> resnets_;
  std::vector<Attention> attentions_;
  LevelResampling resampling_;
  Downsample conv_downsampler_{nullptr};
  ResnetBlock resnet_downsampler_{nullptr};
};
TORCH_MODULE(DownBlock);

/// num_layers of (join a map of the way down, res block, attention), then the upsampling. Names:
/// attentions, resnets, upsamplers.
class UpBlockImpl : public torch::nn::Module {
 public:
  UpBlockImpl(const UpChannels& channels, const LevelOptions& options);

  /// @param time  of the res blocks that come next.
  /// @param skips the maps of the way down; num_layers of them are taken from its end.
  Tensor forward(const Tensor& x, TimeRows& time, std::vector<Tensor>& skips);
  /// In the order in which they run.
  std::vector<ResnetBlock> res_blocks() const;

 private:
  std::vector<ResnetBlock> resnets_;
  std::vector<Attention> attentions_;  ///< of the last res blocks
  LevelResampling resampling_;
  Upsample conv_upsampler_{nullptr};
  ResnetBlock resnet_upsampler_{nullptr};
};
TORCH_MODULE(UpBlock);

/// Res block, attention where it is asked for, res block. Names: attentions, resnets.
class MidBlockImpl : public torch::nn::Module {
 public:
  MidBlockImpl(int64_t channels, bool attention, const ResnetOptions& resnet,
               const AttentionOptions& attention_options);
  /// @param skips of DownBlock, whose last is x, if there is one.
  Tensor forward(const Tensor& x, TimeRows& time, std::vector<Tensor>& skips);
  std::vector<ResnetBlock> res_blocks() const { return {first_, second_}; }

 private:
  ResnetBlock first_{nullptr}, second_{nullptr};
  Attention attention_{nullptr};
};
TORCH_MODULE(MidBlock);

}  // namespace ddpm
