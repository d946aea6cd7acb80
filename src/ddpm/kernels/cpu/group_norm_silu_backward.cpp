#include "ddpm/kernels/cpu/group_norm_silu_tasks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ddpm/kernels/cpu/group_norm_silu_backward.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

// With h = factor * x + term before the SiLU, normed = rstd * x + origin, d_h the loss's gradient
// of h, and means over a group's pixels and channels:
//     d_x = factor * d_h - rstd * (mean(gain * d_h) + normed * mean(gain * d_h * normed))
// where factor = gain * rstd, and the gain is weight * (1 + scale).
enum Table { kFactor, kTerm, kRstd, kOrigin, kNumTables };
enum Sum { kSumDh, kSumDhNormed, kSumNormed, kNumSums };

template <bool kSilu, typename T, class D>
HWY_INLINE hn::Vec<D> gradient_of_h(D d, hn::Vec<D> h, hn::Vec<D> d_y) {
  if constexpr (!kSilu) return d_y;
  const auto one = hn::Set(d, 1.0F);
  const auto s = sigmoid<T>(d, h);
  return hn::Mul(d_y, hn::Mul(s, hn::MulAdd(h, hn::Sub(one, s), one)));
}

template <class D>
HWY_INLINE void add_to(D d, hn::Vec<D> values, double* totals) {
  HWY_ALIGN float lanes[hn::MaxLanes(D())];
  hn::Store(values, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) totals[i] += static_cast<double>(lanes[i]);
}

/// The sums over pixels of one vector of channels; in float64 beyond 256 pixels.
template <bool kSilu, class D, typename T>
HWY_INLINE void sum_pixels(D d, const T* x, const T* d_y, int64_t pixels, int64_t stride,
                           const std::array<const float*, kNumTables>& tables,
                           const std::array<double*, kNumSums>& sums) {
  const auto factor = hn::LoadU(d, tables[kFactor]);
  const auto term = hn::LoadU(d, tables[kTerm]);
  const auto rstd = hn::LoadU(d, tables[kRstd]);
  const auto origin = hn::LoadU(d, tables[kOrigin]);
  for (int64_t begin = 0; begin < pixels; begin += 256) {
    auto sum_d_h = hn::Zero(d), sum_d_h_normed = hn::Zero(d), sum_normed = hn::Zero(d);
    for (int64_t p = begin; p < std::min(pixels, begin + 256); ++p) {
      const auto at = load(d, x + p * stride);
      const auto normed = hn::MulAdd(at, rstd, origin);
      const auto d_h =
          gradient_of_h<kSilu, T>(d, hn::MulAdd(at, factor, term), load(d, d_y + p * stride));
      sum_d_h = hn::Add(sum_d_h, d_h);
      sum_d_h_normed = hn::MulAdd(d_h, normed, sum_d_h_normed);
      sum_normed = hn::Add(sum_normed, normed);
    }
    add_to(d, sum_d_h, sums[kSumDh]);
    add_to(d, sum_d_h_normed, sums[kSumDhNormed]);
    add_to(d, sum_normed, sums[kSumNormed]);
  }
}

/// d_x = factor * d_h - (slope * x + level) over the pixels of a task.
template <bool kSilu, typename T>
HWY_INLINE void write_d_x(const T* x, const T* d_y, T* d_x, int64_t channels, int64_t pixels,
                          int64_t stride, const std::array<const float*, 4>& tables) {
  const auto [factor, term, slope, level] = tables;
  for (int64_t p = 0; p < pixels; ++p) {
    const int64_t row = p * stride;
    for_channels(channels, [&, factor = factor, term = term, slope = slope, level = level](
                               auto d, int64_t c) HWY_ATTR {
      const auto at = load(d, x + row + c);
      const auto gain = hn::LoadU(d, factor + c);
      const auto d_h = gradient_of_h<kSilu, T>(d, hn::MulAdd(at, gain, hn::LoadU(d, term + c)),
                                               load(d, d_y + row + c));
      const auto rest = hn::MulAdd(at, hn::LoadU(d, slope + c), hn::LoadU(d, level + c));
      store(d, hn::MulSub(gain, d_h, rest), d_x + row + c);
    });
  }
}

/// What the backward pass of one task reads and writes.
template <typename T>
struct Backward {
  const GroupNormShape& shape;
  const GroupNormTensors& tensors;
  const GroupNormGradients& gradients;
  const GroupNormTask& task;

  int64_t per_group() const { return shape.channels / shape.groups; }
  int64_t group(int64_t c) const {
    return task.image * shape.groups + (task.first_channel + c) / per_group();
  }
  /// Of a table [images or 1, channels]; 0 where there is none.
  float at(const void* table, int64_t stride, int64_t c) const {
    if (table == nullptr) return 0;
    return number(static_cast<const T*>(table)[task.image * stride + task.first_channel + c]);
  }
  float scale(int64_t c) const { return 1 + at(tensors.scale, tensors.scale_stride, c); }
  void put_in(void* table, int64_t c, float value) const {
    if (table == nullptr) return;
    put(value, static_cast<T*>(table) + task.image * shape.channels + task.first_channel + c);
  }

