#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace ddpm {

/// A file of a zip archive, as the archive's central directory lists it.
struct ZipEntry {
  std::uint64_t local_header = 0;  ///< offset of its local header
  std::uint64_t size_bytes = 0;    ///< uncompressed
  std::uint32_t crc32 = 0;         ///< 0: not computed, as torch.save does on request
  std::uint16_t method = 0;        ///< 0: stored
  bool encrypted = false;
};

/// The entries of an archive by name. Names point into the archive's bytes.
struct ZipDirectory {
  std::map<std::string_view, ZipEntry> entries;
  std::uint64_t end = 0;  ///< offset of the central directory, where the entries' bytes end
};

/// True if the bytes begin as a zip archive with entries does.
bool is_zip(std::span<const std::uint8_t> file);

/// Reads the central directory, of zip64 archives too.
///
/// @param name stands for the file in errors.
/// @throws std::runtime_error, naming the file and what is wrong, if the directory is damaged, in
///         parts, or lists a name twice.
ZipDirectory read_zip_directory(std::span<const std::uint8_t> file, const std::string& name);

/// The bytes of an entry, inside `file`, after its local header and its CRC-32 were checked.
///
/// @throws std::runtime_error, naming the file and the entry, if there is no such entry, it is
///         compressed or encrypted, or it is damaged.
std::span<const std::uint8_t> zip_entry_bytes(std::span<const std::uint8_t> file,
                                              const ZipDirectory& directory,
                                              std::string_view entry_name, const std::string& name);

}  // namespace ddpm
