#include "ddpm/kernels/cpu/amx_tiles.h"

#if defined(__x86_64__) && defined(__linux__)
#include <algorithm>
#include <immintrin.h>

#include "ddpm/kernels/cpu/integers.h"

// For functions instead of for the file, so that nothing inline in a header becomes AVX-512.
#define DDPM_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define DDPM_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))

namespace ddpm::cpu {
namespace {

constexpr int kTileBytes = 64;  // of a row
constexpr int64_t kTileNumbers = kStepNumbers / 2;

/// What ldtilecfg reads.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_of_row[16] = {};
  uint8_t rows[16] = {};
};

/// 16 numbers of bfloat16 as float32.
DDPM_AVX512 inline __m512 widened(const uint16_t* from) {
  __m256i words;
  __builtin_memcpy(&words, from, sizeof words);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

/// Rounds the next `pixels`, or all that are left.
DDPM_AVX512 inline void round_next(OpenSums& open, int64_t pixels) {
  constexpr int64_t kHalf = kBlockChannels / 2;
  const int64_t end = std::min(open.rounded + pixels, open.pixels);
  for (; open.rounded < end; ++open.rounded) {
    const bool is_first = open.rounded < open.first_pixels;
    const int64_t i = is_first ? open.rounded : open.rounded - open.first_pixels;
    const SumsTarget& target = is_first ? open.first : open.second;
    const int64_t place = target.place(i);
    const float* const sums = open.sums + (is_first ? i : i + kTilePixels) * kBlockChannels;
    __m512 low = _mm512_loadu_ps(sums), high = _mm512_loadu_ps(sums + kHalf);
    if (target.residual != nullptr) {
      low = _mm512_add_ps(low, widened(target.residual + place));
      high = _mm512_add_ps(high, widened(target.residual + place + kHalf));
    }
    const __m512bh rounded = _mm512_cvtne2ps_pbh(high, low);
    __builtin_memcpy(target.y + place, &rounded, sizeof rounded);
  }
}

/// Sums that begin with the bias.
template <bool kTwo>
DDPM_AMX inline void begin_sums(const float* bias) {
  constexpr int64_t kSameRow = 0;
  _tile_loadd(0, bias, kSameRow);
  _tile_loadd(1, bias + kBlockChannels / 2, kSameRow);
  if constexpr (kTwo) {
    _tile_loadd(2, bias, kSameRow);
    _tile_loadd(3, bias + kBlockChannels / 2, kSameRow);
  }
}

template <bool kTwo>
DDPM_AMX inline void store_sums(float* sums) {
  constexpr int64_t kSumsRow = kBlockChannels * sizeof(float);
  constexpr int64_t kHalf = kBlockChannels / 2, kNext = kTilePixels * kBlockChannels;
  _tile_stored(0, sums, kSumsRow);
  _tile_stored(1, sums + kHalf, kSumsRow);
  if constexpr (kTwo) {
    _tile_stored(2, sums + kNext, kSumsRow);
    _tile_stored(3, sums + kNext + kHalf, kSumsRow);
  }
}

/// Asks for the weights that are needed soon.
template <bool kFar>
inline void ask_ahead(const uint16_t* weights) {
  constexpr int64_t kAhead = 6 * kStepNumbers, kLine = 32;
  if constexpr (!kFar) return;
  for (int64_t i = 0; i < kStepNumbers; i += kLine) __builtin_prefetch(weights + kAhead + i);
}

/// A step's weights of a row of the kernel, which leave the first cache to the pixels.
DDPM_AMX inline void load_weights(const uint16_t* from) { _tile_stream_loadd(6, from, kTileBytes); }
DDPM_AMX inline void load_more_weights(const uint16_t* from) {
  _tile_stream_loadd(7, from + kTileNumbers, kTileBytes);
}

/// sums += a row of the kernel of one or two tiles of pixels, which stay in 4 and 5.
template <bool kTwo, bool kFar>
DDPM_AMX inline void multiply_row(const uint16_t* weights, const uint16_t* first,
                                  const uint16_t* second, int64_t bytes) {
  ask_ahead<kFar>(weights);
  load_weights(weights);
  _tile_loadd(4, first, bytes);
  load_more_weights(weights);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kTwo) _tile_loadd(5, second, bytes);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kTwo) {
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

/// Tiles of pixels: one, two, or two of which the second has the first one's pixels of the kernel's
/// next row, so that each is loaded once.
enum class Left { kOne, kTwo, kStacked };
constexpr int64_t kStackedRows = 3;  // of the kernel

/// sums += a step of all rows of the kernel.
///
/// @param offset Numbers from the tiles' first ones.
template <Left kLeft, bool kFar>
DDPM_AMX inline void multiply_step(const PixelTiles& pixels, int64_t offset, int64_t rows,
                                   const uint16_t* weights, OpenSums& before,
                                   int64_t rounded_a_row) {
  const int64_t bytes = pixels.pixel_step * static_cast<int64_t>(sizeof(uint16_t));
  const uint16_t* const first = pixels.first + offset;
  const int64_t row_step = pixels.row_step;
  if constexpr (kLeft == Left::kStacked) {
    const uint16_t* const second_row = weights + kStepNumbers;
    const uint16_t* const third_row = second_row + kStepNumbers;
    multiply_row<true, kFar>(weights, first, first + row_step, bytes);
    round_next(before, rounded_a_row);
    ask_ahead<kFar>(second_row);
    load_weights(second_row);
    _tile_dpbf16ps(0, 5, 6);
    load_more_weights(second_row);
    _tile_loadd(4, first + 2 * row_step, bytes);
    _tile_dpbf16ps(1, 5, 7);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 7);
    round_next(before, rounded_a_row);
    ask_ahead<kFar>(third_row);
    load_weights(third_row);
    _tile_dpbf16ps(0, 4, 6);
    load_more_weights(third_row);
    _tile_loadd(5, first + 3 * row_step, bytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    round_next(before, rounded_a_row);
  } else {
    constexpr bool kTwo = kLeft == Left::kTwo;
    const uint16_t* const second = kTwo ? pixels.second + offset : nullptr;
    for (int64_t row = 0; row < rows; ++row) {
      multiply_row<kTwo, kFar>(weights + row * kStepNumbers, first + row * row_step,
                               kTwo ? second + row * row_step : nullptr, bytes);
      round_next(before, rounded_a_row);
    }
  }
}

template <Left kLeft, bool kFar>
DDPM_AMX void multiply(const PixelTiles& pixels, const WeightTiles& weights, float* sums,
                       OpenSums& before) {
  constexpr bool kTwo = kLeft != Left::kOne;
  const int64_t rounded_a_row =
      divide_up(before.pixels - before.rounded, weights.steps * weights.taps * weights.rows);
  const uint16_t* right = weights.numbers;
  begin_sums<kTwo>(weights.bias);
  for (int64_t tap = 0; tap < weights.taps; ++tap) {
    for (int64_t step = 0; step < weights.steps; ++step) {
      multiply_step<kLeft, kFar>(pixels, tap * pixels.tap_step + step * kTileDepth, weights.rows,
                                 right, before, rounded_a_row);
      right += weights.rows * kStepNumbers;
    }
  }
  store_sums<kTwo>(sums);
}

DDPM_AMX void configure() {
  TileConfiguration configuration;
  for (int i = 0; i < 8; ++i) {
    configuration.bytes_of_row[i] = kTileBytes;
    configuration.rows[i] = kTilePixels;
  }
  asm volatile("" : : "r"(&configuration) : "memory");  // GCC takes it for read in part
  _tile_loadconfig(&configuration);
}

DDPM_AMX void release() { _tile_release(); }

}  // namespace

AmxRegisters::AmxRegisters() { configure(); }
AmxRegisters::~AmxRegisters() { release(); }

void multiply_tiles(const PixelTiles& pixels, const WeightTiles& weights, float* sums,
                    OpenSums& before) {
  const auto run = [&]<Left kLeft>() {
    weights.is_far ? multiply<kLeft, true>(pixels, weights, sums, before)
                   : multiply<kLeft, false>(pixels, weights, sums, before);
  };
  if (pixels.second == nullptr) return run.operator()<Left::kOne>();
  const bool is_stacked =
      weights.rows == kStackedRows && pixels.second == pixels.first + pixels.row_step;
  is_stacked ? run.operator()<Left::kStacked>() : run.operator()<Left::kTwo>();
}

DDPM_AVX512 void round_rest(OpenSums& open) { round_next(open, open.pixels); }

}  // namespace ddpm::cpu

#else

#include <stdexcept>

namespace ddpm::cpu {

AmxRegisters::AmxRegisters() { throw std::logic_error("[AmxRegisters] expected cpu_has_amx()"); }
AmxRegisters::~AmxRegisters() = default;

void multiply_tiles(const PixelTiles&, const WeightTiles&, float*, OpenSums&) {}

void round_rest(OpenSums&) {}

}  // namespace ddpm::cpu

#endif
