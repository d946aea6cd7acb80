#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace ddpm {

/// Whether this processor has instructions for SHA-256, about ten times as fast as without.
bool has_sha_instructions();

/// SHA-256 [FIPS 180-4] of bytes that arrive in parts.
class Sha256 {
 public:
  /// @param use_instructions only where the processor has them; the digest is the same.
  explicit Sha256(bool use_instructions = has_sha_instructions());

  void update(std::span<const uint8_t> bytes);

  /// The digest as 64 lower-case hexadecimal digits. Call it once, last.
  std::string finish_hex();

 private:
  using State = std::array<uint32_t, 8>;
  using AbsorbBlocks = void (*)(State& state, const uint8_t* blocks, size_t count);

  static void absorb_blocks(State& state, const uint8_t* blocks, size_t count);
  static void absorb_blocks_by_instructions(State& state, const uint8_t* blocks, size_t count);

  AbsorbBlocks absorb_;
  State state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_{};
  uint64_t size_bytes_ = 0;
};

std::string sha256_hex(std::span<const uint8_t> bytes);
std::string sha256_hex(std::string_view text);

/// @throws std::system_error (a std::runtime_error) if the file can't be read.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace ddpm
