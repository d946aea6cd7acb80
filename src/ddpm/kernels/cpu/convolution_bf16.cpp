#include "ddpm/kernels/cpu/convolution_bf16.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <vector>

#include "ddpm/core/device.h"
#include "ddpm/kernels/cpu/amx_tiles.h"
#include "ddpm/kernels/cpu/integers.h"
#include "ddpm/kernels/cpu/round_sums.h"
#include "ddpm/kernels/cpu/tiled_convolution.h"
#include "ddpm/kernels/cpu/weight_tiles.h"
#include "ddpm/kernels/cpu/words.h"

namespace ddpm::cpu {
namespace {

using at::BFloat16;

constexpr int64_t kBlockWidth = 64;
constexpr int64_t kTileRows = 16;                // of AMX
constexpr int64_t kPixelsPerProduct = 128;       // whose sums stay in the first cache
constexpr int64_t kCachedWeights = 512 << 10;    // bytes that stay in the second cache
constexpr int64_t kProductsPerThread = 1 << 20;  // fewer are not worth waking a thread for

/// Sides of the maps and what lies where.
struct Geometry {
  int64_t images, in_height, in_width, channels, out_height, out_width, stride, padding, kernel;

  int64_t row() const { return in_width * channels; }                         ///< of x
  int64_t padded_row() const { return (in_width + 2 * padding) * channels; }  ///< of a copy of x
  /// Short output rows are one product, with the padding between them as waste.
  bool joined() const { return stride == 1 && padding > 0 && out_width <= kTileRows; }
};

/// What all tasks of a convolution read and write.
struct Maps {
  const BFloat16* x;
  const BFloat16* bias;      ///< may be null
  const BFloat16* residual;  ///< may be null
  BFloat16* y;
};

/// Memory that a thread keeps from call to call.
template <typename Number, int kPurpose>
Number* scratch(int64_t size) {
  thread_local std::vector<Number> numbers;
  if (numbers.size() < static_cast<size_t>(size)) numbers.resize(static_cast<size_t>(size));
  return numbers.data();
}

const BFloat16* block_of(const Bf16Blocks& weight, int64_t block, int64_t kernel_row) {
  const int64_t size = weight.kernel * weight.in_channels * weight.width;
  return weight.blocks.const_data_ptr<BFloat16>() + (block * weight.kernel + kernel_row) * size;
}
int64_t num_blocks(const Bf16Blocks& weight) {
  return (weight.out_channels + weight.width - 1) / weight.width;
}

/// y's pixels from `pixel` on, of one block of output channels.
void finish(const Bf16Blocks& weight, const Maps& maps, const float* sums, int64_t block,
            int64_t pixel, int64_t pixels) {
  const auto words = [](const BFloat16* values, int64_t offset) {
    return values == nullptr ? nullptr : reinterpret_cast<const uint16_t*>(values + offset);
  };
  const int64_t first = block * weight.width;
  const int64_t offset = pixel * weight.out_channels + first;
  round_sums(sums, pixels, weight.width, std::min(weight.width, weight.out_channels - first),
             {.bias = words(maps.bias, first),
              .residual = words(maps.residual, offset),
              .y = reinterpret_cast<uint16_t*>(maps.y + offset),
              .stride = weight.out_channels});
}

/// Kernel 1: pixels are the rows of one matrix.
void multiply_pixels(const Bf16Blocks& weight, const Maps& maps, int64_t pixels) {
  const int64_t pieces = (pixels + kPixelsPerProduct - 1) / kPixelsPerProduct;
  const int64_t tasks = pieces * num_blocks(weight);
  const int64_t products = std::min(pixels, kPixelsPerProduct) * weight.in_channels * weight.width;
  at::parallel_for(0, tasks, 1 + kProductsPerThread / products, [&](int64_t begin, int64_t end) {
    float* const sums = scratch<float, 0>(kPixelsPerProduct * weight.width);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task / pieces;
      const int64_t first = task % pieces * kPixelsPerProduct;
      const int64_t count = std::min(kPixelsPerProduct, pixels - first);
      at::native::cpublas::brgemm(
          count, weight.width, weight.in_channels, weight.in_channels, weight.width, weight.width,
          /*add_C=*/false, maps.x + first * weight.in_channels, block_of(weight, block, 0), sums);
      finish(weight, maps, sums, block, first, count);
    }
    at::native::cpublas::brgemm_release();
  });
}

/// Rows first to first + count - 1 of a padded image, zeros where there is no pixel.
void copy_padded(const Geometry& g, const BFloat16* image, int64_t first, int64_t count,
                 BFloat16* copy) {
  const int64_t side = g.padding * g.channels;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i - g.padding;
    BFloat16* const to = copy + i * g.padded_row();
    if (row < 0 || row >= g.in_height) {
      std::fill_n(to, g.padded_row(), BFloat16(0));
      continue;
    }
    std::fill_n(to, side, BFloat16(0));
    std::copy_n(image + row * g.row(), g.row(), to + side);
    std::fill_n(to + side + g.row(), side, BFloat16(0));
  }
}

