#include <algorithm>
#include <cmath>

#include "ddpm/kernels/cpu/group_norm_silu_tasks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ddpm/kernels/cpu/group_norm_silu_forward.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

// Pixels whose sums are kept in float32, before they go to float64.
constexpr int64_t kPixelsInFloat = 256;

template <class D>
HWY_INLINE void add_to(D d, hn::Vec<D> values, double* totals) {
  HWY_ALIGN float lanes[hn::MaxLanes(D())];
  hn::Store(values, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) totals[i] += static_cast<double>(lanes[i]);
}

/// Sums over pixels of x - x_0 and of its square, for one vector of channels. The first pixel, x_0,
/// is taken off, so that a mean far from zero costs no digits.
template <class D, typename T>
HWY_INLINE void sum_pixels(D d, const T* x, int64_t pixels, int64_t stride, double* sums,
                           double* squares) {
  const auto origin = load(d, x);
  for (int64_t begin = 0; begin < pixels; begin += kPixelsInFloat) {
    const int64_t end = std::min(pixels, begin + kPixelsInFloat);
    auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), square0 = hn::Zero(d), square1 = hn::Zero(d);
    int64_t p = begin;
    for (; p + 2 <= end; p += 2) {
      const auto x0 = hn::Sub(load(d, x + p * stride), origin);
      const auto x1 = hn::Sub(load(d, x + (p + 1) * stride), origin);
      sum0 = hn::Add(sum0, x0);
      sum1 = hn::Add(sum1, x1);
      square0 = hn::MulAdd(x0, x0, square0);
      square1 = hn::MulAdd(x1, x1, square1);
    }
    if (p < end) {
      const auto x0 = hn::Sub(load(d, x + p * stride), origin);
      sum0 = hn::Add(sum0, x0);
      square0 = hn::MulAdd(x0, x0, square0);
    }
    add_to(d, hn::Add(sum0, sum1), sums);
    add_to(d, hn::Add(square0, square1), squares);
  }
}

struct Moments {
  float mean, rstd;
};

/// Of a group whose channels have these means and sums of squared distances from them.
HWY_INLINE Moments moments_of_group(const double* means, const double* squares, int64_t channels,
                                    int64_t pixels, double eps) {
  double mean = 0;
  for (int64_t c = 0; c < channels; ++c) mean += means[c];
  mean /= static_cast<double>(channels);
  double square = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const double distance = means[c] - mean;
    square += squares[c] + static_cast<double>(pixels) * distance * distance;
  }
  const double variance = square / static_cast<double>(channels * pixels);
  return {static_cast<float>(mean), static_cast<float>(1 / std::sqrt(variance + eps))};
}

/// Where a task's channels of its image go.
template <typename T>
struct TaskTarget {
  T* y;  ///< Of the first pixel, be it padding.
  int64_t height, width, padding, row_step, pixel_step;

  TaskTarget(const GroupNormShape& shape, const NormedMap& map, const GroupNormTask& task)
      : height(1), width(shape.pixels), padding(map.padding), pixel_step(shape.channels) {
    const int64_t beside = map.beside;
    if (padding > 0) {
      width = map.width;
      height = shape.pixels / width;
      pixel_step *= beside;
    }
    row_step = (width + 2 * padding) * pixel_step;
    const int64_t group_step = (height + 2 * padding) * row_step;
    y = static_cast<T*>(map.y) + task.image / beside * group_step +
        task.image % beside * shape.channels + task.first_channel;
  }
  T* at(int64_t row, int64_t column) const {
    return y + (row + padding) * row_step + (column + padding) * pixel_step;
  }
};

template <typename T>
HWY_INLINE void clear_pixels(const TaskTarget<T>& target, int64_t row, int64_t begin, int64_t end,
                             int64_t channels) {
  for (int64_t column = begin; column < end; ++column) {
    std::fill_n(target.at(row, column), channels, T{0});
  }
}

template <typename T>
HWY_INLINE void clear_padding(const TaskTarget<T>& target, int64_t channels) {
  const int64_t width = target.width, padding = target.padding;
  for (int64_t row = -padding; row < target.height + padding; ++row) {
    if (row < 0 || row >= target.height) {
      clear_pixels(target, row, -padding, width + padding, channels);
      continue;
    }
    clear_pixels(target, row, -padding, 0, channels);
    clear_pixels(target, row, width, width + padding, channels);
  }
}

