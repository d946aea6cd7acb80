#include "ddpm/kernels/cpu/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "ddpm/core/amx.h"
#include "ddpm/core/device.h"
#include "ddpm/kernels/cpu/onednn_operators.h"
#include "ddpm/kernels/weight_state.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/phase_weight.h"
#endif

namespace ddpm {
namespace {

/// Only x86 has been measured.
bool has_packed_kernels(const Tensor& weight) {
#if defined(__x86_64__)
  if (!weight.is_cpu() || !at::globalContext().hasMKLDNN() ||
      !at::globalContext().userEnabledMkldnn()) {
    return false;
  }
  return weight.scalar_type() == at::kFloat ||
         (weight.scalar_type() == at::kBFloat16 && cpu_computes_bf16());
#else
  static_cast<void>(weight);
  return false;
#endif
}

// Where more multiplications than these fall to each thread, oneDNN's kernels are ahead; below,
// what each of its calls takes before it starts (40 us) counts for more. On two cores with AMX: at
// 256 channels 139 to 174 us on 16x16 pixels, but 82 to 63 us on 8x8 and 59 to 30 us on 4x4.
constexpr int64_t kBlockProductsPerThread = 50'000'000;
constexpr int64_t kFewestChannels = 64;  // fewer take as long

/// Undefined where no GPU's kernel reads them.
Tensor tiles_of(const Tensor& weight, int64_t stride, int64_t padding) {
#ifdef DDPM_CUDA
  const bool is_odd = weight.size(2) % 2 == 1;
  if (weight.is_cuda() && is_odd && stride == 1 && padding == weight.size(2) / 2) {
    const at::NoGradGuard no_grad;
    return cuda::warpgroup_tiles(weight);
  }
#else
  static_cast<void>(weight), static_cast<void>(stride), static_cast<void>(padding);
#endif
  return {};
}

/// Of an upsampled map's phases, added in float32 and rounded once; undefined as above.
Tensor phase_tiles_of(const Tensor& weight) {
#ifdef DDPM_CUDA
  const at::NoGradGuard no_grad;
  return cuda::warpgroup_tiles(cuda::phase_weight(weight.to(at::kFloat)).to(weight.scalar_type()));
#else
  static_cast<void>(weight);
  return {};
#endif
}

}  // namespace

struct PackedWeight::Forms {
  explicit Forms(const std::vector<Tensor>& weights) : state(weights) {}

  /// [O, C, k, k]
  Tensor whole() const {
    const Tensor all = at::cat(state.weights());
    return is_linear ? all.unsqueeze(2).unsqueeze(3) : all;
  }

  WeightState state;
  bool is_linear = false;
  int64_t stride = 1;
  int64_t padding = 0;
  mutable std::once_flag blocks_made, winograd_made;
  mutable cpu::Bf16Blocks blocks;
  mutable cpu::WinogradWeight winograd;
  mutable std::mutex onednn_mutex;
  mutable Tensor of_onednn;  ///< for maps of onednn_sides
  mutable onednn::Sides onednn_sides{};
  Tensor joined, tiles, phase_tiles;
};

PackedWeight PackedWeight::of_conv2d(const Tensor& weight, int64_t stride, int64_t padding,
                                     bool upsampled) {
  PackedWeight result;
  const Tensor tiles = tiles_of(weight, stride, padding);
  if (!has_packed_kernels(weight) && !tiles.defined()) return result;
  const auto forms = std::make_shared<Forms>(std::vector<Tensor>{weight});
  forms->tiles = tiles;
  if (upsampled && tiles.defined()) forms->phase_tiles = phase_tiles_of(weight);
  forms->stride = stride;
  forms->padding = padding;
  result.forms_ = forms;
  return result;
}

PackedWeight PackedWeight::of_linear(const std::vector<Tensor>& weights) {
  PackedWeight result;
  const bool has_kernels = std::all_of(weights.begin(), weights.end(), has_packed_kernels);
  if (!has_kernels && weights.size() < 2) return result;
  const auto forms = std::make_shared<Forms>(weights);
  forms->is_linear = true;
  if (!has_kernels) {
    const at::NoGradGuard no_grad;
    forms->joined = at::cat(weights);
  }
  result.forms_ = forms;
  return result;
}

bool PackedWeight::is_of(const std::vector<Tensor>& weights) const {
  return forms_ && forms_->state.is_of(weights);
}

int64_t PackedWeight::out_channels() const {
  int64_t channels = 0;
  for (const Tensor& weight : forms_->state.weights()) channels += weight.size(0);
  return channels;
}

bool PackedWeight::prefers_blocks(int64_t pixels) const {
  const Tensor& weight = forms_->state.weights().front();
  if (!cpu::has_bf16_blocks(weight)) return false;
  if (cpu_has_amx()) return true;
  const int64_t products =
      pixels * (weight.numel() / weight.size(0)) * std::max(kFewestChannels, out_channels());
  return products <= kBlockProductsPerThread * at::get_num_threads();
}

const cpu::Bf16Blocks& PackedWeight::blocks() const {
  std::call_once(forms_->blocks_made, [&] {
    const at::NoGradGuard no_grad;
    forms_->blocks = cpu::bf16_blocks_of(forms_->whole(), cpu_has_amx());
  });
  return forms_->blocks;
}

bool PackedWeight::prefers_winograd(int64_t height, int64_t width) const {
  return !forms_->is_linear && cpu::prefers_winograd(height, width) &&
         cpu::has_winograd(forms_->state.weights().front(), forms_->stride, forms_->padding);
}

const cpu::WinogradWeight& PackedWeight::winograd() const {
  std::call_once(forms_->winograd_made, [&] {
    const at::NoGradGuard no_grad;
    forms_->winograd = cpu::winograd_weight_of(forms_->whole());
  });
  return forms_->winograd;
}

Tensor PackedWeight::of_onednn(const Tensor& x) const {
  static const auto conv2d =
      onednn::operator_named<onednn::ReorderConv2d>("mkldnn::_reorder_convolution_weight");
  static const auto linear =
      onednn::operator_named<onednn::ReorderLinear>("mkldnn::_reorder_linear_weight");
  const Forms& f = *forms_;
  const onednn::Sides sides = f.is_linear ? onednn::Sides{} : onednn::Sides{x.size(2), x.size(3)};
  const std::lock_guard lock(f.onednn_mutex);
  if (f.of_onednn.defined() && f.onednn_sides == sides) return f.of_onednn;
  const at::NoGradGuard no_grad;
  const Tensor whole = f.whole();
  const std::array<int64_t, 4> one_map{1, whole.size(1), sides[0], sides[1]};
  f.of_onednn = f.is_linear ? linear.call(whole.flatten(1), /*batch_size=*/std::nullopt)
                            : conv2d.call(whole, onednn::Sides{f.padding, f.padding},
                                          onednn::Sides{f.stride, f.stride}, onednn::Sides{1, 1},
                                          /*groups=*/1, one_map);
  f.onednn_sides = sides;
  return f.of_onednn;
}

const Tensor& PackedWeight::tiles() const { return forms_->tiles; }

const Tensor& PackedWeight::phase_tiles() const { return forms_->phase_tiles; }

const Tensor& PackedWeight::joined() const { return forms_->joined; }

}  // namespace ddpm