/// How a convolution is cut into tasks: rows of an image, and blocks of output channels.
struct Tasks {
  Tasks(const Geometry& g, const Bf16Blocks& weight) {
    const bool cached = weight.blocks.numel() * 2 <= kCachedWeights;
    const int64_t wanted = cached ? kPixelsPerProduct : 4 * kPixelsPerProduct;
    rows = std::clamp<int64_t>(wanted / g.out_width, 1, g.out_height);
    row_pieces = (g.out_height + rows - 1) / rows;
    pieces = g.images * row_pieces;
    const bool enough = pieces >= 2 * at::get_num_threads();
    groups = cached && enough ? 1 : num_blocks(weight);
    blocks_per_group = num_blocks(weight) / groups;
  }
  int64_t rows, row_pieces, pieces, groups, blocks_per_group;
};

/// The sums of `rows` rows of outputs and one block of channels, from rows of x with their padding.
///
/// A kernel row's taps of one pixel lie one after the other in x's row, and those of the next pixel
/// begin `stride` pixels later: so a kernel row is one product of overlapping rows of x.
void add_products(const Geometry& g, const Bf16Blocks& weight, const BFloat16* x, int64_t x_row,
                  int64_t rows, int64_t block, float* sums) {
  const bool joined = g.joined();
  const int64_t pixels =
      joined ? round_up((rows - 1) * x_row / g.channels + g.out_width, kTileRows) : g.out_width;
  const int64_t products = joined ? 1 : rows;
  for (int64_t i = 0; i < products; ++i) {
    for (int64_t tap = 0; tap < g.kernel; ++tap) {
      at::native::cpublas::brgemm(pixels, weight.width, g.kernel * g.channels,
                                  g.stride * g.channels, weight.width, weight.width,
                                  /*add_C=*/tap > 0, x + (i * g.stride + tap) * x_row,
                                  block_of(weight, block, tap), sums + i * pixels * weight.width);
    }
  }
}

void run_task(const Geometry& g, const Bf16Blocks& weight, const Maps& maps, const Tasks& tasks,
              int64_t task) {
  const int64_t piece = task % tasks.pieces;
  const int64_t image = piece / tasks.row_pieces;
  const int64_t first_row = piece % tasks.row_pieces * tasks.rows;
  const int64_t rows = std::min(tasks.rows, g.out_height - first_row);
  const int64_t in_rows = (rows - 1) * g.stride + g.kernel;
  const BFloat16* const x = maps.x + image * g.in_height * g.row();
  const BFloat16* from = x + first_row * g.stride * g.row();
  if (g.padding > 0) {
    // A joined product reads past the end, up to a tile.
    BFloat16* const copy =
        scratch<BFloat16, 1>(in_rows * g.padded_row() + (kTileRows + g.kernel) * g.channels);
    copy_padded(g, x, first_row * g.stride, in_rows, copy);
    from = copy;
  }
  const int64_t joined_row = g.joined() ? g.padded_row() / g.channels : g.out_width;
  float* const sums = scratch<float, 0>(round_up(rows * joined_row, kTileRows) * weight.width);
  const int64_t first_block = task / tasks.pieces * tasks.blocks_per_group;
  for (int64_t block = first_block; block < first_block + tasks.blocks_per_group; ++block) {
    add_products(g, weight, from, g.padded_row(), rows, block, sums);
    for (int64_t row = 0; row < rows; ++row) {
      finish(weight, maps, sums + row * joined_row * weight.width, block,
             (image * g.out_height + first_row + row) * g.out_width, g.out_width);
    }
  }
}