  void fill_tables(TaskTables<kNumTables, float>& tables) const {
    for (int64_t c = 0; c < task.channels; ++c) {
      const float rstd = tensors.rstd[group(c)];
      const float origin = rstd * (at(tensors.time_embedding, tensors.time_embedding_stride, c) -
                                   tensors.mean[group(c)]);
      const float weight = at(tensors.weight, 0, c);
      tables[kFactor][c] = rstd * weight * scale(c);
      tables[kTerm][c] = (origin * weight + at(tensors.bias, 0, c)) * scale(c) +
                         at(tensors.shift, tensors.shift_stride, c);
      tables[kRstd][c] = rstd;
      tables[kOrigin][c] = origin;
    }
  }

  /// The gradients of what has one value an image and channel; and in the places of kRstd and
  /// kOrigin the slope and level of d_x.
  void finish_group(int64_t first, TaskTables<kNumTables, float>& tables,
                    TaskTables<kNumSums, double>& sums) const {
    const double rstd = static_cast<double>(tensors.rstd[group(first)]);
    const double count = static_cast<double>(per_group() * shape.pixels);
    double mean_d = 0, mean_d_normed = 0;
    for (int64_t c = first; c < first + per_group(); ++c) {
      const double gain = static_cast<double>(at(tensors.weight, 0, c) * scale(c));
      mean_d += gain * sums[kSumDh][c] / count;
      mean_d_normed += gain * sums[kSumDhNormed][c] / count;
    }
    for (int64_t c = first; c < first + per_group(); ++c) {
      const auto d_h = static_cast<float>(sums[kSumDh][c]);
      const auto d_h_normed = static_cast<float>(sums[kSumDhNormed][c]);
      put_in(gradients.d_shift, c, d_h);
      put_in(gradients.d_scale, c,
             at(tensors.weight, 0, c) * d_h_normed + at(tensors.bias, 0, c) * d_h);
      const int64_t share = task.image * shape.channels + task.first_channel + c;
      gradients.d_bias[share] = scale(c) * d_h;
      gradients.d_weight[share] = scale(c) * d_h_normed;
      const double of_mean = static_cast<double>(shape.pixels) * mean_d;
      const double d_time = static_cast<double>(tables[kFactor][c]) * sums[kSumDh][c] -
                            rstd * (of_mean + mean_d_normed * sums[kSumNormed][c]);
      put_in(gradients.d_time_embedding, c, static_cast<float>(d_time));
      const double origin = static_cast<double>(tables[kOrigin][c]);
      tables[kRstd][c] = static_cast<float>(rstd * rstd * mean_d_normed);
      tables[kOrigin][c] = static_cast<float>(rstd * (mean_d + mean_d_normed * origin));
    }
  }

  template <bool kSilu>
  HWY_ATTR void run() const {
    TaskTables<kNumTables, float> tables(task.channels);
    TaskTables<kNumSums, double> sums(task.channels);
    fill_tables(tables);
    const int64_t offset = task.image * shape.pixels * shape.channels + task.first_channel;
    const T* const x = static_cast<const T*>(tensors.x) + offset;
    const T* const d_y = static_cast<const T*>(gradients.d_y) + offset;
    for_channels(task.channels, [&](auto d, int64_t c) HWY_ATTR {
      sum_pixels<kSilu>(
          d, x + c, d_y + c, shape.pixels, shape.channels,
          {tables[kFactor] + c, tables[kTerm] + c, tables[kRstd] + c, tables[kOrigin] + c},
          {sums[kSumDh] + c, sums[kSumDhNormed] + c, sums[kSumNormed] + c});
    });
    for (int64_t c = 0; c < task.channels; c += per_group()) finish_group(c, tables, sums);
    write_d_x<kSilu>(x, d_y, static_cast<T*>(gradients.d_x) + offset, task.channels, shape.pixels,
                     shape.channels,
                     {tables[kFactor], tables[kTerm], tables[kRstd], tables[kOrigin]});
  }
};

template <typename T>
HWY_ATTR void backward_of(const Backward<T>& backward) {
  if (backward.shape.silu) {
    backward.template run<true>();
  } else {
    backward.template run<false>();
  }
}

void backward_tasks(const GroupNormShape& shape, const GroupNormTensors& tensors,
                    const GroupNormGradients& gradients, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const GroupNormTask task(shape, i);
    if (shape.bf16) {
      backward_of(Backward<Bf16>{shape, tensors, gradients, task});
    } else {
      backward_of(Backward<float>{shape, tensors, gradients, task});
    }
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ddpm::cpu {

HWY_EXPORT(backward_tasks);

void group_norm_silu_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                              const GroupNormGradients& gradients, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(backward_tasks)(shape, tensors, gradients, begin, end);
}

}  // namespace ddpm::cpu
#endif
