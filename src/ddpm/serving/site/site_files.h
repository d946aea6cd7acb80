#pragma once

#include <string_view>
#include <vector>

namespace ddpm {

/// A file of the built site, as it is and compressed. The bytes lie in the program.
struct SiteFile {
  std::string_view name;  ///< "index.html", "assets/index-CApQUeiJ.js"
  std::string_view bytes;
  std::string_view gzip;
};

/// The site that was built with the program; empty in a build without one.
std::vector<SiteFile> embedded_site();

}  // namespace ddpm