void convolve_rows(const Geometry& g, const Bf16Blocks& weight, const Maps& maps) {
  const Tasks tasks(g, weight);
  at::parallel_for(0, tasks.pieces * tasks.groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) run_task(g, weight, maps, tasks, task);
    at::native::cpublas::brgemm_release();
  });
}

const BFloat16* data_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<BFloat16>() : nullptr;
}
Bf16Blocks tiles_of(const Tensor& weight, bool turned) {
  const Tensor dense = weight.contiguous(at::MemoryFormat::ChannelsLast);
  const TiledWeight shape{.out_channels = weight.size(0),
                          .in_channels = weight.size(1),
                          .kernel = weight.size(2),
                          .turned = turned};
  const Tensor tiles = at::empty({shape.num_numbers()}, weight.options());
  pack_weight_tiles(shape, words_of(dense), mutable_words_of(tiles));
  return {.blocks = tiles,
          .out_channels = shape.results(),
          .in_channels = shape.depth(),
          .kernel = shape.kernel,
          .width = kBlockChannels,
          .is_tiled = true};
}

TiledConvolution tiled_convolution(const Geometry& g, const Bf16Blocks& weight) {
  return {.images = g.images,
          .height = g.in_height,
          .width = g.in_width,
          .channels = g.channels,
          .out_height = g.out_height,
          .out_width = g.out_width,
          .out_channels = weight.out_channels,
          .kernel = g.kernel,
          .stride = g.stride,
          .padding = g.padding};
}

/// What it reads and writes besides x.
struct OtherMaps {
  const Tensor &bias, &residual, &y;
};

void convolve_by_tiles(const TiledConvolution& convolution, const Bf16Blocks& weight,
                       const Tensor& x, const OtherMaps& others) {
  convolve_tiles(convolution, {.x = words_of(x),
                               .weight = words_of(weight.blocks),
                               .bias = words_of(others.bias),
                               .residual = words_of(others.residual),
                               .y = mutable_words_of(others.y)});
}

/// @param sizes of x: [N, C, H, W]
Geometry geometry_of(at::IntArrayRef sizes, const Bf16Blocks& weight, int64_t stride,
                     int64_t padding) {
  const auto side = [&](int64_t of_x) { return (of_x + 2 * padding - weight.kernel) / stride + 1; };
  return {.images = sizes[0],
          .in_height = sizes[2],
          .in_width = sizes[3],
          .channels = sizes[1],
          .out_height = side(sizes[2]),
          .out_width = side(sizes[3]),
          .stride = stride,
          .padding = padding,
          .kernel = weight.kernel};
}

