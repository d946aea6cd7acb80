#pragma once

#include <filesystem>
#include <functional>

namespace ddpm {

/// The calls by which one folder takes the place of another, each giving 0 or errno. Tests put
/// file systems in their place that fail or can't exchange.
struct RenameCalls {
  using Call =
      std::function<int(const std::filesystem::path& from, const std::filesystem::path& to)>;
  Call exchange;  ///< of the two names, at once
  Call rename;    ///< where nothing is called `to`
};

/// renameat2(2) and rename(2).
RenameCalls system_rename_calls();

/// Puts the folder `from` in the place of the folder `to`: in one exchange of the names, or where
/// the file system can't exchange, in two renames, with the old folder called `aside` from the
/// first one on. If the second one fails, the old folder gets its name back.
///
/// @return what the old folder is called now: `from` or `aside`.
/// @throws std::runtime_error, naming the folders.
std::filesystem::path replace_folder(const std::filesystem::path& from,
                                     const std::filesystem::path& to,
                                     const std::filesystem::path& aside,
                                     const RenameCalls& calls = system_rename_calls());

}  // namespace ddpm
