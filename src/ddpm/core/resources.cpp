#include "ddpm/core/resources.h"

#include <fstream>
#include <unistd.h>

namespace ddpm {

uint64_t free_disk_bytes(const std::filesystem::path& path) {
  return std::filesystem::space(path).available;
}

uint64_t resident_memory_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total_pages = 0;
  uint64_t resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace ddpm
