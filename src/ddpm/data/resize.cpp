#include "ddpm/data/resize.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

/// How the new pixels of an axis are made of the old: new[i] = sum_k weights[i][k] old[first[i] +
/// k].
struct AxisWeights {
  std::vector<int64_t> first;
  std::vector<std::vector<float>> weights;
};

/// Keys' cubic convolution kernel [Keys 1981] with a = -1/2, which reproduces quadratics.
double cubic_kernel(double x) {
  constexpr double kA = -0.5;
  const double d = std::abs(x);
  if (d < 1) return ((kA + 2) * d - (kA + 3)) * d * d + 1;
  if (d < 2) return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA;
  return 0;
}

/// The part of old pixel `index` that the new pixel [begin, end) covers.
double covered(int64_t index, double begin, double end) {
  const auto left = static_cast<double>(index);
  return std::max(0.0, std::min(end, left + 1) - std::max(begin, left));
}

ResizeFilter resolve_filter(ResizeFilter filter, int64_t from, int64_t to) {
  if (filter != ResizeFilter::kAuto) return filter;
  return to < from ? ResizeFilter::kArea : ResizeFilter::kBicubic;
}

/// The unnormalised weight of old pixel `index` for new pixel `i`.
double raw_weight(ResizeFilter filter, int64_t i, int64_t index, double scale) {
  const auto begin = static_cast<double>(i) * scale;
  switch (filter) {
    case ResizeFilter::kArea:
      return covered(index, begin, begin + scale);
    case ResizeFilter::kBicubic: {
      const double distance = static_cast<double>(index) + 0.5 - (begin + scale / 2);
      return cubic_kernel(distance / std::max(scale, 1.0));
    }
    case ResizeFilter::kAuto:
      break;
  }
  throw std::logic_error("[resize_image] not a resolved ResizeFilter");
}

AxisWeights make_weights(int64_t from, int64_t to, ResizeFilter filter) {
  filter = resolve_filter(filter, from, to);
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double reach = filter == ResizeFilter::kArea ? scale / 2 : 2 * std::max(scale, 1.0);
  AxisWeights axis;
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(std::floor(center - reach)));
    const auto end = std::min(from, static_cast<int64_t>(std::ceil(center + reach)));
    std::vector<double> raw;
    double sum = 0;
    for (int64_t index = first; index < end; ++index) {
      raw.push_back(raw_weight(filter, i, index, scale));
      sum += raw.back();
    }
    std::vector<float>& weights = axis.weights.emplace_back();
    for (const double weight : raw) weights.push_back(static_cast<float>(weight / sum));
    axis.first.push_back(first);
  }
  return axis;
}

uint8_t to_byte(float value) {
  return static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F) + 0.5F);
}

/// The mean of old rows that new row `y` is: [width * channels]. Rows come first because whole rows
/// are added up several pixels at a time, which leaves only the new rows for the other axis.
void mix_rows(const Image& image, const AxisWeights& rows, int64_t y, std::vector<float>& mixed) {
  const auto i = static_cast<size_t>(y);
  std::fill(mixed.begin(), mixed.end(), 0.0F);
  int64_t from_y = rows.first[i];
  for (const float weight : rows.weights[i]) {
    const uint8_t* from = image.at(0, from_y++);
    for (size_t x = 0; x < mixed.size(); ++x) mixed[x] += weight * static_cast<float>(from[x]);
  }
}

void mix_columns(const std::vector<float>& row, const AxisWeights& columns, int64_t channels,
                 uint8_t* out) {
  for (size_t x = 0; x < columns.first.size(); ++x) {
    for (int64_t c = 0; c < channels; ++c) {
      const float* from = row.data() + columns.first[x] * channels + c;
      float sum = 0;
      for (const float weight : columns.weights[x]) {
        sum += weight * *from;
        from += channels;
      }
      *out++ = to_byte(sum);
    }
  }
}

}  // namespace

Image resize_image(const Image& image, int64_t width, int64_t height, ResizeFilter filter) {
  check_image("resize_image", image);
  check_arg(width >= 1 && height >= 1, "[resize_image] size: expected at least 1 x 1, got ", width,
            " x ", height);
  if (width == image.width && height == image.height) return image;
  const AxisWeights columns = make_weights(image.width, width, filter);
  const AxisWeights rows = make_weights(image.height, height, filter);
  Image resized = Image::filled(width, height, image.channels);
  std::vector<float> mixed(static_cast<size_t>(image.width * image.channels));
  for (int64_t y = 0; y < height; ++y) {
    mix_rows(image, rows, y, mixed);
    mix_columns(mixed, columns, image.channels, resized.at(0, y));
  }
  return resized;
}

}  // namespace ddpm
