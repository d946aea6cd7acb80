#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace ddpm {

/// What manifest.json says of a checkpoint's files.
struct ManifestFile {
  std::uint64_t size_bytes = 0;
  std::string sha256;
};
struct CheckpointManifest {
  std::int64_t step = 0;
  std::map<std::string, ManifestFile> files;  ///< by name
};

inline constexpr const char* kManifestName = "manifest.json";

/// Hashes every file of `folder` and writes its manifest.json.
///
/// @throws std::runtime_error, naming the file, if one can't be read or written.
void write_manifest(const std::filesystem::path& folder, std::int64_t step);

/// Reads manifest.json and checks every file that it lists against it.
///
/// @throws std::runtime_error, naming the file and what differs.
CheckpointManifest verify_manifest(const std::filesystem::path& folder);

}  // namespace ddpm
