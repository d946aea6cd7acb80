#pragma once

#include <c10/util/StringUtil.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ddpm::testing {

inline std::vector<std::uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

/// Little-endian bytes of a number.
inline std::string number_bytes(std::uint64_t value, int size_bytes) {
  std::string bytes;
  for (int i = 0; i < size_bytes; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

/// Opcodes of a pickle that pushes a string.
inline std::string pickled(const std::string& text) {
  return c10::str("X", number_bytes(text.size(), 4), text);
}

/// A file in the layout before PyTorch 1.6 around the opcodes of an object (without STOP), and
/// what stands behind it: the list of keys, then storages.
inline std::string legacy_file(const std::string& object, const std::string& behind) {
  const std::string proto("\x80\x02", 2);
  const std::string magic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 13);
  const std::string system = "}" + pickled("little_endian") + "\x88s.";
  return proto + magic + proto + "M\xe9\x03." + proto + system + proto + object + "." + behind;
}
inline std::string legacy_file(const std::string& object) {
  return legacy_file(object, std::string("\x80\x02].", 4));
}

/// Opcodes of a float32 tensor over the storage `key` of `numel` numbers; `view` pushes the offset,
/// the sizes and the strides.
inline std::string pickled_tensor(const std::string& key, const std::string& numel,
                                  const std::string& view) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickled("storage") + "ctorch\nFloatStorage\n" +
         pickled(key) + pickled("cpu") + numel + "tQ" + view + "\x89}tR";
}

/// A file of one tensor under the name "w", over two stored floats.
inline std::string legacy_tensor_file(const std::string& view, const std::string& numel = "K\x02") {
  const std::string keys = std::string("\x80\x02]", 3) + pickled("k") + "a.";
  return legacy_file("}" + pickled("w") + pickled_tensor("k", numel, view) + "s",
                     keys + number_bytes(2, 8) + std::string("\0\0\x80\x3f\0\0\0\x40", 8));
}

}  // namespace ddpm::testing
