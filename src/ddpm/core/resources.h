#pragma once

#include <cstdint>
#include <filesystem>

namespace ddpm {

/// Bytes that this user may still write to the file system that holds `path`, which exists.
///
/// @throws std::system_error (a std::runtime_error) if the system does not say.
uint64_t free_disk_bytes(const std::filesystem::path& path);

/// Memory of this process that is in RAM now; 0 where the system does not say.
uint64_t resident_memory_bytes();

}  // namespace ddpm
