#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/conv2d_lane_parts.cuh"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"
#include "ddpm/kernels/cuda/norm_silu.cuh"

// The norm of a tile: a block makes of the sums that maps carry what silu(a x + b) needs for its
// channels, and changes its pixels in shared memory once they have come.
namespace ddpm::cuda::conv2d_tile {

class TileNorm {
 public:
  static constexpr int kLoads = LaneParts::kLoads;

  /// Works out all that the kernel before does not write.
  ///
  /// @param rows [1 + plan.images, plan.channels] of shared memory.
  __device__ TileNorm(const ConvMaps& maps, const ConvPlan& plan, const TilePlace& place,
                      const ConvNorm& norm, int first_channel, float2* rows)
      : maps_(maps), plan_(plan), norm_(norm), first_channel_(first_channel), rows_(rows) {
    if (norm.groups == 0) return;
    images_ = min(plan.images, maps.images - place.image);
    first_image_ = place.image;
    group_channels_ = maps.channels / norm.groups;
    first_group_ = first_channel / group_channels_;
    groups_ = (first_channel + plan.channels - 1) / group_channels_ - first_group_ + 1;
    int bits = 5;
    while (bits > 2 && groups_ * plan.images << bits > kThreads) --bits;
    lanes_ = 1 << bits;
    lane_ = static_cast<int>(threadIdx.x) % lanes_;
    at_once_ = kThreads >> bits;
    first_index_ = static_cast<int>(threadIdx.x) >> bits;
    part_step_ = max(lanes_ / group_channels_, 1);
    first_part_ = lane_ / group_channels_;
    first_of_group_ = lane_ - first_part_ * group_channels_;
    scale_ = 1.0F / static_cast<float>(maps.height * maps.width * group_channels_);
    group_ = group_at(first_index_);
    first_ = parts_of(group_, first_of_group_);
    own_ = weight_and_bias(static_cast<int>(threadIdx.x));
  }

  /// Keeps weights and biases, which have come meanwhile.
  __device__ void keep_weights() const {
    const int own = static_cast<int>(threadIdx.x);
    if (own < plan_.channels) rows_[own] = {value_of(own_.x), value_of(own_.y)};
#pragma unroll 1
    for (int i = own + kThreads; i < plan_.channels; i += kThreads) {
      const ushort2 more = weight_and_bias(i);
      rows_[i] = {value_of(more.x), value_of(more.y)};
    }
  }

  /// The first parts that a thread sums, on their way.
  struct Loads {
    float2 parts[kLoads];
  };
  __device__ Loads begin() const {
    Loads loads;
    first_.load(0, loads.parts);
    return loads;
  }

  /// Some lanes a group: a and b of the block's channels, from sums of all the group's.
  __device__ void find(const Loads& loads) const {
    LaneParts parts = first_;
    Group group = group_;
    float2 sum = LaneParts::add({0, 0}, loads.parts);
    int from = kLoads;  // those before are loaded
#pragma unroll 1
    for (int first = 0;;) {
#pragma unroll 1
      for (int i = first_of_group_;; from = 0) {
        sum = parts.add_all(sum, from);
        i += lanes_;
        if (i >= group_channels_) break;
        parts = parts_of(group, i);
      }
#pragma unroll
      for (int step = 16; step > 0; step /= 2) {
        if (step >= lanes_) continue;
        sum.x += __shfl_xor_sync(~0U, sum.x, step);
        sum.y += __shfl_xor_sync(~0U, sum.y, step);
      }
      if (group.is_there) write(group, sum);
      first += at_once_;
      if (first >= images_ * groups_) break;
      group = group_at(first + first_index_);
      parts = parts_of(group, first_of_group_);
      sum = {0, 0};
      from = 0;
    }
  }

  /// Each thread changes what it has copied itself.
  __device__ void apply(const RowCopier& copier, const int* sources, T* pixels) const {
    T* const first = pixels + copier.vector * 8;
    const int rows_of_image = plan_.in_lines * maps_.width, all = images_ * rows_of_image;
    float2 norm[8];
    if (plan_.images == 1) {
      load(copier, 0, norm);
#pragma unroll 1
      for (int row = copier.first_row; row < all; row += 2 * copier.step) {   // two at once
        const int other = row + copier.step < all ? row + copier.step : row;  // or itself again
        uint4 values = *row_of(first, row), other_values = *row_of(first, other);
        apply(norm, values);
        apply(norm, other_values);
        if (sources[row] >= 0) *row_of(first, row) = values;  // not the padding's zeros
        if (sources[other] >= 0) *row_of(first, other) = other_values;
      }
      return;
    }
    int image = -1;
#pragma unroll 1
    for (int row = copier.first_row; row < all; row += copier.step) {
      if (row >= (image + 1) * rows_of_image) {
        image = row / rows_of_image;
        load(copier, image, norm);
      }
      uint4 values = *row_of(first, row);
      apply(norm, values);
      if (sources[row] >= 0) *row_of(first, row) = values;
    }
  }

