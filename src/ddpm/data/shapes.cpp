#include "ddpm/data/shapes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"

namespace ddpm {
namespace {

enum class Figure { kCircle, kRing, kSquare, kTriangle, kHexagon, kStar, kCross, kMoon };
constexpr std::array kFigureNames{"circle",  "ring", "square", "triangle",
                                  "hexagon", "star", "cross",  "moon"};
constexpr auto kFigures = static_cast<int64_t>(kFigureNames.size());
constexpr int64_t kDefaultCount = 10'000;
constexpr int64_t kDefaultSize = 32;

struct Point {
  float x, y;
};
using Polygon = std::vector<Point>;
using FloatColour = std::array<float, 3>;

/// One picture's figure, in pixels, and its colours in [0, 1].
struct Drawing {
  Figure figure;
  Point centre;
  float radius, angle;
  FloatColour ground, ink;
};

/// Corners at equal angles, their distances from the centre taken in turn from `radii`.
Polygon make_polygon(int corners, std::initializer_list<float> radii) {
  Polygon polygon;
  for (int i = 0; i < corners; ++i) {
    const float angle =
        2 * std::numbers::pi_v<float> * static_cast<float>(i) / static_cast<float>(corners);
    const float radius = radii.begin()[static_cast<size_t>(i) % radii.size()];
    polygon.push_back({radius * std::cos(angle), radius * std::sin(angle)});
  }
  return polygon;
}

Polygon make_cross() {
  constexpr float kArm = 0.94F, kHalfWidth = 0.32F;
  Polygon polygon;
  Point a{kArm, -kHalfWidth}, b{kArm, kHalfWidth}, c{kHalfWidth, kHalfWidth};
  for (int quarter = 0; quarter < 4; ++quarter) {
    for (Point* p : {&a, &b, &c}) {
      polygon.push_back(*p);
      *p = {-p->y, p->x};
    }
  }
  return polygon;
}

/// Distance to the outline, negative inside: the nearest edge, and the parity of the edges that a
/// ray to the right crosses.
float polygon_distance(const Polygon& polygon, Point p) {
  float nearest = std::numeric_limits<float>::max();
  bool inside = false;
  for (size_t i = 0, j = polygon.size() - 1; i < polygon.size(); j = i++) {
    const Point a = polygon[j], b = polygon[i];
    const float edge_x = b.x - a.x, edge_y = b.y - a.y;
    const float to_x = p.x - a.x, to_y = p.y - a.y;
    const float along = std::clamp(
        (to_x * edge_x + to_y * edge_y) / (edge_x * edge_x + edge_y * edge_y), 0.0F, 1.0F);
    const float off_x = to_x - along * edge_x, off_y = to_y - along * edge_y;
    nearest = std::min(nearest, off_x * off_x + off_y * off_y);
    if ((a.y > p.y) != (b.y > p.y) && p.x < a.x + edge_x * (p.y - a.y) / edge_y) inside = !inside;
  }
  return inside ? -std::sqrt(nearest) : std::sqrt(nearest);
}

/// Distance from p to the figure of radius 1 around the origin, negative inside.
float figure_distance(Figure figure, Point p) {
  static const Polygon square = make_polygon(4, {1.0F});
  static const Polygon triangle = make_polygon(3, {1.0F});
  static const Polygon hexagon = make_polygon(6, {1.0F});
  static const Polygon star = make_polygon(10, {1.0F, 0.42F});
  static const Polygon cross = make_cross();
  switch (figure) {
    case Figure::kCircle:
      return std::hypot(p.x, p.y) - 1;
    case Figure::kRing:
      return std::abs(std::hypot(p.x, p.y) - 0.78F) - 0.22F;
    case Figure::kSquare:
      return polygon_distance(square, p);
    case Figure::kTriangle:
      return polygon_distance(triangle, p);
    case Figure::kHexagon:
      return polygon_distance(hexagon, p);
    case Figure::kStar:
      return polygon_distance(star, p);
    case Figure::kCross:
      return polygon_distance(cross, p);
    case Figure::kMoon:
      return std::max(std::hypot(p.x, p.y) - 1, 0.85F - std::hypot(p.x - 0.5F, p.y));
  }
  throw std::logic_error("[make_shapes] not a Figure");
}

/// Hue, saturation and value in [0, 1] to RGB.
FloatColour from_hsv(float hue, float saturation, float value) {
  FloatColour colour{};
  for (size_t i = 0; i < 3; ++i) {
    const float k = std::fmod(static_cast<float>(5 - 2 * static_cast<int>(i)) + hue * 6, 6.0F);
    colour[i] = value * (1 - saturation * std::clamp(std::min(k, 4 - k), 0.0F, 1.0F));
  }
  return colour;
}

/// Dark ground, light ink, the whole figure inside the picture.
Drawing plan_drawing(uint64_t index, int64_t size, int64_t channels, uint64_t seed) {
  std::array<float, 9> u{};
  const RandomKey key{.seed = seed, .stream = RandomStream::kShapes};
  fill_uniform(key, index, 0, u.data(), static_cast<int64_t>(u.size()));
  const auto side = static_cast<float>(size);
  const float radius = side * (0.22F + 0.2F * u[0]);
  const float room = side - 2 * radius;
  const float ground_saturation = channels == 3 ? u[5] : 0;
  const float ink_saturation = channels == 3 ? 0.3F + 0.7F * u[7] : 0;
  return {.figure = static_cast<Figure>(index % static_cast<uint64_t>(kFigures)),
          .centre = {radius + room * u[1], radius + room * u[2]},
          .radius = radius,
          .angle = 2 * std::numbers::pi_v<float> * u[3],
          .ground = from_hsv(u[4], ground_saturation, 0.3F * u[6]),
          .ink = from_hsv(u[8], ink_saturation, channels == 3 ? 1.0F : 0.6F + 0.4F * u[7])};
}

/// A pixel whose centre is d pixels inside the outline is covered by d + 1/2, within [0, 1].
void draw(const Drawing& drawing, int64_t size, int64_t channels, uint8_t* out) {
  const float cosine = std::cos(drawing.angle) / drawing.radius;
  const float sine = std::sin(drawing.angle) / drawing.radius;
  const int64_t plane = size * size;
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      const float dx = static_cast<float>(x) + 0.5F - drawing.centre.x;
      const float dy = static_cast<float>(y) + 0.5F - drawing.centre.y;
      const Point p{cosine * dx + sine * dy, cosine * dy - sine * dx};
      const float distance = figure_distance(drawing.figure, p) * drawing.radius;
      const float coverage = std::clamp(0.5F - distance, 0.0F, 1.0F);
      for (int64_t c = 0; c < channels; ++c) {
        const auto channel = static_cast<size_t>(c);
        const float value =
            drawing.ground[channel] + coverage * (drawing.ink[channel] - drawing.ground[channel]);
        out[c * plane + y * size + x] = static_cast<uint8_t>(std::lround(255 * value));
      }
    }
  }
}

}  // namespace