Tensor empty_result(const Geometry& g, const Bf16Blocks& weight, const Tensor& like) {
  return at::empty({g.images, weight.out_channels, g.out_height, g.out_width},
                   like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

}  // namespace

bool has_bf16_blocks(const Tensor& weight) {
#if defined(CPUBLAS_BRGEMM_BF16BF16F32) && defined(__x86_64__)
  return weight.is_cpu() && weight.scalar_type() == at::kBFloat16 && weight.size(1) % 32 == 0 &&
         cpu_computes_bf16() && at::globalContext().userEnabledMkldnn();
#else
  static_cast<void>(weight);
  return false;
#endif
}

Bf16Blocks turned_bf16_blocks_of(const Tensor& weight) {
  const at::NoGradGuard no_grad;
  return tiles_of(weight, /*turned=*/true);
}

Bf16Blocks bf16_blocks_of(const Tensor& weight, bool is_tiled) {
  const at::NoGradGuard no_grad;
  if (is_tiled) return tiles_of(weight, /*turned=*/false);
  const int64_t out_channels = weight.size(0);
  const int64_t width = std::min(kBlockWidth, round_up(out_channels, kTileRows));
  const Tensor rows =
      at::constant_pad_nd(weight.permute({0, 2, 3, 1}).reshape({out_channels, weight.size(2), -1}),
                          {0, 0, 0, 0, 0, round_up(out_channels, width) - out_channels});
  // [block, width, kernel row, depth / 2, 2] -> [block, kernel row, depth / 2, width, 2]
  const Tensor pairs = rows.view({-1, width, weight.size(2), rows.size(2) / 2, 2});
  return {.blocks = pairs.permute({0, 2, 3, 1, 4}).contiguous().view({-1}),
          .out_channels = out_channels,
          .in_channels = weight.size(1),
          .kernel = weight.size(2),
          .width = width};
}

Tensor convolve_bf16(const Tensor& x, const Bf16Blocks& weight, const Tensor& bias,
                     const Tensor& residual, int64_t stride, int64_t padding) {
  const Geometry g = geometry_of(x.sizes(), weight, stride, padding);
  const Tensor y = empty_result(g, weight, x);
  if (weight.is_tiled) {
    convolve_by_tiles(tiled_convolution(g, weight), weight, x, {bias, residual, y});
    return y;
  }
  const Maps maps{.x = x.const_data_ptr<BFloat16>(),
                  .bias = data_or_null(bias),
                  .residual = data_or_null(residual),
                  .y = y.mutable_data_ptr<BFloat16>()};
  if (g.kernel == 1 && stride == 1 && padding == 0) {
    multiply_pixels(weight, maps, g.images * g.out_height * g.out_width);
  } else {
    convolve_rows(g, weight, maps);
  }
  return y;
}

int64_t images_beside_bf16(const Tensor& x, const Bf16Blocks& weight, int64_t padding) {
  if (!weight.is_tiled || padding == 0) return 0;
  return images_beside(
      tiled_convolution(geometry_of(x.sizes(), weight, /*stride=*/1, padding), weight));
}

Tensor convolve_padded_bf16(const Tensor& x, const Bf16Blocks& weight, const Tensor& bias,
                            const Tensor& residual, int64_t padding) {
  const Geometry g = geometry_of(
      {x.size(0) * x.size(3), x.size(4), x.size(1) - 2 * padding, x.size(2) - 2 * padding}, weight,
      /*stride=*/1, padding);
  const Tensor y = empty_result(g, weight, x);
  TiledConvolution convolution = tiled_convolution(g, weight);
  convolution.is_padded = true;
  convolve_by_tiles(convolution, weight, x, {bias, residual, y});
  return y;
}

Tensor multiply_bf16(const Tensor& x, const Bf16Blocks& weight, const Tensor& bias,
                     const Tensor& residual) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.out_channels;
  const Tensor y = at::empty(shape, x.options());
  const int64_t rows = x.numel() / weight.in_channels;
  if (weight.is_tiled) {
    const Geometry g{.images = 1,
                     .in_height = 1,
                     .in_width = rows,
                     .channels = weight.in_channels,
                     .out_height = 1,
                     .out_width = rows,
                     .stride = 1,
                     .padding = 0,
                     .kernel = 1};
    convolve_by_tiles(tiled_convolution(g, weight), weight, x, {bias, residual, y});
    return y;
  }
  multiply_pixels(weight,
                  {.x = x.const_data_ptr<BFloat16>(),
                   .bias = data_or_null(bias),
                   .residual = data_or_null(residual),
                   .y = y.mutable_data_ptr<BFloat16>()},
                  rows);
  return y;
}

}  // namespace ddpm::cpu
