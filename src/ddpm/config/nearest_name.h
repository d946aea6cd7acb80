#pragma once

#include <string>
#include <vector>

namespace ddpm {

/// The candidate that `name` is most likely a misspelling of: fewest letters inserted, removed,
/// replaced or swapped, case and '-' against '_' aside, but no more than a third of the name's
/// length (one at least). Empty if none is that near.
std::string nearest_name(const std::string& name, const std::vector<std::string>& candidates);

/// " (did you mean 'x'?)", or nothing if no candidate is near.
std::string suggest_name(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace ddpm
