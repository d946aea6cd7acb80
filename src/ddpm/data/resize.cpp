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

/// [height, columns.size(), channels] float32.
std::vector<float> resize_rows(const Image& image, const AxisWeights& columns) {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(image.height * image.channels) * columns.first.size());
  for (int64_t y = 0; y < image.height; ++y) {
    for (size_t x = 0; x < columns.first.size(); ++x) {
      const std::vector<float>& weights = columns.weights[x];
      for (int64_t c = 0; c < image.channels; ++c) {
        const uint8_t* from = image.at(columns.first[x], y) + c;
        float sum = 0;
        for (const float weight : weights) {
          sum += weight * static_cast<float>(*from);
          from += image.channels;
        }
        out.push_back(sum);
      }
    }
  }
  return out;
}

uint8_t to_byte(float value) {
  return static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F) + 0.5F);
}

}  // namespace

Image resize_image(const Image& image, int64_t width, int64_t height, ResizeFilter filter) {
  check_image("resize_image", image);
  check_arg(width >= 1 && height >= 1, "[resize_image] size: expected at least 1 x 1, got ", width,
            " x ", height);
  if (width == image.width && height == image.height) return image;
  const std::vector<float> wide = resize_rows(image, make_weights(image.width, width, filter));
  const AxisWeights rows = make_weights(image.height, height, filter);

  Image resized = Image::filled(width, height, image.channels);
  const auto row_size = static_cast<size_t>(width * image.channels);
  std::vector<float> sums(row_size);
  for (int64_t y = 0; y < height; ++y) {
    const auto i = static_cast<size_t>(y);
    const float* from = wide.data() + static_cast<size_t>(rows.first[i]) * row_size;
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (const float weight : rows.weights[i]) {
      for (size_t x = 0; x < row_size; ++x) sums[x] += weight * from[x];
      from += row_size;
    }
    std::transform(sums.begin(), sums.end(), resized.at(0, y), to_byte);
  }
  return resized;
}

}  // namespace ddpm
