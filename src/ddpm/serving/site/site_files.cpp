#include "ddpm/serving/site/site_files.h"

#include <array>
#include <cstddef>

// The assembler reads the file, so that the compiler need not: 250 kB as a list of numbers take it
// longer than the rest of this layer.
__asm__(
    ".pushsection .rodata\n"
    ".hidden ddpm_site_pack\n"
    ".global ddpm_site_pack\n"
    "ddpm_site_pack:\n"
    ".incbin \"" DDPM_SITE_PACK
    "\"\n"
    ".byte 0\n"
    ".popsection\n");
extern "C" const char ddpm_site_pack[];

namespace ddpm {
namespace {

/// Lies in the pack behind the one before it: its bytes, then the same compressed.
struct PackedFile {
  std::string_view name;
  std::size_t size_bytes;
  std::size_t gzip_bytes;
};

#include "site_files.inc"

}  // namespace

std::vector<SiteFile> embedded_site() {
  std::vector<SiteFile> files;
  const char* next = ddpm_site_pack;
  for (const PackedFile& packed : kPackedFiles) {
    const std::string_view bytes(next, packed.size_bytes);
    const std::string_view gzip(next + packed.size_bytes, packed.gzip_bytes);
    files.push_back({.name = packed.name, .bytes = bytes, .gzip = gzip});
    next = gzip.data() + gzip.size();
  }
  return files;
}

}  // namespace ddpm
