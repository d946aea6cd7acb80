#include "ddpm/core/philox.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

using Words = std::array<uint32_t, 4>;

constexpr uint32_t low(uint64_t bits) { return static_cast<uint32_t>(bits); }
constexpr uint32_t high(uint64_t bits) { return static_cast<uint32_t>(bits >> 32); }

inline Words philox(Words counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1),
               high(product0) ^ counter[3] ^ key[1], low(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// The blocks of one (key, image, step).
class Blocks {
 public:
  Blocks(RandomKey key, uint64_t image, uint32_t step) : image_(image), step_(step) {
    const Words derived =
        philox({static_cast<uint32_t>(key.stream), 0, 0, 0}, {low(key.seed), high(key.seed)});
    key_ = {derived[0], derived[1]};
  }

  Words operator()(uint32_t block) const {
    return philox({block, step_, low(image_), high(image_)}, key_);
  }

 private:
  uint64_t image_;
  uint32_t step_;
  std::array<uint32_t, 2> key_{};
};

// Draws are made 64 blocks at a time, in loops without branches that the compiler turns into vector
// code. Only +, -, *, / and sqrt are used, which round alike everywhere (no libm).
constexpr size_t kLanes = 64;
using WordLanes = std::array<std::array<uint32_t, kLanes>, 4>;
using FloatLanes = std::array<float, 4 * kLanes>;

/// log of u in [2^-33, 1]: u = 2^e * m with m in [sqrt(1/2), sqrt(2)), and with s = (m-1) / (m+1)
/// log m = 2 atanh s = 2 (s + s^3/3 + s^5/5 + ...).
inline float log_unit(float u) {
  constexpr int32_t kRootHalf = 0x3f3504f3;
  const auto bits = std::bit_cast<int32_t>(u);
  const int32_t e = (bits - kRootHalf) >> 23;
  const float m = std::bit_cast<float>(bits - (e << 23));
  const float s = (m - 1) / (m + 1);
  const float z = s * s;
  const float series = 1 + z * (1 / 3.F + z * (1 / 5.F + z * (1 / 7.F + z * (1 / 9.F))));
  return static_cast<float>(e) * std::numbers::ln2_v<float> + 2 * s * series;
}

struct Direction {
  float cos;
  float sin;
};

/// cos and sin of 2 pi word / 2^32: a quarter turn, and the series of the rest in [-pi/4, pi/4).
inline Direction direction(uint32_t word) {
  constexpr float kUnit = 2 * std::numbers::pi_v<float> * 0x1p-32F;
  const uint32_t quarter = (word + (1U << 29)) >> 30;
  const float x = static_cast<float>(static_cast<int32_t>(word - (quarter << 30))) * kUnit;
  const float z = x * x;
  const float sin = x * (1 - z / 6 * (1 - z / 20 * (1 - z / 42 * (1 - z / 72))));
  const float cos = 1 - z / 2 * (1 - z / 12 * (1 - z / 30 * (1 - z / 56 * (1 - z / 90))));
  const float first = (quarter & 1) != 0 ? -sin : cos;
  const float second = (quarter & 1) != 0 ? cos : sin;
  return (quarter & 2) != 0 ? Direction{-first, -second} : Direction{first, second};
}

void draw_uniform(const WordLanes& words, FloatLanes& out) {
  for (size_t i = 0; i < kLanes; ++i) {
    for (size_t k = 0; k < 4; ++k) out[4 * i + k] = static_cast<float>(words[k][i] >> 8) * 0x1p-24F;
  }
}

void draw_normal(const WordLanes& words, FloatLanes& out) {
  for (size_t k = 0; k < 4; k += 2) {
    for (size_t i = 0; i < kLanes; ++i) {
      const float u = static_cast<float>(words[k][i]) * 0x1p-32F + 0x1p-33F;
      const float radius = std::sqrt(-2 * log_unit(u));
      const Direction unit = direction(words[k + 1][i]);
      out[4 * i + k] = radius * unit.cos;
      out[4 * i + k + 1] = radius * unit.sin;
    }
  }
}

using Draw = void (*)(const WordLanes&, FloatLanes&);

void fill(Draw draw, const Blocks& blocks, float* out, int64_t n) {
  check_arg(n >= 0 && n <= int64_t{1} << 34, "[fill] draws: expected 0 to 2^34, got ", n);
  WordLanes words{};
  FloatLanes draws{};
  constexpr auto kPart = static_cast<int64_t>(4 * kLanes);
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const auto first = static_cast<uint32_t>(begin / 4);
    for (size_t i = 0; i < kLanes; ++i) {
      const Words block = blocks(first + static_cast<uint32_t>(i));
      for (size_t k = 0; k < 4; ++k) words[k][i] = block[k];
    }
    draw(words, draws);
    std::copy_n(draws.begin(), std::min(kPart, n - begin), out + begin);
  }
}

}  // namespace

Words philox4x32_10(Words counter, std::array<uint32_t, 2> key) { return philox(counter, key); }

void fill_uniform(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n) {
  fill(draw_uniform, Blocks(key, image, step), out, n);
}

void fill_normal(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n) {
  fill(draw_normal, Blocks(key, image, step), out, n);
}

uint64_t random_bits(RandomKey key, uint64_t image, uint32_t step) {
  const Words words = Blocks(key, image, step)(0);
  return uint64_t{words[1]} << 32 | words[0];
}

int64_t random_below(RandomKey key, uint64_t image, uint32_t step, int64_t n) {
  check_arg(n >= 1 && n <= int64_t{1} << 32, "[random_below] n: expected 1 to 2^32, got ", n);
  const uint64_t bits = random_bits(key, image, step);
  const auto factor = static_cast<uint64_t>(n);
  return static_cast<int64_t>((high(bits) * factor + (low(bits) * factor >> 32)) >> 32);
}

}  // namespace ddpm