 private:
  struct Group {
    int image, channel;  // the first
    bool is_there;
  };

  __device__ ushort2 weight_and_bias(int i) const {
    if (i >= plan_.channels) return {0, 0};
    return {static_cast<const unsigned short*>(norm_.weight)[first_channel_ + i],
            static_cast<const unsigned short*>(norm_.bias)[first_channel_ + i]};
  }
  static __device__ float value_of(unsigned short bits) {
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  }
  static __device__ float value(const void* table, int64_t at) {
    return __bfloat162float(static_cast<const T*>(table)[at]);
  }

  __device__ Group group_at(int index) const {
    const int image = plan_.images == 1 ? index >= groups_ : index / groups_;
    return {first_image_ + image, (first_group_ + index - image * groups_) * group_channels_,
            image < images_};
  }

  /// @param of_group which of the group's channels.
  __device__ LaneParts parts_of(const Group& group, int of_group) const {
    if (!group.is_there || first_part_ >= part_step_ || of_group >= group_channels_) return {};
    const int channels = maps_.channels - maps_.rest_channels;
    const int channel = group.channel + of_group;
    const bool in_rest = channel >= channels;
    const int parts = in_rest ? norm_.rest_parts : norm_.parts;
    const int width = in_rest ? maps_.rest_channels : channels;
    const auto* from = reinterpret_cast<const float2*>(in_rest ? norm_.rest_sums : norm_.sums) +
                       (static_cast<int64_t>(group.image) * parts + first_part_) * width + channel -
                       (in_rest ? channels : 0);
    return {from, (parts - first_part_ + part_step_ - 1) / part_step_, part_step_ * width};
  }

  __device__ void write(const Group& group, float2 sum) const {
    const float mean = sum.x * scale_;
    const float rstd = rsqrtf(fmaxf(fmaf(sum.y, scale_, -mean * mean), 0.0F) + norm_.eps);
    float2* const row = rows_ + (1 + group.image - first_image_) * plan_.channels;
#pragma unroll 1
    for (int i = lane_; i < group_channels_; i += lanes_) {
      const int channel = group.channel + i, own = channel - first_channel_;
      if (own < 0 || own >= plan_.channels) continue;
      float a = rstd * rows_[own].x, b = rows_[own].y - mean * a;
      if (norm_.scale != nullptr) {
        const int64_t at = group.image * norm_.scale_stride + channel;
        const float factor = 1.0F + value(norm_.scale, at);
        a *= factor;
        b = fmaf(b, factor, value(norm_.shift, at));
      }
      const float part = norm_.silu ? 0.5F : 1.0F;  // half of what SiLU takes
      row[own] = {part * a, part * b};
    }
  }

  __device__ uint4* row_of(T* first, int row) const {
    return reinterpret_cast<uint4*>(first + row * plan_.stride());
  }
  __device__ void load(const RowCopier& copier, int image, float2 (&norm)[8]) const {
    const float2* const from = rows_ + (1 + image) * plan_.channels + copier.vector * 8;
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      const float4 two = *reinterpret_cast<const float4*>(from + i);
      norm[i] = {two.x, two.y};
      norm[i + 1] = {two.z, two.w};
    }
  }

  __device__ float result(float x) const { return norm_.silu ? silu_of_double(x) : x; }
  __device__ void apply(const float2 (&norm)[8], uint4& eight) const {
    auto* const values = reinterpret_cast<__nv_bfloat162*>(&eight);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 x = __bfloat1622float2(values[i]);
      values[i] = __floats2bfloat162_rn(result(fmaf(x.x, norm[2 * i].x, norm[2 * i].y)),
                                        result(fmaf(x.y, norm[2 * i + 1].x, norm[2 * i + 1].y)));
    }
  }

  const ConvMaps& maps_;
  const ConvPlan& plan_;
  const ConvNorm& norm_;
  int first_channel_;
  float2* rows_;
  int images_ = 0, first_image_ = 0;
  int group_channels_ = 1, first_group_ = 0, groups_ = 0;
  float scale_ = 0;              // one over a group's values
  int lanes_ = 1, at_once_ = 0;  // that share a group; groups at once
  // Of the thread: which lane and group it is, its channel in the group, and which parts it sums.
  int lane_ = 0, first_index_ = 0, first_of_group_ = 0, first_part_ = 0, part_step_ = 1;
  ushort2 own_{};
  Group group_{};
  LaneParts first_{};
};

}  // namespace ddpm::cuda::conv2d_tile
