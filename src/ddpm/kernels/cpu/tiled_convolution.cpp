#include "ddpm/kernels/cpu/tiled_convolution.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "ddpm/kernels/cpu/amx_tiles.h"
#include "ddpm/kernels/cpu/integers.h"
#include "ddpm/kernels/cpu/round_sums.h"
#include "ddpm/kernels/cpu/share_out.h"
#include "ddpm/kernels/cpu/tiled_convolution_pieces.h"

namespace ddpm::cpu {
namespace {

constexpr int64_t kLeastPiece = 128, kLargestPiece = 512;  // pixels
constexpr int64_t kTasksPerThread = 4;           // cores are not equally fast at all times
constexpr int64_t kProductsOfThread = 1 << 20;   // fewer are not worth waking a thread for
constexpr int64_t kWeightsTogether = 450 << 10;  // bytes that stay in the second cache beside maps
constexpr int64_t kNearWeights = 1 << 20;        // bytes that stay in the second cache

/// What a thread does: pieces times some blocks of output channels.
class Worker {
 public:
  Worker(const Cut& cut, const TiledMaps& maps, int64_t groups)
      : cut_(cut),
        maps_(maps),
        groups_(groups),
        bias_(static_cast<size_t>(num_blocks(cut.c) * kBlockChannels), 0.0F),
        piece_(cut, maps.x) {
    for (int64_t c = 0; maps_.bias != nullptr && c < cut.c.out_channels; ++c) {
      bias_[static_cast<size_t>(c)] = std::bit_cast<float>(uint32_t{maps_.bias[c]} << 16);
    }
  }

  void run(int64_t task) {
    piece_.take(task / groups_);
    const int64_t blocks = num_blocks(cut_.c), group = task % groups_;
    const int64_t end = blocks * (group + 1) / groups_;
    const int64_t together = std::max<int64_t>(1, kWeightsTogether / (block_numbers() * 2));
    for (int64_t block = blocks * group / groups_; block < end; block += together) {
      for (int64_t i = 0; i < piece_.num_pairs(); ++i) {
        const auto [first, second] = piece_.pair(i);
        for (int64_t b = block; b < std::min(block + together, end); ++b) {
          multiply(b, first, second, /*is_far=*/i == 0);
        }
      }
    }
    round_rest(open_);
  }

  static int64_t num_blocks(const TiledConvolution& c) {
    return divide_up(c.out_channels, kBlockChannels);
  }

 private:
  void multiply(int64_t block, const Tile& first, const Tile& second, bool is_far) {
    const TiledConvolution& c = cut_.c;
    const int64_t steps = c.channels / kTileDepth;
    float* const sums = open_.sums == sums_[0] ? sums_[1] : sums_[0];
    multiply_tiles({.first = first.pixels,
                    .second = second.pixels,
                    .pixel_step = cut_.pixel_step(),
                    .row_step = cut_.row_step(),
                    .tap_step = cut_.tap_step()},
                   {.numbers = maps_.weight + block * block_numbers(),
                    .bias = bias_of(block),
                    .taps = c.kernel,
                    .steps = steps,
                    .rows = c.kernel,
                    .is_far = is_far},
                   sums, open_);
    finish(first, second, block, sums);
  }

  /// The next product rounds the last one's sums, unless the block has fewer channels than others.
  void finish(const Tile& first, const Tile& second, int64_t block, const float* sums) {
    open_ = {.sums = sums,
             .first_pixels = first.count,
             .pixels = first.count + second.count,
             .first = target_of(first, block),
             .second = target_of(second, block)};
    const int64_t channels = cut_.c.out_channels - block * kBlockChannels;
    if (channels >= kBlockChannels) return;
    round_sums(sums, first.count, kBlockChannels, channels, open_.first);
    round_sums(sums + kTilePixels * kBlockChannels, second.count, kBlockChannels, channels,
               open_.second);
    open_.rounded = open_.pixels;
  }

  /// Of the weight.
  int64_t block_numbers() const {
    return cut_.c.kernel * cut_.c.kernel * cut_.c.channels * kBlockChannels;
  }
  const float* bias_of(int64_t block) const { return bias_.data() + block * kBlockChannels; }

  SumsTarget target_of(const Tile& tile, int64_t block) const {
    const int64_t out = cut_.c.out_channels, at = tile.first * out + block * kBlockChannels;
    return {.residual = maps_.residual == nullptr ? nullptr : maps_.residual + at,
            .y = maps_.y + at,
            .stride = out,
            .images = cut_.beside,
            .image_stride = cut_.c.out_height * cut_.c.out_width * out};
  }

  alignas(64) float sums_[2][2 * kTilePixels * kBlockChannels];
  const Cut& cut_;
  const TiledMaps& maps_;
  int64_t groups_;
  std::vector<float> bias_;  ///< Of all blocks.
  Piece piece_;
  OpenSums open_;
  AmxRegisters registers_;
};

/// Where all weights stay in the second cache, pieces are such that each thread has some; else all
/// that fit there, so that weights are read once.
Cut cut_of(const TiledConvolution& c, int64_t threads) {
  const int64_t pixels = c.images * c.out_height * c.out_width;
  const int64_t weights = c.kernel * c.kernel * c.channels * c.out_channels * 2;
  const int64_t shared =
      weights > kNearWeights ? kLargestPiece : pixels / (kTasksPerThread * threads);
  return {c, std::clamp(round_up(shared, kTilePixels), kLeastPiece, kLargestPiece)};
}

}  // namespace

void convolve_tiles(const TiledConvolution& c, const TiledMaps& maps) {
  const int64_t products = c.images * c.out_height * c.out_width * c.kernel * c.kernel *
                           c.channels * round_up(c.out_channels, kBlockChannels);
  if (products == 0) return;
  const int64_t threads =
      std::clamp<int64_t>(products / kProductsOfThread, 1, at::get_num_threads());
  const Cut cut = cut_of(c, threads);
  const int64_t wanted = threads == 1 ? 1 : kTasksPerThread * threads;
  const int64_t groups =
      std::clamp(divide_up(wanted, cut.pieces), int64_t{1}, Worker::num_blocks(c));
  share_out(
      cut.pieces * groups, threads, [&] { return Worker(cut, maps, groups); },
      [](Worker& worker, int64_t task) { worker.run(task); });
}

}  // namespace ddpm::cpu