/// y = act(factor * x + term) over the pixels of a task.
template <bool kSilu, typename T>
HWY_INLINE void apply(const T* x, const TaskTarget<T>& target, int64_t channels, int64_t stride,
                      const float* factor, const float* term) {
  for (int64_t row = 0; row < target.height; ++row) {
    for (int64_t column = 0; column < target.width; ++column, x += stride) {
      T* const to = target.at(row, column);
      for_channels(channels, [&](auto d, int64_t c) HWY_ATTR {
        auto h = hn::MulAdd(load(d, x + c), hn::LoadU(d, factor + c), hn::LoadU(d, term + c));
        if constexpr (kSilu) h = hn::Mul(h, sigmoid<T>(d, h));
        store(d, h, to + c);
      });
    }
  }
}

/// The norm of a task's channels as y = factor * x + term.
template <typename T>
HWY_INLINE void find_norm(const GroupNormShape& shape, const GroupNormTensors& tensors,
                          const GroupNormTask& task, const T* x, float* factor, float* term) {
  TaskTables<2, double> sums(task.channels);
  double* const means = sums[0];
  double* const squares = sums[1];
  for_channels(task.channels, [&](auto d, int64_t c) HWY_ATTR {
    sum_pixels(d, x + c, shape.pixels, shape.channels, means + c, squares + c);
  });
  const auto at = [&](const void* table, int64_t row, int64_t c) {
    return number(static_cast<const T*>(table)[row + task.first_channel + c]);
  };
  const int64_t time_row = task.image * tensors.time_embedding_stride;
  const auto time = [&](int64_t c) {
    return tensors.time_embedding == nullptr ? 0.0F : at(tensors.time_embedding, time_row, c);
  };
  for (int64_t c = 0; c < task.channels; ++c) {
    squares[c] -= means[c] * means[c] / static_cast<double>(shape.pixels);
    means[c] =
        means[c] / static_cast<double>(shape.pixels) + static_cast<double>(number(x[c]) + time(c));
  }
  const int64_t per_group = shape.channels / shape.groups;
  for (int64_t first = 0; first < task.channels; first += per_group) {
    const Moments moments = moments_of_group(means + first, squares + first, per_group,
                                             shape.pixels, static_cast<double>(shape.eps));
    const int64_t group = task.image * shape.groups + (task.first_channel + first) / per_group;
    tensors.mean[group] = moments.mean;
    tensors.rstd[group] = moments.rstd;
    for (int64_t c = first; c < first + per_group; ++c) {
      factor[c] = moments.rstd * at(tensors.weight, 0, c);
      term[c] = (time(c) - moments.mean) * factor[c] + at(tensors.bias, 0, c);
      if (tensors.scale == nullptr) continue;
      const float scale = 1 + at(tensors.scale, task.image * tensors.scale_stride, c);
      factor[c] *= scale;
      term[c] = term[c] * scale + at(tensors.shift, task.image * tensors.shift_stride, c);
    }
  }
}

template <typename T>
HWY_INLINE void forward_of(const GroupNormShape& shape, const GroupNormTensors& tensors,
                           const NormedMap& y, const GroupNormTask& task) {
  TaskTables<2, float> tables(task.channels);
  const T* const x = static_cast<const T*>(tensors.x) + task.image * shape.pixels * shape.channels +
                     task.first_channel;
  find_norm(shape, tensors, task, x, tables[0], tables[1]);
  const TaskTarget<T> target(shape, y, task);
  clear_padding(target, task.channels);
  if (shape.silu) {
    apply<true>(x, target, task.channels, shape.channels, tables[0], tables[1]);
  } else {
    apply<false>(x, target, task.channels, shape.channels, tables[0], tables[1]);
  }
}

void forward_tasks(const GroupNormShape& shape, const GroupNormTensors& tensors, const NormedMap& y,
                   int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const GroupNormTask task(shape, i);
    if (shape.bf16) {
      forward_of<Bf16>(shape, tensors, y, task);
    } else {
      forward_of<float>(shape, tensors, y, task);
    }
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ddpm::cpu {

HWY_EXPORT(forward_tasks);

int64_t group_norm_silu_tasks(const GroupNormShape& shape) {
  const int64_t each = channels_per_task(shape);
  return shape.images * ((shape.channels + each - 1) / each);
}

void group_norm_silu_forward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                             const NormedMap& y, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(forward_tasks)(shape, tensors, y, begin, end);
}

}  // namespace ddpm::cpu
#endif