ImageSet make_shapes(int64_t count, int64_t size, int64_t channels, uint64_t seed) {
  check_arg(count >= 1, "[make_shapes] count: expected at least 1, got ", count);
  check_arg(size >= 8, "[make_shapes] size: expected at least 8 pixels, got ", size);
  check_arg(channels == 1 || channels == 3, "[make_shapes] channels: expected 1 or 3, got ",
            channels);
  ImageSet set{.images = at::empty({count, channels, size, size}, at::kByte),
               .labels = at::arange(count, at::kLong).remainder(kFigures),
               .class_names = {kFigureNames.begin(), kFigureNames.end()},
               .name = "shapes"};
  auto* pixels = set.images.mutable_data_ptr<uint8_t>();
  const int64_t image_bytes = channels * size * size;
  at::parallel_for(0, count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Drawing drawing = plan_drawing(static_cast<uint64_t>(i), size, channels, seed);
      draw(drawing, size, channels, pixels + i * image_bytes);
    }
  });
  return set;
}

ImageSet load_shapes(const DataConfig& config) {
  return make_shapes(config.max_images > 0 ? config.max_images : kDefaultCount,
                     config.image_size > 0 ? config.image_size : kDefaultSize,
                     config.channels > 0 ? config.channels : 3,
                     config.split == DataSplit::kTest ? 1 : 0);
}

}  // namespace ddpm
