#pragma once

#include <string>

namespace ddpm {

/// `text` for a message: about 60 bytes at most, control characters as '?'.
std::string one_line(std::string text);

}  // namespace ddpm
