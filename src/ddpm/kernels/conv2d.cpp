#include "ddpm/kernels/conv2d.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <array>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cpu/group_norm_silu_function.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/cpu/trained_convolution.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/optional_tensor.h"
#include "ddpm/kernels/pad.h"
#include "ddpm/kernels/upsample.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_few_channels_function.h"
#include "ddpm/kernels/cuda/conv2d_few_pixels_function.h"
#include "ddpm/kernels/cuda/conv2d_function.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_function.h"
#include "ddpm/kernels/cuda/norm_conv2d_function.h"
#include "ddpm/kernels/cuda/padded_conv2d_function.h"
#include "ddpm/kernels/cuda/upsampled_conv2d_function.h"
#endif

namespace ddpm {
namespace {

bool takes_packed_weight(const Conv2dArgs& args) {
  return args.packed != nullptr && !at::GradMode::is_enabled() &&
         args.x.scalar_type() == args.weight.scalar_type() && args.packed->is_of({args.weight});
}

void check_residual(const Conv2dArgs& args) {
  if (!args.residual.defined()) return;
  const auto side = [&](int64_t dim) {
    const int64_t kernel = args.weight.size(dim);
    if (args.transposed) return (args.x.size(dim) - 1) * args.stride - 2 * args.padding + kernel;
    return (args.x.size(dim) + 2 * args.padding - kernel) / args.stride + 1;
  };
  const std::array<int64_t, 4> result{args.x.size(0), args.weight.size(args.transposed ? 1 : 0),
                                      side(2), side(3)};
  check_arg(args.residual.sizes() == at::IntArrayRef(result),
            "[conv2d] residual must be like the result: expected ", at::IntArrayRef(result),
            ", got ", args.residual.sizes());
}

Tensor upsampled_conv2d(const Conv2dArgs& args) {
  check_arg(args.weight.size(2) == 3 && args.stride == 1 && args.padding == 1 && !args.transposed,
            "[conv2d] upsampled: expected kernel 3, stride 1 and padding 1, got ",
            args.weight.size(2), ", ", args.stride, " and ", args.padding);
#ifdef DDPM_CUDA
  if (at::GradMode::is_enabled() && cuda::upsampled_conv2d_is_fused(args)) {
    return cuda::fused_upsampled_conv2d(args);
  }
#endif
  const bool is_plain = !args.x_rest.defined() && !args.residual.defined() &&
                        !args.residual_bias.defined() && args.shortcut == nullptr;
  if (is_plain && takes_packed_weight(args) && packed_weight_upsamples(args.x, *args.packed)) {
    return packed_upsampled_conv2d(channels_last(args.x), *args.packed, args.bias);
  }
  Conv2dArgs large = args;
  large.upsampled = false;
  large.x = upsample_nearest_2x(args.x);
  if (args.x_rest.defined()) large.x_rest = upsample_nearest_2x(args.x_rest);
  return conv2d(large);
}

/// The same with one bias.
Conv2dArgs with_one_bias(Conv2dArgs args) {
  const Tensor more = std::exchange(args.residual_bias, {});
  args.bias = args.bias.defined() ? args.bias + more : more;
  return args;
}

/// The convolution whose residual is the shortcut's result.
Conv2dArgs with_residual(Conv2dArgs args) {
  check_arg(!args.residual.defined(),
            "[conv2d] a shortcut stands in the residual's place: expected no residual with it");
  args.residual = conv2d(*std::exchange(args.shortcut, nullptr));
  return args;
}

/// Images beside each other in the map that the norm writes for a packed convolution; 0: the norm
/// writes a map like x.
int64_t images_of_norm(const Conv2dArgs& args, const GroupNormSiluArgs& norm) {
  if (args.image_bias.defined() || args.upsampled || args.transposed ||
      !takes_packed_weight(args) || !cpu::group_norm_silu_is_fused(norm) ||
      (norm.training && norm.dropout > 0)) {
    return 0;
  }
  return packed_images_beside(args.x, *args.packed, args.stride, args.padding);
}

Tensor conv2d_of_padded_norm(Conv2dArgs args, const GroupNormSiluArgs& norm, int64_t beside) {
  if (args.shortcut != nullptr) args = with_residual(std::move(args));
  check_residual(args);
  if (args.residual_bias.defined()) args = with_one_bias(std::move(args));
  return packed_padded_conv2d(cpu::padded_group_norm_silu(norm, args.padding, beside), *args.packed,
                              args.bias, channels_last(args.residual), args.padding);
}

/// The norm, and then the convolution.
Conv2dFork conv2d_after_norm(Conv2dArgs args) {
  GroupNormSiluArgs norm = *std::exchange(args.norm, nullptr);
  norm.x = args.x;
  if (const int64_t beside = images_of_norm(args, norm); beside > 0) {
    check_group_norm_silu(norm, args.x_rest);
    if (args.x_rest.defined()) norm.x = at::cat({args.x, args.x_rest}, /*dim=*/1);
    return {.y = conv2d_of_padded_norm(args, norm, beside),
            .x = norm.x,
            .x_rest = {},
            .x_later = args.x};
  }
  const GroupNormFork fork = group_norm_silu_fork(norm, std::exchange(args.x_rest, {}));
  args.x = fork.y;
  return {.y = conv2d(args), .x = fork.x, .x_rest = fork.x_rest, .x_later = fork.x_later};
}

Tensor with_image_bias(Conv2dArgs args) {
  const Tensor rows = std::exchange(args.image_bias, {});
  const Tensor y = conv2d(args);
  check_arg(rows.sizes() == at::IntArrayRef({y.size(0), y.size(1)}),
            "[conv2d] image_bias must be [N, O]: expected [", y.size(0), ", ", y.size(1), "], got ",
            rows.sizes());
  return y + rows.unsqueeze(2).unsqueeze(3);
}

#ifdef DDPM_CUDA
bool is_one_warpgroup_pass(const Conv2dArgs& args) {
  return !at::GradMode::is_enabled() && cuda::is_warpgroup_conv2d(args);
}
#endif

}  // namespace

bool conv2d_is_one_pass(const Conv2dArgs& args) {
#ifdef DDPM_CUDA
  return is_one_warpgroup_pass(args) || cuda::is_few_pixels_conv2d(args);
#else
  static_cast<void>(args);
  return false;
#endif
}

Conv2dFork padded_conv2d_fork(const Conv2dArgs& args) {
#ifdef DDPM_CUDA
  if (!at::GradMode::is_enabled() && cuda::is_few_pixels_conv2d(args)) {
    return {.y = cuda::few_pixels_conv2d(args), .x = args.x, .x_rest = {}};
  }
  if (cuda::padded_conv2d_is_fused(args)) return cuda::fused_padded_conv2d(args);
#endif
  const PadFork padded = pad_right_and_bottom_fork(args.x);
  Conv2dArgs larger = args;
  larger.padded = false;
  larger.x = padded.y;
  return {.y = conv2d(larger), .x = padded.x, .x_rest = {}};
}

Conv2dFork conv2d_fork(const Conv2dArgs& args) {
  check_arg(args.norm != nullptr, "[conv2d_fork] the arguments have no norm: expected one");
#ifdef DDPM_CUDA
  if (conv2d_is_one_pass(args)) {
    return {.y = conv2d(args), .x = args.x, .x_rest = args.x_rest, .x_later = args.x};
  }
  if (at::GradMode::is_enabled() && cuda::norm_conv2d_is_fused(args)) {
    return cuda::fused_norm_conv2d(args);
  }
#endif
  return conv2d_after_norm(args);
}

Tensor conv2d(const Conv2dArgs& args) {
  if (args.padded) return padded_conv2d_fork(args).y;
#ifdef DDPM_CUDA
  if (is_one_warpgroup_pass(args)) return cuda::warpgroup_conv2d(args);
  if (cuda::is_few_pixels_conv2d(args)) return cuda::few_pixels_conv2d(args);
  if (cuda::is_few_channels_conv2d(args)) return cuda::few_channels_conv2d(args);
#endif
  if (args.norm != nullptr) return conv2d_fork(args).y;
  if (args.image_bias.defined()) return with_image_bias(args);
  if (args.upsampled) return upsampled_conv2d(args);
  if (args.shortcut != nullptr) return conv2d(with_residual(args));
  check_residual(args);
#ifdef DDPM_CUDA
  if (cuda::conv2d_is_fused(args)) return cuda::fused_conv2d(args);
#endif
  if (args.residual_bias.defined()) return conv2d(with_one_bias(args));
  if (args.x_rest.defined()) {
    Conv2dArgs whole = args;
    whole.x = at::cat({args.x, std::exchange(whole.x_rest, {})}, /*dim=*/1);
    return conv2d(whole);
  }
  if (takes_packed_weight(args)) {
    return packed_conv2d(channels_last(args.x), *args.packed, args.bias,
                         channels_last(args.residual), args.stride, args.padding);
  }
  if (at::GradMode::is_enabled() && cpu::has_trained_conv2d(args)) return cpu::trained_conv2d(args);
  const std::array<int64_t, 2> stride{args.stride, args.stride};
  const std::array<int64_t, 2> padding{args.padding, args.padding};
  const Tensor y = at::convolution(args.x, args.weight, args.bias, stride, padding,
                                   /*dilation=*/{1, 1}, args.transposed,
                                   /*output_padding=*/{0, 0}, /*groups=*/1)
                       .contiguous(at::MemoryFormat::ChannelsLast);
  return args.residual.defined() ? y + args.residual : y;
}

}  // namespace ddpm
